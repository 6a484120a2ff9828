"""``multiprompt init``: the file of a task and an experiment, to start from, for rows that are at hand."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multiprompt.cli.failures import reports_failures
from multiprompt.cli.output import echo, print_note
from multiprompt.errors import ConfigError, DataError, problem_list, unknown_name

if TYPE_CHECKING:
    from multiprompt.data import Rows

ANSWERS = (
    "label",
    "labels",
    "class",
    "target",
    "answer",
    "answers",
    "category",
    "sentiment",
    "score",
    "rating",
    "stars",
)
"""Names that columns of answers often have, in the order in which they are looked for."""

MOST_LABELS = 20
"""Different answers beyond which a column is taken for scores or open answers."""

HELD_OUT = 500
"""Most rows that are taken for dev, and for test, out of the one file that is given."""

EXPERIMENT = """\
# An experiment on {name}, written by multiprompt init. To run it: multiprompt run {file}
# Every option and its default: multiprompt validate {file}
name: "{name}"
# The embedded model works without a network, but knows only a small made-up world. For real text take a published
# model, such as google/t5-base-lm-adapt, with prompts of 100 rows, a rate of 0.3 and thousands of steps.
backbone: {{name: embedded}}
prompt: {{length: 20}}
targets:
  tasks: [./{name}.yaml]
  methods:                                   # others beside it: multiprompt ls methods
    prompt_tuning: {{learning_rate: 0.05}}
  training: {{steps: 200, evaluate_every: 50}}
"""


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(short_help="Write a task and an experiment for your own rows.")(init)


@reports_failures()
def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Training rows: CSV, TSV, JSON lines or Parquet.")],
    dev: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Dev rows; default: a part of the rows that are given.")
    ] = None,
    test: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Test rows; default: a part of the rows that are given.")
    ] = None,
    answer: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Column of the answer; default: asked for at a terminal, or guessed."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the task; default: the name of FILE.")] = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for the two files.")] = Path(),
) -> None:
    """Write a task and an experiment to start from, for a file of rows.

    The task is NAME.yaml, the experiment NAME-experiment.yaml, which runs as it is. At a terminal you are asked for the
    columns of the source and the words of the labels; elsewhere they are guessed. No file is overwritten.

    \b
    Example:
        multiprompt init reviews.csv
        multiprompt init train.jsonl --dev dev.jsonl --test test.jsonl --answer label --name mine --out tasks
    """
    import yaml

    from multiprompt.config import build_options
    from multiprompt.data import read_rows
    from multiprompt.definition import TaskDefinition
    from multiprompt.tasks import problems_of

    name = name or _name_of(file)
    task_file, experiment_file = out / f"{name}.yaml", out / f"{name}-experiment.yaml"
    for path in (task_file, experiment_file):
        if path.exists():
            raise ConfigError(f"{path} exists; give another --name, or another folder with --out")
    given = {"train": file} | {split: path for split, path in (("validation", dev), ("test", test)) if path}
    parts = {split: read_rows(path) for split, path in given.items()}
    rows = [row.values for part in parts.values() for row in part]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    echo(f"{file}: {len(parts['train']):,} rows; columns: {', '.join(columns)}")
    column = _answer_column(answer, columns, rows)
    _check_answers(parts, column)
    source = _source(columns, column, rows)
    values = {
        "name": name,
        "source": source,
        "prefix": "",
        **_answer(column, [row[column] for row in rows]),
        "split": _split(parts),
        "files": {split: Path(os.path.relpath(path, out)).as_posix() for split, path in given.items()},
    }
    problems = problems_of(build_options(TaskDefinition, values, f"the task {name!r}"))
    if problems:
        raise problem_list(f"the task {name!r}", problems)
    head = f"# A task, made of {file.name} by multiprompt init. Every key: docs/your-own-task.md\n"
    out.mkdir(parents=True, exist_ok=True)
    _write(task_file, head + yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100))
    _write(experiment_file, EXPERIMENT.format(name=name, file=experiment_file.name))
    echo(f"next: multiprompt show {os.path.join('.', task_file)}\n      multiprompt run {experiment_file}")


def _write(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8") as file:  # another process may have made it meanwhile
        file.write(text)
    echo(f"written: {path}")


def _name_of(file: Path) -> str:
    """A name for the task: that of the file, unless a task has it."""
    from multiprompt.definition import ENDINGS
    from multiprompt.tasks import TASKS

    ending = next((ending for ending in ENDINGS if file.name.endswith(f".{ending}")), "")
    name = re.sub(r"[^\w-]+", "-", file.name.removesuffix(f".{ending}")).strip("-") or "task"
    return f"my-{name}" if name in TASKS else name


def _asks() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _ask(what: str, guess: str) -> str:
    """What a person at a terminal says; the guess, and a note of it, elsewhere."""
    if _asks():
        return str(typer.prompt(what, default=guess))
    print_note(f"{what}: {guess} (guessed)")
    return guess


def _answer_column(answer: str | None, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """The column of the answer.

    Raises:
        UnknownNameError: there is no such column.
        DataError: there are too few columns.
    """
    if len(columns) < 2:
        raise DataError(f"the rows have the columns {', '.join(columns) or 'none'}; expected a text and an answer")
    chosen = answer or _ask("column of the answer", _likely_answer(columns, rows))
    if chosen not in columns:
        raise unknown_name("column", chosen, columns)
    return chosen


def _likely_answer(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """A column with a name of answers; or else the one with the fewest different values; or else the last one."""
    named = [column for name in ANSWERS for column in columns if column.strip().lower() == name]
    if named:
        return named[0]
    counts = {column: len({_plain(row.get(column)) for row in rows}) for column in reversed(columns)}
    few = {column: count for column, count in counts.items() if 2 <= count <= min(MOST_LABELS, len(rows) // 2)}
    return min(few, key=lambda column: few[column]) if few else columns[-1]


def _plain(value: Any) -> str:
    """A value that can be counted."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _check_answers(parts: Mapping[str, Rows], column: str) -> None:
    """Check that every row has an answer, and that there are rows enough.

    Raises:
        DataError: the file and the line of a row without one, or a file with too few rows.
    """
    for split, part in parts.items():
        least = 3 if len(parts) == 1 else 2
        if len(part) < least:
            raise DataError(f"{part.origin} holds {len(part)} rows; expected {least} or more for {split}")
        for row in part:
            value = row.values.get(column)
            if value is None or (isinstance(value, str) and not value.strip()):
                raise DataError(f"{row.where}: column {column!r} is empty; give every row an answer, or take it out")


def _source(columns: Sequence[str], answer: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """A template over the columns that hold texts.

    Raises:
        DataError: there is none.
        UnknownNameError: a person names a column that is not there.
        ConfigError: what a person says is no template.
    """
    from multiprompt.tasks import Template

    others = [column for column in columns if column != answer]
    left_out = {column: reason for column in others if (reason := _unreadable(column, rows))}
    texts = [column for column in others if column not in left_out]
    numbers = [column for column in texts if all(_number(row[column]) is not None for row in rows)]
    if len(numbers) < len(texts):
        left_out |= dict.fromkeys(numbers, "numbers")
        texts = [column for column in texts if column not in numbers]
    if not texts:
        raise DataError(f"no column but {answer!r} holds a text in every row, so there is no source text")
    for column, reason in left_out.items():
        print_note(f"not in the source: {column} ({reason})")
    source = _ask("source", " ".join(f"{column.strip()}: {{{column}}}" for column in texts))
    for column in Template(source).columns:
        if column not in columns:
            raise unknown_name("column", column, columns)
    return source


def _unreadable(column: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Why a template cannot have a column; "" if it can."""
    from multiprompt.tasks import Template

    try:
        named = Template(f"{{{column}}}").columns == (column,)
    except ConfigError:
        named = False
    if not named:
        return "a template cannot name it; rename it"
    return "" if all(isinstance(row.get(column), str) for row in rows) else "not a text in every row"


def _number(value: Any) -> float | None:
    """The number that a value is, or that its text says."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _answer(column: str, values: Sequence[Any]) -> dict[str, Any]:
    """The keys of the definition that say what the answer is.

    Raises:
        DataError: there is one answer only, or one that no task can have.
    """
    counts = Counter(map(_plain, values))
    if len(counts) == 1:
        raise DataError(f"column {column!r} holds {next(iter(counts))} in every row; expected different answers")
    if any(isinstance(value, bool) for value in values):
        raise DataError(f'column {column!r} holds true and false; write them as texts, such as "yes" and "no"')
    numbers = [number for value in values if (number := _number(value)) is not None]
    if all(isinstance(value, str | int) for value in values) and len(counts) <= min(MOST_LABELS, len(values) // 2):
        return _label(column, sorted(set(values), key=lambda value: (_number(value) or 0.0, str(value))), counts)
    if len(numbers) == len(values):
        low, high = math.floor(min(numbers)), math.ceil(max(numbers))
        step = 1 if all(number == int(number) for number in numbers) else 0.1 if high - low <= 1 else 0.2
        echo(f"answer: {column}, a number from {low} to {high}")
        return {"score": {"column": column, "low": low, "high": high, "step": step}}
    echo(f"answer: {column}, any text ({len(counts):,} different ones)")
    return {"answer": column}


def _label(column: str, values: Sequence[str | int], counts: Mapping[str, int]) -> dict[str, Any]:
    echo(f"answer: {column}, one of " + ", ".join(f"{value} ({counts[_plain(value)]:,})" for value in values))
    words = {value: str(value).strip() for value in values}
    if _asks():
        words = {value: _ask(f"word for {value}", word) for value, word in words.items()}
    else:
        print_note(f"words of the answers: {', '.join(words.values())} (guessed)")
    # A token holds a byte or more, and one ends the answer: so long is enough with whatever tokenizer.
    length = max(len(word.encode()) for word in words.values()) + 1
    limit = {"max_target_length": length} if length > 8 else {}
    return {"label": {"column": column, "words": words}, **limit}


def _split(parts: Mapping[str, Rows]) -> dict[str, Any]:
    """The rule that makes train, dev and test of the files that there are."""
    held_out = max(1, min(HELD_OUT, len(parts["train"]) // 6))
    match "validation" in parts, "test" in parts:
        case True, True:
            return {"kind": "official"}
        case True, False:
            return {"kind": "halves"}
        case False, True:
            return {"kind": "carve", "test": "test", "dev_rows": held_out}
    return {"kind": "train-only", "dev_rows": held_out, "test_rows": held_out}
