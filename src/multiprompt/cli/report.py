"""``multiprompt report``: the page of one run or several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from multiprompt.cli.arguments import RunsArgument
from multiprompt.cli.failures import reports_failures
from multiprompt.cli.output import echo


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(short_help="Write the page of one run or several.")(report)


@reports_failures()
def report(
    runs: RunsArgument,
    out: Annotated[
        Path | None,
        typer.Option(help="The page; default: report.html in the run, or here for several runs."),
    ] = None,
) -> None:
    """Write a page (HTML, and Markdown beside it) about a run, or several runs side by side.

    \b
    Example:
        multiprompt report runs/quickstart
        multiprompt report runs/rank-1 runs/rank-4 --out ranks.html
    """
    from multiprompt.cli.output import print_runs
    from multiprompt.reports import read_runs, write_report

    page = write_report(runs, out)
    print_runs(read_runs(runs, answers=False))
    echo(f"report: {page}")
