"""What a method is made from: its options, the backbone, and what earlier stages have learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from multiprompt.backbone.base import Backbone
from multiprompt.methods.prompt_starts import start_rows
from multiprompt.methods.stored import StoredMethod
from multiprompt.options import PromptOptions, TrainingOptions, method_record
from multiprompt.plan import early_name
from multiprompt.prompts import Prompt
from multiprompt.seeding import derive_seed

Learned = Prompt | StoredMethod
"""What a stage leaves: a prompt, or the tensors of another method."""


@dataclass(frozen=True)
class Start:
    """What a method is made from.

    Attributes:
        backbone: the frozen model.
        tasks: names of its tasks, in the order of the task ids.
        options: of the method, such as ``MptOptions``.
        training: its dropout counts.
        prompt: shape and first values of new prompts.
        earlier: what the stages it needs have learned, by their names.
        seed: of the run.
        stage: name of the stage; first values that are drawn depend on it and on the seed.
        max_source_length: the longest of its tasks' limits, in tokens.
    """

    backbone: Backbone
    tasks: tuple[str, ...]
    options: Any
    training: TrainingOptions
    prompt: PromptOptions
    earlier: Mapping[str, Learned]
    seed: int
    stage: str
    max_source_length: int

    def prompt_of(self, stage: str) -> Prompt:
        """The prompt that an earlier stage has learned."""
        learned = self.earlier[stage]
        assert isinstance(learned, Prompt), f"stage {stage} stores a prompt"
        return learned

    def teachers(self) -> list[str]:
        """The teachers among the earlier stages, in the order of the source tasks."""
        return [name for name in self.earlier if name.startswith("teacher-")]

    def teacher_rows(self) -> Tensor:
        """The prompts of the teachers on the processor, wherever they are, ``[K, P, D]``."""
        return torch.cat([self.prompt_of(name).all_tasks().detach().cpu() for name in self.teachers()])

    def early_rows(self) -> Tensor:
        """The target's own prompt after the early steps that the method asks for, on the processor, ``[P, D]``."""
        return self.prompt_of(early_name(self.stage)).all_tasks().detach()[0].cpu()

    def first(self) -> StoredMethod | None:
        """What the method has learned on source tasks first; None if it starts without."""
        learned = self.earlier.get(f"source-{method_record(self.options.method).first}")
        assert learned is None or isinstance(learned, StoredMethod), "such a stage stores no prompt"
        return learned

    def draw_seed(self, purpose: str) -> int:
        """Seed of the first values for a purpose."""
        return derive_seed(self.seed, self.stage, purpose)

    def generator(self, purpose: str) -> torch.Generator:
        """Draws the first values for a purpose."""
        return torch.Generator().manual_seed(self.draw_seed(purpose))

    def prompt_rows(self) -> Tensor:
        """First value of a new prompt, ``[P, D]``."""
        return start_rows(self.prompt, self.backbone, self.draw_seed("start"))
