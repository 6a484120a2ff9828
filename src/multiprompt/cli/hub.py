"""``multiprompt hub``: whether the Hugging Face hub holds what the tasks expect."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from multiprompt.cli.failures import reports_failures
from multiprompt.cli.output import echo

if TYPE_CHECKING:
    from multiprompt.data.hub_check import HubCheck
    from multiprompt.tasks import Task

WIDTH = 80


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(short_help="Check the datasets of tasks on the hub.")(hub)


@reports_failures()
def hub(
    tasks: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TASK]...",
            help="Names of tasks, or YAML or TOML files of your own tasks; default: all public tasks.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Check that the datasets of tasks are on the Hugging Face hub as expected.

    It checks addresses, splits, columns and numbers of rows. It reads descriptions and the first rows of each split,
    not whole datasets. It needs a network. The exit code is 1 if any task fails.

    \b
    Example:
        multiprompt hub
        multiprompt hub webnlg e2e ./my-task.yaml
    """
    from multiprompt.cli.show import find_task
    from multiprompt.errors import DataError
    from multiprompt.network import hub_trouble
    from multiprompt.tasks import TASKS

    chosen = [find_task(name) for name in tasks] if tasks else [task for task in TASKS.values() if task.hub]
    for task in chosen:
        trouble = hub_trouble(task.hub.path) if task.hub else None
        if trouble:
            raise DataError(
                f"the Hugging Face hub is out of reach: {trouble}. This check needs a network; set HTTPS_PROXY where "
                "there is a proxy, HF_ENDPOINT where there is a mirror. To look at rows of a local folder: "
                "`multiprompt show TASK --data FOLDER`"
            )
    from multiprompt.data.hub_check import check_on_hub  # loads torch, which only a check needs

    failed = []
    seconds = 0.0
    for number, task in enumerate(chosen):
        check = check_on_hub(task)
        if number == 0:
            echo("Numbers of rows are the official ones where nothing else is said.\n")
        for line in _lines(check):
            echo(line)
        seconds += check.seconds
        if check.troubles:
            failed.append(task)
    echo()
    for line in textwrap.wrap(f"{_summary(chosen, failed)} ({seconds:.0f} s)", WIDTH):
        echo(line)
    if failed:
        raise typer.Exit(1)


def _lines(check: HubCheck) -> Iterator[str]:
    verdict = "FAILED" if check.troubles else "ok"
    yield f"{check.task.name:<{WIDTH - 17}} {verdict:>6} {check.seconds:>6.1f} s"
    columns = [column if column in check.columns else f"{column} (missing)" for column in check.needed]
    others = [column for column in check.columns if column not in check.needed]
    facts = [*check.addresses]
    if check.rows:
        facts.append("rows: " + ", ".join(_rows(check, split) for split in check.rows))
        facts.append("columns: " + ", ".join(columns) + (f"; not read: {', '.join(others)}" if others else ""))
    for fact in facts:
        yield from textwrap.wrap(fact, WIDTH, initial_indent="    ", subsequent_indent="      ")
    for trouble in check.troubles:
        yield from textwrap.wrap(trouble, WIDTH, initial_indent="  - ", subsequent_indent="    ")


def _rows(check: HubCheck, split: str) -> str:
    found = check.rows[split]
    if found is None:
        return f"{split} (number not known without a download)"
    return f"{split} {found:,}" + ("" if split in check.task.official_rows else " (no official number)")


def _summary(chosen: list[Task], failed: list[Task]) -> str:
    one = len(chosen) == 1
    if failed:
        names = ", ".join(task.name for task in failed)
        return f"{len(failed)} of {len(chosen)} task{'' if one else 's'} failed: {names}"
    return f"{len(chosen)} task{' is' if one else 's are'} on the hub as expected"
