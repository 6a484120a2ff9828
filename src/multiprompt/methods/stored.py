"""The trained tensors of a method on disk: one safetensors file that says whose they are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from multiprompt.errors import CheckpointError
from multiprompt.files import read_tensors, write_tensors

METHOD_VERSION = 1


@dataclass(frozen=True)
class StoredMethod:
    """What a method has trained.

    Attributes:
        method: its name.
        tensors: what ``Method.tensors`` gave.
        tasks: names of its tasks, in the order of the task ids.
        backbone: name of the model that it was trained with; empty in files of earlier releases.
        fingerprint: of that model; likewise.
    """

    method: str
    tensors: dict[str, Tensor]
    tasks: tuple[str, ...]
    backbone: str = ""
    fingerprint: str = ""

    def __repr__(self) -> str:
        numbers = sum(tensor.numel() for tensor in self.tensors.values())
        return f"StoredMethod({self.method!r}, {', '.join(self.tasks)}, {numbers:,} trained numbers)"

    def task_id(self, task: str) -> int:
        """Position of a task.

        Raises:
            CheckpointError: the method was not trained for it.
        """
        if task not in self.tasks:
            raise CheckpointError(f"{self.method} was trained for {', '.join(self.tasks)}, not for {task!r}")
        return self.tasks.index(task)


def save_method(path: Path, stored: StoredMethod) -> None:
    """Write the tensors, atomically.

    Raises:
        CheckpointError: the file cannot be written.
    """
    record = {
        "version": METHOD_VERSION,
        "method": stored.method,
        "tasks": stored.tasks,
        "backbone": stored.backbone,
        "fingerprint": stored.fingerprint,
    }
    write_tensors(path, stored.tensors, {"multiprompt": json.dumps(record)})


def load_method(path: Path) -> StoredMethod:
    """Read what ``save_method`` wrote.

    Raises:
        CheckpointError: the file is missing, damaged, of another version, or holds no method.
    """
    tensors, metadata = read_tensors(path)
    try:
        record = json.loads(metadata["multiprompt"])
        method, tasks, version = str(record["method"]), tuple(record["tasks"]), record["version"]
        backbone, fingerprint = str(record.get("backbone", "")), str(record.get("fingerprint", ""))
    except (KeyError, ValueError, TypeError, AttributeError):
        raise CheckpointError(f"{path} holds no tensors of a method that multiprompt stored") from None
    if version != METHOD_VERSION:
        raise CheckpointError(f"{path} has version {version}; this release reads version {METHOD_VERSION}")
    return StoredMethod(method, tensors, tasks, backbone, fingerprint)
