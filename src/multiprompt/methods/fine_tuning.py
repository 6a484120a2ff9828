"""Full fine-tuning: every weight of the backbone moves. The comparison that prompts are measured against."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from types import TracebackType
from typing import Self

import torch
from jaxtyping import Float, Int
from torch import Tensor

from multiprompt.backbone.base import Backbone
from multiprompt.batch import Batch
from multiprompt.methods.base import ParameterGroup, TaskMethod, copy_into
from multiprompt.terms import Term


class FineTuning(TaskMethod):
    """Train the whole model on the task loss.

    A context manager: inside the ``with`` block the weights are float32 copies that are trained, and the backbone comes
    out with its own weights, so that other runs can go on with it. Train and evaluate inside the block.

    A backbone in bfloat16 computes its products in bfloat16 inside the block too (``torch.autocast``), from the float32
    weights. Weights and optimiser states in bfloat16 would not learn: bfloat16 has eight binary digits, and an update
    below 1/512 of a weight is rounded away.

    Args:
        backbone: the model.
        learning_rate: the comparison of the paper uses 3e-4.
        dropout: whether the model drops out while training.
        start: first weights, by name; None for those of the backbone.
    """

    def __init__(
        self,
        backbone: Backbone,
        learning_rate: float = 3e-4,
        dropout: bool = True,
        start: dict[str, Tensor] | None = None,
    ) -> None:
        super().__init__(backbone, dropout)
        self.learning_rate = learning_rate
        self.start = start
        self._products = torch.float32
        self._inside = ExitStack()

    def __enter__(self) -> Self:
        self._products = self.backbone.embedding.dtype
        with ExitStack() as stack:
            stack.enter_context(self.backbone.unfrozen())
            if self.start is not None:
                self.load(self.start)
            self._inside = stack.pop_all()  # only now: what fails half way is undone
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inside.close()

    def losses(self, batch: Batch) -> tuple[Term, ...]:
        with self._autocast():
            return super().losses(batch)

    def generate(self, batch: Batch, max_new_tokens: int, beams: int = 1) -> Int[Tensor, "B T"]:
        with self._autocast():
            return super().generate(batch, max_new_tokens, beams)

    def rank(self, batch: Batch, answers: Sequence[Sequence[int]]) -> Float[Tensor, "B C"]:
        with self._autocast():
            return super().rank(batch, answers)

    def _autocast(self) -> AbstractContextManager[object]:
        """Products in the precision of the backbone."""
        if self._products == torch.float32:
            return nullcontext()
        return torch.autocast(self.backbone.device.type, self._products)

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup("model", list(self.backbone.weights().values()), self.learning_rate)]

    def tensors(self) -> dict[str, Tensor]:
        return {name: parameter.detach() for name, parameter in self.backbone.weights().items()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        copy_into(self.backbone.weights(), tensors, "the model")
