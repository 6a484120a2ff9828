"""The scores of a transfer matrix on disk, by what they depend on: an analysis that was stopped goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from multiprompt.errors import CheckpointError
from multiprompt.files import read_json, write_json

STORE_VERSION = 2
"""Raised when a cell would be another number from the same inputs."""


@dataclass(frozen=True)
class Cell:
    """A prompt on a target task, scored on its dev rows.

    Attributes:
        source: where the prompt comes from; the first of those that have the same rows.
        target: the task.
        seed: of the run, and of the steps.
        steps: of prompt tuning on the target before; 0 for the prompt as it is.
        metric: the task's reported metric.
        value: its value.
        interval: its bootstrap 95 % interval over the dev rows.
        majority: value of the constant answer that is best on the training rows.
        invalid: share (0 to 1) of outputs that are no answer of the task.
        n: dev rows.
    """

    source: str
    target: str
    seed: int
    steps: int
    metric: str
    value: float
    interval: tuple[float, float]
    majority: float
    invalid: float
    n: int


class CellStore:
    """The cells in a file, which is written again with each one that is added.

    Args:
        path: the file; it need not exist.

    Raises:
        CheckpointError: the file is damaged, or of another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._cells: dict[str, Cell] = {}
        if not path.exists():
            return
        remedy = f"Move it elsewhere, and the analysis is made again: {path}"
        record = read_json(path)
        if not isinstance(record, Mapping) or record.get("version") != STORE_VERSION:
            raise CheckpointError(f"{path} is no transfer matrix of this release (version {STORE_VERSION}). {remedy}")
        try:
            self._cells = {key: _cell(values) for key, values in record["cells"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"{path} is damaged ({error!r}). {remedy}") from error

    def __contains__(self, key: str) -> bool:
        return key in self._cells

    def __getitem__(self, key: str) -> Cell:
        return self._cells[key]

    def add(self, cells: Mapping[str, Cell]) -> None:
        """Keep cells by their keys, and write the file.

        Raises:
            CheckpointError: it cannot be written.
        """
        self._cells |= cells
        plain = {key: asdict(cell) for key, cell in self._cells.items()}
        write_json(self.path, {"version": STORE_VERSION, "analysis": "transfer", "cells": plain})


def _cell(values: Mapping[str, Any]) -> Cell:
    low, high = map(float, values["interval"])
    return Cell(**{**values, "value": float(values["value"]), "interval": (low, high)})
