"""Trained prompts on disk: one safetensors file that says what it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from multiprompt.errors import CheckpointError
from multiprompt.prompts.base import Prompt
from multiprompt.prompts.decomposed import DecomposedPrompt
from multiprompt.prompts.factorised import FactorisedPrompt
from multiprompt.prompts.soft import SharedPrompt, SoftPrompt
from multiprompt.prompts.trained_files import Trained, read_trained, write_trained

_KINDS = {"soft": SoftPrompt, "shared": SharedPrompt, "decomposed": DecomposedPrompt, "factorised": FactorisedPrompt}


@dataclass(frozen=True)
class StoredPrompt(Trained):
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

    @property
    def title(self) -> str:
        return "the prompt"


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
    write_trained(Path(path), dict(stored.prompt.named_parameters()), stored, kind=kind)


def save_plain_prompt(path: Path | str, stored: StoredPrompt) -> None:
    """Write every task's prompt merged into one plain ``[P, D]`` matrix, under the name of the task.

    Merged prompts need nothing of this package: concatenate the matrix before the embeddings of a source.
    """
    merged = stored.prompt.all_tasks()
    tensors = {task: merged[index] for index, task in enumerate(stored.tasks)}
    write_trained(Path(path), tensors, stored, kind="plain")


def load_prompt(path: Path | str) -> StoredPrompt:
    """Read what ``save_prompt`` or ``save_plain_prompt`` wrote.

    Args:
        path: of the file.

    Returns:
        The prompt and what it was trained for.

    Raises:
        CheckpointError: the file is missing, damaged, of another version, or no prompt.
    """
    path, none = Path(path), "is not a prompt that multiprompt stored"
    tensors, kind, tasks, backbone, fingerprint = read_trained(path, "kind", none)
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
