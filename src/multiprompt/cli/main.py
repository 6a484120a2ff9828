"""The command ``multiprompt``: its verbs and its options."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from multiprompt._version import __version__
from multiprompt.cli import (
    analyse,
    cache,
    evaluate,
    hub,
    init,
    ls,
    params,
    plan,
    predict,
    quickstart,
    report,
    reproduce,
    run,
    show,
    validate,
)
from multiprompt.cli.failures import FAILURES, STOPPED
from multiprompt.cli.output import echo

# Plain help: it is there at once, and examples keep their lines.
app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        echo(f"multiprompt {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Multitask prompt tuning: one frozen language model, many tasks, a few kilobytes per task.

    Start here:

    \b
        multiprompt quickstart          run the whole method on a small model, without a download
        multiprompt ls recipes          list the experiments that come with the package
        multiprompt run RECIPE          run one of them, or your own YAML file
        multiprompt init FILE.csv       write a task and an experiment for your own rows
        multiprompt reproduce TABLE     run a table or a figure of the paper
    """
    FAILURES.show_traceback = debug


for verb in (
    quickstart,
    ls,
    params,
    show,
    hub,
    init,
    validate,
    plan,
    run,
    reproduce,
    evaluate,
    predict,
    report,
    analyse,
    cache,
):
    verb.add_to(app)


def main() -> None:
    """Entry point."""
    try:
        app(prog_name="multiprompt")
    except KeyboardInterrupt:  # outside of a verb
        echo(STOPPED, err=True)
        sys.exit(130)
