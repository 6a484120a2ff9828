"""What is printed: lines and tables. Nothing else in the command line writes to the terminal, but for progress."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import typer

from multiprompt.text import printable

if TYPE_CHECKING:
    from rich.console import Console

    from multiprompt.evaluation.results import Score
    from multiprompt.reports import Run, Table

_TEXT_WIDTH = 80
"""Columns that sentences are wrapped at."""


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
    wrap = textwrap.TextWrapper(_TEXT_WIDTH, break_on_hyphens=False)
    for sentence in (*told.results, *told.models, *told.covers):
        echo(wrap.fill(sentence))
    echo()
    width = max((len(word) for word, _ in told.words), default=0)
    for word, meaning in told.words:
        echo(f"{word:<{width}}  {meaning}")
    echo()
    print_tables({run.label: run.scores for run in runs})


def print_tables(scores: Mapping[str, Sequence[Score]]) -> None:
    """Print the headline tables of one run or several."""
    from rich.console import Console

    from multiprompt.reports import headline_tables

    print_tables_of(headline_tables(scores))
    if not any(scores.values()):
        Console(stderr=True).print("no scores yet")


def print_tables_of(tables: Iterable[Table]) -> None:
    """Print tables of a report."""
    from multiprompt.reports import to_rich

    console = _console()
    for table in tables:
        console.print(to_rich(table))


def print_rows(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Collection[int] = ()) -> None:
    """Print rows of words in columns; the last column is wrapped where the terminal ends.

    Args:
        heads: of the columns.
        rows: cells; a row may be short.
        numbers: positions of columns that are set to the right.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for position, head in enumerate(heads):
        last = position == len(heads) - 1
        side: Literal["left", "right"] = "right" if position in numbers else "left"
        table.add_column(Text(head, style="bold"), no_wrap=not last, overflow="fold", justify=side)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    _console().print(table)


def _console() -> Console:
    """Standard output; wide where it is no terminal, so that nothing is cut in a file or a pipe."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=160)
