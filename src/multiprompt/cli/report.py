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
    app.command(short_help="Write a page about one run or several.")(report)


@reports_failures()
def report(
    runs: RunsArgument,
    out: Annotated[
        Path | None,
        typer.Option(help="File of the page; default: report.html in the run's folder, or here for several runs."),
    ] = None,
) -> None:
    """Write a page about one run, or about several runs side by side: HTML, and Markdown beside it.

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
