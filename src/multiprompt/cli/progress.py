"""Progress on the terminal: a bar while a stage runs and one line when it is done; plain lines elsewhere."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING

from multiprompt.cli.output import wrapped
from multiprompt.text import lines_of, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

PLAIN_SECONDS = 10.0
"""Time between two plain lines about a running stage."""

SPEED_WIDTH, ELAPSED_WIDTH = 110, 76
"""Columns of a terminal from which a bar has room for the speed, and for the elapsed time."""


def terminal_progress(console: Console | None = None) -> BarProgress | LineProgress:
    """Bars on a terminal, plain lines elsewhere; both go to standard error.

    Args:
        console: where to; None for standard error.
    """
    from rich.console import Console

    console = console or Console(stderr=True)
    return BarProgress(console) if console.is_terminal else LineProgress(console)


class LineProgress(AbstractContextManager["LineProgress"]):
    """A line for every finished stage, and one about every ten seconds.

    Args:
        console: where the lines go.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stage, self._total = "", 0
        self._began: float | None = None
        self._spoke = 0.0

    def __exit__(self, *_: object) -> None:
        return None

    def begin(self, stage: str, total: int) -> None:
        self._stage, self._total = stage, total
        self._began = self._spoke = time.monotonic()

    def step(self, step: int, loss: float, examples_per_second: float) -> None:
        now = time.monotonic()
        if now - self._spoke >= PLAIN_SECONDS:
            self._spoke = now
            self._say(
                f"{self._stage}: step {step:,} of {self._total:,}, loss {loss:.4f}, "
                f"{examples_per_second:,.0f} examples/s"
            )

    def end(self, stage: str, summary: str) -> None:
        time_taken = _since(self._began)
        self._say(f"{stage}: {summary}{f' ({time_taken})' if time_taken else ''}")

    def message(self, text: str) -> None:
        self._say(f"note: {text}")

    def _say(self, text: str) -> None:
        for line in lines_of(printable(text)):
            shown = wrapped(line, self._console.width, 2)
            self._console.print(shown, markup=False, highlight=False, soft_wrap=True)


class BarProgress(AbstractContextManager["BarProgress"]):
    """A bar with step, loss, speed, elapsed and remaining time; a finished stage stays as one line.

    A narrow terminal shows less of the name, then no speed, then no elapsed time: bar, steps and the time that is left
    stay whole.

    Args:
        console: a terminal.
    """

    def __init__(self, console: Console) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.table import Column

        self._console = console
        self._speaks_of_speed = console.width >= SPEED_WIDTH
        name = Column(no_wrap=True, overflow="ellipsis", ratio=1)
        whole = Column(no_wrap=True)
        self._bars = Progress(
            TextColumn("{task.description}", markup=False, table_column=name),
            BarColumn(bar_width=20 if self._speaks_of_speed else 10, table_column=whole.copy()),
            MofNCompleteColumn(table_column=whole.copy()),
            TextColumn("{task.fields[numbers]}", markup=False, table_column=whole.copy()),
            *([TimeElapsedColumn(table_column=whole.copy())] if console.width >= ELAPSED_WIDTH else []),
            TextColumn("left", style="dim", table_column=whole.copy()),
            TimeRemainingColumn(table_column=whole.copy()),
            console=console,
            transient=True,
            expand=True,
        )
        self._began: float | None = None
        self._moved = False
        self._current: TaskID | None = None

    def __enter__(self) -> BarProgress:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def begin(self, stage: str, total: int) -> None:
        self._remove()
        self._began, self._moved = time.monotonic(), False
        self._current = self._bars.add_task(printable(stage), total=total, numbers="")

    def step(self, step: int, loss: float, examples_per_second: float) -> None:
        assert self._current is not None, "a stage has begun"
        numbers = f"loss {loss:.4f}" + f"  {examples_per_second:,.0f} examples/s" * self._speaks_of_speed
        if not self._moved and step > 1:
            # A resumed stage: the steps of earlier sittings must not count as speed of this one.
            self._bars.reset(self._current, completed=step, numbers=numbers)
        self._moved = True
        self._bars.update(self._current, completed=step, numbers=numbers)

    def end(self, stage: str, summary: str) -> None:
        from rich.text import Text

        self._remove()
        done, took = Text.assemble(("✓ ", "green"), (printable(stage), "bold")), _since(self._began)
        said = printable(summary)
        line = Text.assemble(done, f"  {said}", (f"  {took}", "dim"))
        if line.cell_len <= self._console.width:
            self._console.print(line)
        else:
            self._console.print(done)
            self._console.print(Text(wrapped(f"  {said}  {took}", self._console.width)))

    def message(self, text: str) -> None:
        from rich.text import Text

        self._console.print(Text(printable(f"note: {text}"), style="dim"))

    def _remove(self) -> None:
        if self._current is not None:
            self._bars.remove_task(self._current)
        self._current = None


def _since(began: float | None) -> str:
    """The span since a moment; empty if nothing has begun here, as when stages are trained elsewhere."""
    return "" if began is None else span(time.monotonic() - began)


def span(seconds: float) -> str:
    """A span of time: "7 s", "3:05 min", "2:04:09 h"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d} h"
