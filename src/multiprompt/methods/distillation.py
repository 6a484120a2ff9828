"""Source training: many tasks, one prompt, with the teachers' help (Eq. 5)."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from multiprompt.backbone.base import Backbone, HiddenStates
from multiprompt.batch import Batch
from multiprompt.losses import (
    hidden_state_error,
    logit_divergence,
    normalised_layers,
    prompt_distance,
    token_cross_entropy,
)
from multiprompt.methods.base import task_term
from multiprompt.methods.prompt_tuning import PromptTuning
from multiprompt.options import DistillationOptions
from multiprompt.prompts import Prompt
from multiprompt.terms import Term


class SourceTraining(PromptTuning):
    """Train a prompt on several source tasks at once, distilling one frozen teacher prompt per task.

    With a decomposed prompt and ``kind="full"`` this is multitask prompt tuning. The other cells of the ablation
    (Table 6) come from a plain prompt that all tasks share, from ``kind="none"``, or from both.

    Args:
        backbone: the frozen model.
        prompt: the student.
        teachers: the teacher prompt of every task, in the order of the task ids; None if ``kind`` is ``"none"``.
        options: what is distilled.
        learning_rate: of a plain or shared prompt.
        factor_learning_rate: of ``u`` and ``v``.
        dropout: whether the frozen model drops out for the student; for the teacher it never does.

    Raises:
        ValueError: the teachers are missing or do not fit the student.
    """

    joins = False  # its losses compare two passes

    def __init__(
        self,
        backbone: Backbone,
        prompt: Prompt,
        teachers: Float[Tensor, "K P D"] | None,
        options: DistillationOptions,
        learning_rate: float = 0.3,
        factor_learning_rate: float = 0.3,
        dropout: bool = True,
    ) -> None:
        super().__init__(backbone, prompt, learning_rate, factor_learning_rate, dropout)
        if options.kind != "none":
            if teachers is None:
                raise ValueError(f"distillation of kind {options.kind!r} needs the teachers' prompts")
            if teachers.shape[1:] != (prompt.length, prompt.width):
                raise ValueError(
                    f"the teachers' prompts are {tuple(teachers.shape[1:])}, the student's is "
                    f"{(prompt.length, prompt.width)}: the hidden states cannot be compared position by position"
                )
            teachers = teachers.detach().float().to(backbone.device)
        self.teachers = teachers
        self.options = options

    def terms(self, batch: Batch) -> tuple[Term, ...]:
        kind, weight = self.options.kind, self.options.weight
        task = task_term(batch)
        if kind == "none":
            return (task,)
        if kind == "prompt_distance":
            return task, Term("prompt distance", "distance", weight, np.ones_like(task.counts))
        logits = Term("logits", "logits", weight, task.counts)
        if kind == "no_hidden":
            return task, logits
        counts = self.backbone.state_counts(batch, self.prompt.length)
        return task, logits, *(Term(f"{name} states", "states", weight, each) for name, each in counts.items())

    def losses(self, batch: Batch) -> tuple[Term, ...]:
        sums = self._sums(batch)
        return tuple(term.with_sums(sums[term.name]) for term in self.terms(batch))

    def _sums(self, batch: Batch) -> dict[str, Tensor]:
        """The sums of the terms, by their names."""
        kind = self.options.kind
        hidden: HiddenStates = self.options.hidden if kind == "full" else "none"
        student_prompts = self.prompts(batch)
        with self.backbone.dropout(self.dropout):
            student = self.backbone.forward(batch, student_prompts, hidden)
        size = len(batch)
        sums = {"task": token_cross_entropy(student.logits, student.labels, student.example_ids, size)}
        if kind == "none" or self.teachers is None:
            return sums
        teacher_prompts = self.teachers[batch.task_ids]
        if kind == "prompt_distance":
            return sums | {"prompt distance": prompt_distance(student_prompts, teacher_prompts)}
        with torch.no_grad(), self.backbone.dropout(False):
            teacher = self.backbone.forward(batch, teacher_prompts, hidden)
        sums["logits"] = logit_divergence(
            student.logits, teacher.logits, student.example_ids, size, self.options.temperature
        )
        if kind == "full":
            for name, ours in student.states.items():
                theirs = teacher.states[name].values
                pair = ours.values[0], theirs[0]
                if hidden == "all":
                    pair = normalised_layers(ours.values), normalised_layers(theirs)
                sums[f"{name} states"] = hidden_state_error(*pair, ours.mask)
        return sums
