"""Full fine-tuning: every weight of the backbone moves. The comparison that prompts are measured against."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext

import torch
from torch import Tensor, nn

from multiprompt.backbone.base import Backbone
from multiprompt.batch import Batch
from multiprompt.methods.base import ParameterGroup, TaskMethod


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

    title = "the model"

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

    def change(self, stack: ExitStack) -> None:
        self._products = self.backbone.embedding.dtype
        stack.enter_context(self.backbone.unfrozen())
        if self.start is not None:
            self.load(self.start)

    def looking_at(self, batch: Batch) -> AbstractContextManager[object]:
        """Products are in the precision of the backbone."""
        if self._products == torch.float32:
            return nullcontext()
        return torch.autocast(self.backbone.device.type, self._products)

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup("model", list(self.backbone.weights().values()), self.learning_rate)]

    def trained(self) -> Mapping[str, nn.Parameter]:
        return self.backbone.weights()
