"""Progress on the terminal: a bar while a stage runs and one line when it is done; plain lines elsewhere."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING

from multiprompt.text import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

PLAIN_SECONDS = 10.0
"""Time between two plain lines about a running stage."""


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
        self._console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


class BarProgress(AbstractContextManager["BarProgress"]):
    """A bar with step, loss, speed, elapsed and remaining time; a finished stage stays as one line.

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

        self._console = console
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left", style="dim"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
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
        numbers = f"loss {loss:.4f}  {examples_per_second:,.0f} examples/s"
        if not self._moved and step > 1:
            # A resumed stage: the steps of earlier sittings must not count as speed of this one.
            self._bars.reset(self._current, completed=step, numbers=numbers)
        self._moved = True
        self._bars.update(self._current, completed=step, numbers=numbers)

    def end(self, stage: str, summary: str) -> None:
        from rich.text import Text

        self._remove()
        said, taken = printable(summary), _since(self._began)
        line = Text.assemble(("✓ ", "green"), (printable(stage), "bold"), f"  {said}", (f"  {taken}", "dim"))
        self._console.print(line)

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
