"""Rows of one data file of any kind, each with the line or the row that it stands in.

A file that is not what its name says, or that holds something twice or by half, is an error that names the place.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from multiprompt.errors import DataError
from multiprompt.files import decoded, kind_of
from multiprompt.metrics import AnswerKind
from multiprompt.tasks import Row, Task


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file, plain or compressed, with their numbers from 1."""
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if number == 1 and (kind := kind_of(line)) is not None:
                    raise _of_another_kind(path, kind)
                yield number, decoded(line, str(path), line=number)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        with path.open("rb") as file:
            compressed = file.read(2) == b"\x1f\x8b"
        if not compressed:
            raise DataError(
                f"{path} is not compressed: take .gz from its name, as in {path.with_suffix('').name}"
            ) from None
        raise DataError(
            f"{path}, after line {number}: the compressed file is damaged or cut short ({error}); copy or "
            "download it again"
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _of_another_kind(path: Path, kind: str) -> DataError:
    names = {"compressed by gzip": f"{path.name}.gz", "a Parquet file": f"{path.name.partition('.')[0]}.parquet"}
    advice = f"rename it to {names[kind]}" if kind in names else "convert it to UTF-8 text"
    return DataError(f"{path} is {kind}, which its name does not say: {advice}")


def _distinct(columns: Iterable[str], where: str) -> None:
    """Refuse a column that stands twice: one of its values would be lost."""
    for column, times in Counter(columns).items():
        if times > 1 and column:  # of nameless columns nothing is read
            raise DataError(f"{where}: the column {column!r} stands {times} times; keep or rename one")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise ValueError(f"the name {twice!r} stands twice in an object")
    return values


_ROW = json.JSONDecoder(object_pairs_hook=_object)


def _json_rows(path: Path, task: Task | None) -> Iterator[tuple[int, Row]]:
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            row = _ROW.decode(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}, line {number}: not JSON ({error}): {_shortened(line)}; expected one object per line"
            ) from None
        if not isinstance(row, dict):
            raise DataError(
                f"{path}, line {number}: holds {_shortened(line)}; expected an object with "
                + (f"the columns {', '.join(task.columns)}" if task else "columns")
            )
        yield number, row


LARGEST_CELL = 2**31 - 1
"""Characters of a cell; Python's own limit of 131,072 is below what passages of books have."""


def _shortened(text: str) -> str:
    shown = repr(text.strip())
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _csv_rows(path: Path, task: Task | None) -> Iterator[tuple[int, Row]]:
    """Comma-separated values with a line of column names; a quoted cell may hold commas and line ends."""
    return _table_rows(path, task, lambda lines: csv.reader(lines, strict=True))


def _tsv_rows(path: Path, task: Task | None) -> Iterator[tuple[int, Row]]:
    """Tab-separated values as GLUE ships them: a line of column names, and quotes are ordinary characters."""
    return _table_rows(path, task, lambda lines: csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def _table_rows(
    path: Path, task: Task | None, make_reader: Callable[[Iterator[str]], Any]
) -> Iterator[tuple[int, Row]]:
    csv.field_size_limit(max(csv.field_size_limit(), LARGEST_CELL))  # of the whole process: Python has no other
    reader = make_reader(text for _, text in _lines(path))
    header: list[str] | None = None
    start = 1
    try:
        for cells in reader:
            # line_num is the last line of the row, but a quoted cell may span several
            start, place = reader.line_num + 1, start
            if not cells:
                continue
            if header is None:
                header = cells
                _distinct(header, f"{path}, line {place}")
                continue
            if len(cells) != len(header):
                raise DataError(
                    f"{path}, line {place}: {len(cells)} cells; expected {len(header)}: {', '.join(header)}"
                )
            row = dict(zip(header, cells, strict=True))
            yield place, row if task is None else typed_row(row, task)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not a table ({error})") from None


def typed_row(row: dict[str, str], task: Task) -> Row:
    """A row of a text file as the task reads it.

    All cells are text. Where the answer is a number or a list of texts, the cell is read as JSON; so are the columns of
    the source and of the group that hold no text.
    """
    typed: dict[str, Any] = dict(row)
    for column in (*task.source.structured, *(task.group.structured if task.group else ())):
        with suppress(ValueError, RecursionError):  # a cell that is no JSON stays text, which the task refuses
            typed[column] = json.loads(row.get(column, ""))
    for column in task.answer.columns if task.kind is not AnswerKind.LABEL else ():
        try:
            value = json.loads(row.get(column, ""))
        except (ValueError, RecursionError):
            continue
        # an open answer such as 1945 or null is the text itself
        if task.kind is AnswerKind.NUMBER or isinstance(value, list | dict):
            typed[column] = value
    return typed


def _parquet_rows(path: Path, task: Task | None) -> Iterator[tuple[int, Row]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise DataError(f"reading {path} needs the package 'pyarrow': pip install \"multiprompt[hub]\"") from None
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            _distinct(file.schema_arrow.names, str(path))
            for batch in file.iter_batches(batch_size=1000):
                for row in _rows_of(batch):
                    number += 1
                    yield number, row
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, row {number + 1}: a text is not UTF-8 ({error})") from None
    except (ArrowException, OSError) as error:
        raise DataError(
            f"{path}, after row {number}: not a Parquet file, or damaged ({error}); copy or download it again"
        ) from error


def _rows_of(batch: Any) -> Iterator[Row]:
    """The rows of a record batch; one by one where a text is not UTF-8, so that the row is known."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for number in range(batch.num_rows):
            yield from batch.slice(number, 1).to_pylist()


READERS: Mapping[str, tuple[Callable[[Path, Task | None], Iterator[tuple[int, Row]]], str]] = {
    "jsonl": (_json_rows, "line"),
    "csv": (_csv_rows, "line"),
    "tsv": (_tsv_rows, "line"),
    "parquet": (_parquet_rows, "row"),
}
"""Kind of file, by its ending without .gz -> what reads it, and what the place of a row is called."""
