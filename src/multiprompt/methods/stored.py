"""The trained tensors of a method on disk: one safetensors file that says whose they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from multiprompt.prompts.trained_files import Trained, read_trained, write_trained


@dataclass(frozen=True)
class StoredMethod(Trained):
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

    @property
    def title(self) -> str:
        return self.method


def save_method(path: Path, stored: StoredMethod) -> None:
    """Write the tensors, atomically.

    Raises:
        CheckpointError: the file cannot be written.
    """
    write_trained(path, stored.tensors, stored, method=stored.method)


def load_method(path: Path) -> StoredMethod:
    """Read what ``save_method`` wrote.

    Raises:
        CheckpointError: the file is missing, damaged, of another version, or holds no method.
    """
    none = "holds no tensors of a method that multiprompt stored"
    tensors, method, tasks, backbone, fingerprint = read_trained(path, "method", none)
    return StoredMethod(method, tensors, tasks, backbone, fingerprint)
