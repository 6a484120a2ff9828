"""How a long computation tells where it is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives what happens; the command line draws it."""

    def begin(self, stage: str, total: int) -> None:
        """A stage of ``total`` steps begins (or goes on)."""
        ...

    def step(self, step: int, loss: float, examples_per_second: float) -> None:
        """``step`` steps of the stage are done."""
        ...

    def end(self, stage: str, summary: str) -> None:
        """A stage is done: the one that has begun, or one of several that were trained together."""
        ...

    def message(self, text: str) -> None:
        """Something that a person should read, such as truncated sources."""
        ...


class _Silent:
    def begin(self, stage: str, total: int) -> None:
        pass

    def step(self, step: int, loss: float, examples_per_second: float) -> None:
        pass

    def end(self, stage: str, summary: str) -> None:
        pass

    def message(self, text: str) -> None:
        pass


SILENT: Progress = _Silent()
"""Says nothing."""
