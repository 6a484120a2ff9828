"""Trained prompts on disk: one safetensors file that says what it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

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
        fingerprint: of that model (``Backbone.fingerprint``); empty in files of earlier releases.
    """

    prompt: Prompt
    tasks: tuple[str, ...]
    backbone: str
    fingerprint: str = field(default="", repr=False)

    def task_id(self, task: str) -> int:
        """Position of a task.

        Raises:
            CheckpointError: the prompt was not trained for it.
        """
        if task not in self.tasks:
            raise CheckpointError(f"the prompt was trained for {', '.join(self.tasks)}, not for {task!r}")
        return self.tasks.index(task)


def other_model(trained_with: tuple[str, str], used_with: tuple[str, str]) -> str | None:
    """What a user should know who takes what was trained with one model to another one.

    Args:
        trained_with: name and fingerprint (``Backbone.fingerprint``) of the first; what an earlier release has stored
            has no fingerprint, and then the names are compared.
        used_with: those of the second.

    Returns:
        A sentence; None for the same model.
    """
    (name, fingerprint), (here, fingerprint_here) = trained_with, used_with
    same = fingerprint == fingerprint_here if fingerprint else name in (here, "")
    if same:
        return None
    which = "has other weights or another tokenizer now" if name == here else f"is not used here, but {here}"
    return f"it was trained with {name}, which {which}: what was learned with one model means little to another"


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
    write_tensors(Path(path), dict(stored.prompt.named_parameters()), _metadata(kind, stored))


def _metadata(kind: str, stored: StoredPrompt) -> dict[str, str]:
    record = {
        "version": PROMPT_VERSION,
        "kind": kind,
        "tasks": stored.tasks,
        "backbone": stored.backbone,
        "fingerprint": stored.fingerprint,
    }
    return {"multiprompt": json.dumps(record)}


def save_plain_prompt(path: Path | str, stored: StoredPrompt) -> None:
    """Write every task's prompt merged into one plain ``[P, D]`` matrix, under the name of the task.

    Merged prompts need nothing of this package: concatenate the matrix before the encoder's token embeddings.
    """
    merged = stored.prompt.all_tasks()
    tensors = {task: merged[index] for index, task in enumerate(stored.tasks)}
    write_tensors(Path(path), tensors, _metadata("plain", stored))


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
        kind, tasks, backbone = str(record["kind"]), tuple(record["tasks"]), str(record["backbone"])
        version, fingerprint = record["version"], str(record.get("fingerprint", ""))
    except (KeyError, ValueError, TypeError, AttributeError):
        raise CheckpointError(f"{path} is not a prompt that multiprompt stored") from None
    if version != PROMPT_VERSION:
        raise CheckpointError(f"{path} has version {version}; this release reads version {PROMPT_VERSION}")
    try:
        prompt = _prompt(kind, tensors, tasks)
    except (KeyError, ValueError, IndexError, RuntimeError) as error:
        raise CheckpointError(f"{path} is damaged: it is no {kind!r} prompt of {len(tasks)} tasks ({error})") from error
    return StoredPrompt(prompt, tasks, backbone, fingerprint)


def _prompt(kind: str, tensors: Mapping[str, Tensor], tasks: Sequence[str]) -> Prompt:
    match kind:
        case "plain":
            return SoftPrompt([tensors[task] for task in tasks])
        case "soft":
            return SoftPrompt([tensors[f"prompts.{index}"] for index in range(len(tasks))])
        case "shared":
            return SharedPrompt(tensors["shared"], len(tasks))
        case "decomposed":
            factors = [(tensors[f"u.{index}"], tensors[f"v.{index}"]) for index in range(len(tasks))]
            return DecomposedPrompt(tensors["shared"], factors)
        case "factorised":
            return FactorisedPrompt(tensors["rows"], tensors["columns"])
    raise ValueError("a kind that this release does not know")
