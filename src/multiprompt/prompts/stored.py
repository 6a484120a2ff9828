"""Trained prompts on disk: one safetensors file that says what it is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from multiprompt.errors import CheckpointError
from multiprompt.files import read_tensors, write_tensors
from multiprompt.prompts.base import Prompt
from multiprompt.prompts.decomposed import DecomposedPrompt
from multiprompt.prompts.factorised import FactorisedPrompt
from multiprompt.prompts.soft import SharedPrompt, SoftPrompt

PROMPT_VERSION = 1

_KINDS = {"soft": SoftPrompt, "shared": SharedPrompt, "decomposed": DecomposedPrompt, "factorised": FactorisedPrompt}


@dataclass(frozen=True)
class StoredPrompt:
    """A prompt and what it was trained for.

    Attributes:
        prompt: the module.
        tasks: names of its tasks, in the order of the task ids.
        backbone: name of the model that it was trained with.
    """

    prompt: Prompt
    tasks: tuple[str, ...]
    backbone: str

    def task_id(self, task: str) -> int:
        """Position of a task.

        Raises:
            CheckpointError: the prompt was not trained for it.
        """
        if task not in self.tasks:
            raise CheckpointError(f"the prompt was trained for {', '.join(self.tasks)}, not for {task!r}")
        return self.tasks.index(task)


def save_prompt(path: Path | str, stored: StoredPrompt) -> None:
    """Write a prompt as it was trained: shared prompt and factors stay apart.

    Args:
        path: of a safetensors file.
        stored: the prompt and what it was trained for.

    Raises:
        CheckpointError: the file cannot be written, or the prompt is a module of the user's own.
    """
    kind = next((name for name, cls in _KINDS.items() if type(stored.prompt) is cls), None)
    if kind is None:
        raise CheckpointError(
            f"a {type(stored.prompt).__name__} is no prompt of the package, so it could not be read again; "
            "save_plain_prompt writes the plain matrices that it gives"
        )
    record = {
        "version": PROMPT_VERSION,
        "kind": kind,
        "tasks": stored.tasks,
        "backbone": stored.backbone,
    }
    write_tensors(Path(path), dict(stored.prompt.named_parameters()), {"multiprompt": json.dumps(record)})


def save_plain_prompt(path: Path | str, stored: StoredPrompt) -> None:
    """Write every task's prompt merged into one plain ``[P, D]`` matrix, under the name of the task.

    Merged prompts need nothing of this package: concatenate the matrix before the encoder's token embeddings.
    """
    merged = stored.prompt.all_tasks()
    record = {"version": PROMPT_VERSION, "kind": "plain", "tasks": stored.tasks, "backbone": stored.backbone}
    tensors = {task: merged[index] for index, task in enumerate(stored.tasks)}
    write_tensors(Path(path), tensors, {"multiprompt": json.dumps(record)})


def load_prompt(path: Path | str) -> StoredPrompt:
    """Read what ``save_prompt`` or ``save_plain_prompt`` wrote.

    Args:
        path: of the file.

    Returns:
        The prompt and what it was trained for.

    Raises:
        CheckpointError: the file is missing, damaged, of another version, or no prompt.
    """
    tensors, metadata = read_tensors(Path(path))
    try:
        record = json.loads(metadata["multiprompt"])
        kind, tasks, backbone = record["kind"], tuple(record["tasks"]), record["backbone"]
    except (KeyError, ValueError, TypeError):
        raise CheckpointError(f"{path} is not a prompt that multiprompt stored") from None
    if record["version"] != PROMPT_VERSION:
        raise CheckpointError(f"{path} has version {record['version']}; this release reads version {PROMPT_VERSION}")
    prompt: Prompt
    if kind == "plain":
        prompt = SoftPrompt([tensors[task] for task in tasks])
    elif kind == "soft":
        prompt = SoftPrompt([tensors[f"prompts.{index}"] for index in range(len(tasks))])
    elif kind == "shared":
        prompt = SharedPrompt(tensors["shared"], len(tasks))
    elif kind == "decomposed":
        factors = [(tensors[f"u.{index}"], tensors[f"v.{index}"]) for index in range(len(tasks))]
        prompt = DecomposedPrompt(tensors["shared"], factors)
    elif kind == "factorised":
        prompt = FactorisedPrompt(tensors["rows"], tensors["columns"])
    else:
        raise CheckpointError(f"{path} holds a prompt of the unknown kind {kind!r}")
    return StoredPrompt(prompt, tasks, backbone)
