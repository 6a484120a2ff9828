"""``multiprompt predict``: text in, text out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from multiprompt.cli.failures import reports_failures
from multiprompt.errors import ConfigError, DataError


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(short_help="Answer texts with the prompts of a run.")(predict)


@reports_failures()
def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    task: Annotated[str, typer.Option(help="Task whose prompt answers.")],
    text: Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="Source texts.")] = None,
    file: Annotated[Path | None, typer.Option(help="A file with one source text on each line.")] = None,
    method: Annotated[str | None, typer.Option(help="Such as prompt_tuning; default: mpt if the run has it.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the run; default: the first.")] = None,
) -> None:
    """Answer source texts: the arguments, the lines of a file, or the lines of standard input.

    Texts are used as they are; `multiprompt show TASK` prints what the source texts of a task look like. One answer
    is printed on each line, in the order of the texts.

    \b
    Example:
        multiprompt predict runs/quickstart --task mini-sst2 "sentence: the film was great."
        multiprompt predict runs/quickstart --task mini-sst2 --file texts.txt > answers.txt
    """
    sources = _sources(text or [], file)

    from multiprompt import recipes

    for answer in recipes.predict(run, task, sources, method=method, seed=seed):
        typer.echo(answer)


def _sources(texts: list[str], file: Path | None) -> list[str]:
    if texts and file:
        raise ConfigError("texts and --file contradict; give one of them")
    if texts:
        return texts
    if file:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read {file}: {error}") from error
    else:
        if sys.stdin.isatty():
            raise ConfigError("there is no text; give texts, --file FILE, or lines on standard input")
        lines = sys.stdin.read().splitlines()
    if not lines:
        raise DataError(f"there is no text in {file or 'the standard input'}; expected one on each line")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise DataError(f"{file or 'standard input'}, line {number} is empty; every line needs a text")
    return lines
