"""``multiprompt predict``: texts or rows in, answers out."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multiprompt.cli.arguments import RunArgument, SeedOption
from multiprompt.cli.failures import reports_failures
from multiprompt.cli.output import echo
from multiprompt.errors import ConfigError, DataError, unknown_name
from multiprompt.files import decoded
from multiprompt.text import is_unicode, json_text, lines_of, printable

if TYPE_CHECKING:
    from multiprompt.tasks import Task

STANDARD_INPUT = "standard input"


@dataclass(frozen=True)
class Input:
    """What is answered.

    Attributes:
        source: the text that the model reads.
        fields: columns of the row that it was made of; none for a text that was given as it is.
    """

    source: str
    fields: Mapping[str, Any] = field(default_factory=dict)


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(short_help="Answer texts or rows with a finished run.")(predict)


@reports_failures()
def predict(
    run: RunArgument,
    task: Annotated[str, typer.Option(help="Task that the inputs belong to.")],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TEXT|COLUMN=VALUE]...", help="Source texts, or the columns of one row."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="File of rows (JSON lines, CSV, TSV or Parquet), or of source texts, one on each line."),
    ] = None,
    method: Annotated[str | None, typer.Option(help="Method; default: mpt if the run has it.")] = None,
    seed: SeedOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object for each input: answer, valid, source, input.")
    ] = False,
) -> None:
    """Answer rows or source texts, from the arguments, a file, or standard input.

    Rows are COLUMN=VALUE arguments, a data file, or JSON lines on standard input; the task's template makes their
    source texts. Other texts are used as they are. `multiprompt show TASK` prints source texts of a task. Files are
    UTF-8, and each line is one text; empty texts are refused. The answers are printed one on each line, in the order of
    the inputs. Line ends and control characters in an answer are written out, such as \\n and \\x1b.

    \b
    Example:
        multiprompt predict runs/quickstart --task mini-sst2 "sentence=the film was great."
        multiprompt predict runs/quickstart --task mini-sst2 "sentence: the film was great."
        multiprompt predict runs/quickstart --task mini-rte --file rows.csv --json > answers.jsonl
    """
    from multiprompt import runs
    from multiprompt.definition import ENDINGS

    arguments = inputs or []
    if arguments and file:
        raise ConfigError("texts and --file contradict; give one of them")
    table = file is not None and file.name.endswith(ENDINGS)
    lines = [] if arguments or table else _lines(file)
    _check_texts(arguments, [f"text {number}" for number in range(1, len(arguments) + 1)])
    opened = runs.open_run(run)
    chosen = opened.task(task)
    if file is not None and table:
        given = _of_table(file, chosen)
    elif lines:
        given = _of_lines(lines, str(file or STANDARD_INPUT), chosen)
    else:
        given = _of_arguments(arguments, chosen)
    _note_texts([each.source for each in given if not each.fields], chosen)
    answers = opened.answer(chosen.name, [each.source for each in given], method=method, seed=seed)
    for each, answer in zip(given, answers, strict=True):
        echo(_as_json(each, answer, chosen) if as_json else printable(answer, one_line=True))


def _as_json(given: Input, answer: str, task: Task) -> str:
    fields = {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in given.fields.items()
    }
    plain = {"answer": answer, "valid": task.is_valid(answer), "source": given.source, "input": fields}
    return json_text(plain, default=str)


def _lines(file: Path | None) -> list[str]:
    """The lines of a file of texts, or of standard input."""
    place, content = _content(file)
    lines = lines_of(decoded(content, place))
    if not lines:
        raise DataError(f"there is no text in {place}; expected one on each line")
    _check_texts(lines, [f"{place}, line {number}" for number in range(1, len(lines) + 1)])
    return lines


def _content(file: Path | None) -> tuple[str, bytes]:
    """The name and the content of the file, or of standard input."""
    if file is None:
        if sys.stdin.isatty():
            raise ConfigError("there is no text; give texts, COLUMN=VALUE, --file FILE, or lines on standard input")
        return STANDARD_INPUT, sys.stdin.buffer.read()
    try:
        return str(file), file.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {file}: {error}") from error


def _check_texts(texts: Sequence[str], places: Sequence[str]) -> None:
    for where, text in zip(places, texts, strict=True):
        if not text.strip():
            raise DataError(f"{where} is empty; expected a text")
        if not is_unicode(text):  # a byte of an argument that is no UTF-8
            raise DataError(f"{where} is not UTF-8: {text!r}")


def _of_lines(lines: Sequence[str], origin: str, task: Task) -> list[Input]:
    """Rows if every line is a JSON object, or else source texts."""
    rows = list(map(_json_object, lines))
    places = [f"{origin}, line {number}" for number in range(1, len(lines) + 1)]
    return [
        Input(line) if None in rows or row is None else Input(task.source_text(row, where=place), row)
        for line, row, place in zip(lines, rows, places, strict=True)
    ]


def _json_object(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _of_table(file: Path, task: Task) -> list[Input]:
    from multiprompt.data import read_rows

    rows = read_rows(file, task)
    if not len(rows):
        raise DataError(f"{file} holds no rows; expected at least one")
    return [Input(task.source_text(row.values, where=row.where), row.values) for row in rows]


def _of_arguments(arguments: Sequence[str], task: Task) -> list[Input]:
    """One row if the arguments are COLUMN=VALUE, or else source texts."""
    pairs = [(argument, *argument.partition("=")) for argument in arguments]
    columns = [name for _, name, sign, _ in pairs if sign and (name in task.columns or name.isidentifier())]
    if len(columns) < len(pairs) and not any(name in task.source.columns for name in columns):
        return list(map(Input, arguments))
    row: dict[str, str] = {}
    for argument, name, sign, value in pairs:
        if not sign:
            raise ConfigError(f"{argument!r} is no COLUMN=VALUE, as other arguments are; put several rows into a file")
        if name not in task.columns:
            error = unknown_name(f"column of {task.name}", name, task.columns)
            raise ConfigError(f"{error} (a text that begins so can be given on standard input or with --file)")
        if name in row:
            raise ConfigError(f"the column {name!r} is given twice; put several rows into a file")
        row[name] = value

    from multiprompt.data import typed_row

    typed = typed_row(row, task)
    return [Input(task.source_text(typed, where="the arguments"), typed)]


def _note_texts(texts: Sequence[str], task: Task) -> None:
    """Say it when texts that are used as they are do not look like those that the prompt has learned from."""
    strange = [text for text in texts if not text.lstrip().startswith(task.opening)]
    if strange:
        echo(
            f"note: {len(strange)} of {len(texts)} texts do not begin with {task.opening!r}, as every text of "
            f"{task.name} does that was learned from; give {_columns(task)} and the text is made for you",
            err=True,
        )


def _columns(task: Task) -> str:
    return " and ".join(f"{column}=..." for column in task.source.columns)
