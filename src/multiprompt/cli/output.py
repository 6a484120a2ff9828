"""What is printed: tables and sentences that fit into the terminal, and no control characters.

A table that is too wide is cut into several, never a number. Nothing else in the command line writes to the terminal,
but for progress.
"""

from __future__ import annotations

import dataclasses
import itertools
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import typer

from multiprompt.text import lines_of, printable

if TYPE_CHECKING:
    from rich.console import Console

    from multiprompt.evaluation.results import Score
    from multiprompt.reports import Run, Table

_TEXT_WIDTH = 80
"""Columns that sentences are wrapped at, where the terminal is not narrower."""

_GAP = 3
"""Columns between two columns of a table, at most."""


def echo(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a line; control characters in it are written out.

    Args:
        text: the line, or several.
        err: to standard error.
        nl: whether a line end follows.
    """
    typer.echo(printable(text), err=err, nl=nl)


def print_runs(runs: Sequence[Run]) -> None:
    """Print what a reader should know first about one run or several, and their headline tables."""
    from multiprompt.reports import opening

    told = opening(runs)
    for sentence in (*told.results, *told.models, *told.covers):
        print_text(sentence)
    echo()
    indent = max((len(word) for word, _ in told.words), default=0) + 2
    for word, meaning in told.words:
        print_text(f"{word:<{indent}}{meaning}", indent)
    echo()
    print_tables({run.label: run.scores for run in runs})


def print_text(text: str, indent: int = 0, to_stderr: bool = False) -> None:
    """Print a sentence, wrapped between words.

    Args:
        text: a sentence; a line break in it is kept.
        indent: of all lines but the first.
        to_stderr: whether it goes to standard error.
    """
    for line in lines_of(printable(text)):
        echo(wrapped(line, min(_TEXT_WIDTH, _console().width), indent), err=to_stderr)


def print_note(note: str) -> None:
    """Print what a person should know to standard error."""
    print_text(f"note: {note}", 2, to_stderr=True)


def wrapped(text: str, width: int, indent: int = 0) -> str:
    """Lines of so many columns; a word that is longer stays whole, so that paths can be copied.

    Args:
        text: one line; the spaces that it begins with are kept.
        width: of a line.
        indent: of all lines but the first, beside those spaces.
    """
    after = " " * (len(text) - len(text.lstrip()) + indent)
    return textwrap.fill(text, width, subsequent_indent=after, break_long_words=False, break_on_hyphens=False)


def print_tables(scores: Mapping[str, Sequence[Score]]) -> None:
    """Print the headline tables of one run or several."""
    from rich.console import Console

    from multiprompt.reports import headline_tables

    print_tables_of(headline_tables(scores))
    if not any(scores.values()):
        Console(stderr=True).print("no scores yet")


def print_tables_of(tables: Iterable[Table]) -> None:
    """Print tables of a report; one that is too wide in several parts, each with the names of the rows."""
    from multiprompt.reports import to_rich

    console = _console()
    for table in tables:
        body = [[str(cell) for cell in row] for row in (*table.rows, *table.footer)]
        numbers = range(table.text_columns, len(table.columns))
        # Few rows need more than their first words to be told apart.
        keys = next((n for n in range(1, table.text_columns) if _tell_apart(body, n)), table.text_columns)
        parts = fitting([table.columns, *body], numbers, keys, console.width - 2)  # for the edges
        for position, widths in enumerate(parts):
            of_part = _columns_of(table, list(widths))
            shown = to_rich(of_part, list(widths.values()))
            if position:
                shown.title = None
            if position < len(parts) - 1:
                shown.caption = None
            _print_whole(shown, widths)


def _tell_apart(rows: Sequence[Sequence[str]], keys: int) -> bool:
    return len({tuple(row[:keys]) for row in rows}) == len(rows)


def _columns_of(table: Table, chosen: Sequence[int]) -> Table:
    """Some columns of a table."""
    return dataclasses.replace(
        table,
        columns=tuple(table.columns[i] for i in chosen),
        rows=tuple(tuple(row[i] for i in chosen) for row in table.rows),
        footer=tuple(tuple(row[i] for i in chosen) for row in table.footer),
        text_columns=sum(i < table.text_columns for i in chosen),
    )


def print_rows(
    heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Collection[int] = (), keys: int = 1
) -> None:
    """Print rows in columns. Words are wrapped where that is enough; else the table is printed in several parts.

    Args:
        heads: of the columns.
        rows: cells; a row may be short.
        numbers: positions of columns that are set to the right, and whose cells are never wrapped.
        keys: columns at the beginning that every part has.
    """
    from rich.table import Table
    from rich.text import Text

    cells = [[*map(printable, row), *[""] * (len(heads) - len(row))] for row in rows]
    parts = fitting([heads, *cells], numbers, keys, _console().width)
    for position, widths in enumerate(parts):
        if position:
            echo()
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for column, width in widths.items():
            side: Literal["left", "right"] = "right" if column in numbers else "left"
            table.add_column(Text(heads[column], style="bold"), width=width, overflow="fold", justify=side)
        for row in cells:
            table.add_row(*(Text(row[column]) for column in widths))
        _print_whole(table, widths)


def fitting(cells: Sequence[Sequence[str]], numbers: Collection[int], keys: int, width: int) -> list[dict[int, int]]:
    """How a table fits into a width: its parts, each column -> its width.

    Columns of words can be as narrow as their longest word, those of numbers as their longest cell. Where that is still
    too wide, later columns go into further parts, which begin with the keys too, or with as many of them as fit into
    two thirds of the width.

    Args:
        cells: rows of the table, the heads first.
        numbers: positions of the columns whose cells are not wrapped, but for their heads.
        keys: columns at the beginning that name a row.
        width: that there is.
    """
    from rich.cells import cell_len

    def longest_word(text: str) -> int:
        return max(map(cell_len, text.split()), default=0)

    columns = list(zip(*cells, strict=True))
    whole = [max(map(cell_len, column)) for column in columns]
    least = []
    for position, (head, *body) in enumerate(columns):
        if position in numbers:
            least.append(max([longest_word(head), *map(cell_len, body)]))
        else:
            least.append(min(max(map(longest_word, (head, *body))), width // 2))

    def fits(chosen: Sequence[int]) -> bool:
        return sum(least[i] for i in chosen) + _GAP * (len(chosen) - 1) <= width

    every = list(range(len(columns)))
    if fits(every):
        return [_widths(every, least, whole, width)]
    while keys > 1 and sum(least[:keys]) + _GAP * keys > 2 * width // 3:
        keys -= 1
    parts = [every[: keys + 1]]
    for column in every[keys + 1 :]:
        if fits([*parts[-1], column]):
            parts[-1].append(column)
        else:
            parts.append([*every[:keys], column])
    return [_widths(part, least, whole, width) for part in parts]


def _widths(chosen: Sequence[int], least: Sequence[int], whole: Sequence[int], width: int) -> dict[int, int]:
    """Share out what is left of the width, one column at a time."""
    widths = {column: least[column] for column in chosen}
    spare = width - sum(widths.values()) - _GAP * (len(chosen) - 1)
    for column in itertools.cycle(chosen):
        narrow = any(widths[each] < whole[each] for each in chosen)
        if spare <= 0 or not narrow:
            return widths
        if widths[column] < whole[column]:
            widths[column] += 1
            spare -= 1
    return widths


def _print_whole(table: object, widths: Mapping[int, int]) -> None:
    """Print a table whose columns have widths; rich would cut what is wider than its console."""
    from rich.console import Console

    console = _console()
    needed = sum(widths.values()) + _GAP * len(widths)
    (console if needed <= console.width else Console(width=needed)).print(table)


def _console() -> Console:
    """Standard output; a pipe is as wide as $COLUMNS or the terminal behind it, or 80 columns."""
    from rich.console import Console

    return Console()
