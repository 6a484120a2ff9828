"""``multiprompt evaluate``: score what a run has trained once more."""

from __future__ import annotations

from typing import Annotated

import typer

from multiprompt.cli.arguments import NumbersOption, RunArgument, TasksOption
from multiprompt.cli.failures import reports_failures
from multiprompt.cli.output import echo


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(short_help="Score a finished run again.")(evaluate)


@reports_failures()
def evaluate(
    run: RunArgument,
    task: TasksOption = None,
    max_test: Annotated[int | None, typer.Option(min=1, help="Largest number of test rows; default: all.")] = None,
    out: NumbersOption = None,
) -> None:
    """Answer and score the test rows again with the prompts that a run has stored.

    Nothing in the run's folder changes.

    \b
    Example:
        multiprompt evaluate runs/quickstart
        multiprompt evaluate runs/quickstart --task mini-rte --out again.json
    """
    from multiprompt import runs
    from multiprompt.cli.output import print_tables
    from multiprompt.cli.progress import terminal_progress
    from multiprompt.evaluation.results import write_results

    with terminal_progress() as progress:
        scores = runs.open_run(run).evaluate(task or None, max_test=max_test, progress=progress)
    print_tables({run.name: scores})
    if out is not None:
        write_results(out, run.name, scores)
        echo(f"scores: {out}")
