"""``multiprompt params``: how many numbers a method trains."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from multiprompt.cli.failures import reports_failures

if TYPE_CHECKING:
    from multiprompt.forecast.parameters import ParameterCount


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(short_help="Count the trained parameters of methods.")(params)


@reports_failures()
def params(
    method: Annotated[
        str | None,
        typer.Argument(
            metavar="[METHOD]",
            help='Name of a method, or "source" for the source stage of mpt; default: all methods.',
            show_default=False,
        ),
    ] = None,
    backbone: Annotated[
        str,
        typer.Option(help="Backbone: a name (see: ls backbones), a name on the hub, or a folder."),
    ] = "t5-base",
    group: Annotated[int, typer.Option(metavar="TASKS", min=1, help="Number of tasks that are trained together.")] = 1,
    length: Annotated[int, typer.Option(metavar="ROWS", min=1, help="Rows of a prompt.")] = 100,
    rank: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Rank; default: 1 (mpt, source), 8 (lora), 10 (decomposed_prompt_tuning).",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Count the numbers that a method trains, and show the arithmetic.

    The method is built with its default options on a backbone without weights. Nothing is downloaded for the backbones
    that `multiprompt ls backbones` lists.

    \b
    Example:
        multiprompt params
        multiprompt params mpt --group 8
        multiprompt params adapters --backbone t5-large
        multiprompt params source --group 6 --length 300
    """
    from multiprompt.cli.output import print_rows, print_text
    from multiprompt.errors import ConfigError
    from multiprompt.forecast.parameters import count_parameters, countable_methods

    if method is None:
        if rank is not None:
            raise ConfigError("--rank is of one method; name it, such as `multiprompt params lora --rank 4`")
        counts = (count_parameters(name, backbone, group, length) for name in countable_methods())
        print_rows(("method", "tasks", "per task", "of the backbone"), map(_row, counts), numbers=(1, 2, 3))
        return
    count = count_parameters(method, backbone, group, length, rank)
    print_rows(("item", "formula", "per task"), _items(count), numbers=(2,))
    together = f"; {count.trained:,} in all for {count.tasks} tasks" if count.tasks > 1 else ""
    print_text(f"{method} on {backbone}: {_share(count)} of its {count.frozen:,} parameters for each task{together}")
    if count.tasks < group:
        print_text(f"{method} shares nothing among the tasks of a group: each of the {group} has as many")


def _items(count: ParameterCount) -> Iterable[tuple[str, str, str]]:
    for item in count.items:
        yield item.name, item.formula(count.tasks), _number(item.per_task(count.tasks))
    yield "together", "", _number(count.per_task)


def _row(count: ParameterCount) -> tuple[str, str, str, str]:
    return count.method, str(count.tasks), _number(count.per_task), _share(count)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"


def _share(count: ParameterCount) -> str:
    return f"{100 * count.per_task / count.frozen:.3g} %"
