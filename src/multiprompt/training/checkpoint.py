"""The state of a training between two steps, in one file that is replaced atomically."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multiprompt.errors import CheckpointError
from multiprompt.files import read_tensors, tensors_digest, write_tensors

CHECKPOINT_VERSION = 2
"""Version 1 had no digest of its tensors."""


@dataclass
class TrainingState:
    """Everything that the next step depends on. Random numbers are derived from the step and need no state.

    Attributes:
        step: optimiser steps done.
        stream: state of the batch stream.
        best_value: best dev metric so far; None before the first evaluation.
        best_step: the step that it belongs to.
        best: the trained tensors of that step.
        seconds: time spent so far.
        examples: examples seen so far.
        task_examples: the same by task; fewer after a checkpoint of a release that did not count them.
    """

    step: int = 0
    stream: dict[str, Any] = field(default_factory=dict)
    best_value: float | None = None
    best_step: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0
    examples: int = 0
    task_examples: dict[int, int] = field(default_factory=dict)


def save_checkpoint(
    path: Path,
    identity: str,
    state: TrainingState,
    trained: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
) -> None:
    """Write the state, the trained tensors and the optimiser's state.

    Args:
        path: the file.
        identity: what the training is; a checkpoint of another one is refused.
        state: the loop's own state.
        trained: the trained tensors.
        optimiser: its per-parameter state is stored, not its options.
    """
    tensors = {f"trained/{name}": tensor for name, tensor in trained.items()}
    tensors |= {f"best/{name}": tensor for name, tensor in state.best.items()}
    scalars: dict[str, dict[str, Any]] = {}
    for index, values in optimiser.state_dict()["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimiser/{index}/{name}"] = value
            else:
                scalars.setdefault(str(index), {})[name] = value
    record = {
        "version": CHECKPOINT_VERSION,
        "identity": identity,
        "step": state.step,
        "stream": state.stream,
        "best_value": state.best_value,
        "best_step": state.best_step,
        "seconds": state.seconds,
        "examples": state.examples,
        "task_examples": state.task_examples,
        "optimiser": scalars,
    }
    write_tensors(path, tensors, {"multiprompt": json.dumps(record | {"sha256": tensors_digest(tensors)})})


def checkpoint_step(path: Path) -> int:
    """Steps that a checkpoint has behind it; 0 if there is none. Its tensors are not read.

    Raises:
        CheckpointError: the file is damaged or no checkpoint.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return int(json.loads((file.metadata() or {})["multiprompt"])["step"])
    except FileNotFoundError:
        return 0
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged or is no checkpoint ({error}); delete this file to begin the stage again"
        ) from error


def load_checkpoint(
    path: Path, identity: str, optimiser: torch.optim.Optimizer
) -> tuple[TrainingState, dict[str, Tensor]]:
    """Read a checkpoint; the optimiser's state is put back, the rest returned.

    Returns:
        The loop's state and the trained tensors.

    Raises:
        CheckpointError: the file is damaged, of another version, or of another training.
    """
    try:
        tensors, metadata = read_tensors(path)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; delete this file to begin the stage again") from error
    try:
        record = json.loads(metadata["multiprompt"])
    except (KeyError, ValueError):
        raise CheckpointError(f"{path} is not a training checkpoint of multiprompt") from None
    version = record.get("version")
    if version != CHECKPOINT_VERSION:
        raise CheckpointError(f"{path} has version {version}; this release reads version {CHECKPOINT_VERSION}")
    if record["sha256"] != tensors_digest(tensors):
        raise CheckpointError(
            f"{path} is damaged: its tensors are not those that were written; delete this file to begin the stage again"
        )
    if record["identity"] != identity:
        raise CheckpointError(
            f"{path} belongs to another configuration or other data; choose another folder, or delete this file to "
            "begin the stage again"
        )
    sections: dict[str, dict[str, Tensor]] = {"trained": {}, "best": {}, "optimiser": {}}
    for name, tensor in tensors.items():
        section, _, rest = name.partition("/")
        sections[section][rest] = tensor
    states: dict[int, dict[str, Any]] = {int(i): dict(values) for i, values in record["optimiser"].items()}
    for name, tensor in sections["optimiser"].items():
        index, _, key = name.partition("/")
        states.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({"state": states, "param_groups": optimiser.state_dict()["param_groups"]})
    state = TrainingState(
        step=record["step"],
        stream=record["stream"],
        best_value=record["best_value"],
        best_step=record["best_step"],
        best=sections["best"],
        seconds=record["seconds"],
        examples=record["examples"],
        task_examples={int(task): count for task, count in record.get("task_examples", {}).items()},
    )
    return state, sections["trained"]
