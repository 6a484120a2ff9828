"""Files of trained tensors, with a record of their tasks and of the model that they were trained with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from multiprompt.errors import CheckpointError
from multiprompt.files import read_tensors, write_tensors

TRAINED_VERSION = 1


class Trained:
    """What was trained, for which tasks and with which model; a prompt or the tensors of another method.

    Attributes:
        tasks: names of its tasks, in the order of the task ids.
        backbone: name of the model that it was trained with; may be empty in files of earlier releases.
        fingerprint: of that model (``Backbone.fingerprint``); likewise.
    """

    tasks: tuple[str, ...]
    backbone: str
    fingerprint: str

    @property
    def title(self) -> str:
        """What it is, in words."""
        raise NotImplementedError

    def task_id(self, task: str) -> int:
        """Position of a task.

        Raises:
            CheckpointError: it was not trained for the task.
        """
        if task not in self.tasks:
            raise CheckpointError(f"{self.title} was trained for {', '.join(self.tasks)}, not for {task!r}")
        return self.tasks.index(task)

    def other_model(self, name: str, fingerprint: str) -> str | None:
        """What a user should know who takes it to another model than its own.

        Args:
            name: of the model that it is used with.
            fingerprint: of that model. What an earlier release has stored has no fingerprint, and then the names are
                compared.

        Returns:
            A sentence; None for the same model.
        """
        own = self.backbone
        same = self.fingerprint == fingerprint if self.fingerprint else own in (name, "")
        if same:
            return None
        which = "has other weights or another tokenizer now" if own == name else f"is not used here, but {name}"
        return f"it was trained with {own}, which {which}: what was learned with one model means little to another"


def write_trained(path: Path, tensors: Mapping[str, Tensor], trained: Trained, **what: str) -> None:
    """Write tensors and their record, atomically.

    Args:
        path: of a safetensors file.
        tensors: by name.
        trained: tasks and model.
        what: the entry of the record that says what the tensors are.

    Raises:
        CheckpointError: the file cannot be written.
    """
    model = {"backbone": trained.backbone, "fingerprint": trained.fingerprint}
    record = {"version": TRAINED_VERSION, **what, "tasks": trained.tasks, **model}
    write_tensors(path, tensors, {"multiprompt": json.dumps(record)})


def read_trained(path: Path, entry: str, refusal: str) -> tuple[dict[str, Tensor], str, tuple[str, ...], str, str]:
    """Read what ``write_trained`` wrote.

    Args:
        path: of the file.
        entry: the entry of the record that says what the tensors are.
        refusal: what to say of a file without such a record.

    Returns:
        The tensors, what they are, the tasks, name and fingerprint of the model.

    Raises:
        CheckpointError: the file is missing, damaged, of another version, or holds something else.
    """
    tensors, metadata = read_tensors(path)
    try:
        record = json.loads(metadata["multiprompt"])
        what, tasks, version = str(record[entry]), tuple(record["tasks"]), record["version"]
        backbone, fingerprint = str(record.get("backbone", "")), str(record.get("fingerprint", ""))
    except (KeyError, ValueError, TypeError, AttributeError):
        raise CheckpointError(f"{path} {refusal}") from None
    if version != TRAINED_VERSION:
        raise CheckpointError(f"{path} has version {version}; this release reads version {TRAINED_VERSION}")
    return tensors, what, tasks, backbone, fingerprint
