"""``multiprompt predict``: text in, text out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from multiprompt.cli.failures import reports_failures
from multiprompt.cli.output import echo
from multiprompt.errors import ConfigError, DataError
from multiprompt.files import decoded
from multiprompt.text import is_unicode, lines_of, printable


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

    Texts are used as they are; `multiprompt show TASK` prints what the source texts of a task look like. Files are
    UTF-8, a text ends where its line ends, and a text without a character other than spaces is refused, wherever it
    comes from. One answer is printed on each line, in the order of the texts; line ends and control characters in it
    are written out, such as \\n and \\x1b.

    \b
    Example:
        multiprompt predict runs/quickstart --task mini-sst2 "sentence: the film was great."
        multiprompt predict runs/quickstart --task mini-sst2 --file texts.txt > answers.txt
    """
    sources = _sources(text or [], file)

    from multiprompt import recipes

    for answer in recipes.predict(run, task, sources, method=method, seed=seed):
        echo(printable(answer, one_line=True))


def _sources(texts: list[str], file: Path | None) -> list[str]:
    if texts and file:
        raise ConfigError("texts and --file contradict; give one of them")
    if texts:
        places = [f"text {number}" for number in range(1, len(texts) + 1)]
    else:
        place, content = _content(file)
        texts = lines_of(decoded(content, place))
        places = [f"{place}, line {number}" for number in range(1, len(texts) + 1)]
        if not texts:
            raise DataError(f"there is no text in {place}; expected one on each line")
    for where, text in zip(places, texts, strict=True):
        if not text.strip():
            raise DataError(f"{where} is empty; expected a text")
        if not is_unicode(text):  # a byte of an argument that is no UTF-8
            raise DataError(f"{where} is not UTF-8: {text!r}")
    return texts


def _content(file: Path | None) -> tuple[str, bytes]:
    """The name and the content of the file, or of standard input."""
    if file is None:
        if sys.stdin.isatty():
            raise ConfigError("there is no text; give texts, --file FILE, or lines on standard input")
        return "standard input", sys.stdin.buffer.read()
    try:
        return str(file), file.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {file}: {error}") from error
