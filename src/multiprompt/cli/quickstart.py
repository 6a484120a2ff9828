"""``multiprompt quickstart``: a whole small experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from multiprompt.cli.arguments import ResumeOption
from multiprompt.cli.failures import STOPPED_RUN, reports_failures, speaks
from multiprompt.cli.output import echo


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(short_help="Run a small experiment, without a download.")(quickstart)


@reports_failures(STOPPED_RUN)
def quickstart(
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/quickstart"),
    resume: ResumeOption = False,
) -> None:
    """Run a small experiment on the model and the tasks that come with the package.

    It trains teachers, a source prompt and target tasks, compares two methods, and writes a report. It needs no
    download and no GPU.

    \b
    Example:
        multiprompt quickstart
        multiprompt quickstart --out /tmp/first-run
    """
    from multiprompt.cli.run import run_and_report

    run_and_report("quickstart", None, out, resume)
    if speaks():
        echo("\nnext: multiprompt show mini-rte\n      multiprompt ls recipes")
