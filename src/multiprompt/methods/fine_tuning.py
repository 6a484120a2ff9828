"""Full fine-tuning: every weight of the backbone moves. The comparison that prompts are measured against."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from torch import Tensor

from multiprompt.backbone import FrozenT5
from multiprompt.methods.base import ParameterGroup, TaskMethod, move_to


class FineTuning(TaskMethod):
    """Train the whole model on the task loss.

    A context manager: the backbone is thawed inside the ``with`` block and comes out as it went in, so that other
    runs can go on with it. Train and evaluate inside the block.

    Args:
        backbone: the model.
        learning_rate: the comparison of the paper uses 3e-4.
        dropout: whether the model drops out while training.
        start: first weights, by name; None for those of the backbone.
    """

    def __init__(
        self,
        backbone: FrozenT5,
        learning_rate: float = 3e-4,
        dropout: bool = True,
        start: dict[str, Tensor] | None = None,
    ) -> None:
        super().__init__(backbone, dropout)
        self.learning_rate = learning_rate
        self.start = start
        self._before: dict[str, Tensor] = {}

    def __enter__(self) -> Self:
        self._before = {name: tensor.clone() for name, tensor in self.tensors().items()}
        self.backbone.model.requires_grad_(True)
        if self.start is not None:
            try:
                self.load(self.start)
            except BaseException:
                self.__exit__(None, None, None)
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.load(self._before)
        self.backbone.model.requires_grad_(False)
        self.backbone.model.zero_grad(set_to_none=True)
        self._before = {}

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup("model", list(self.backbone.model.parameters()), self.learning_rate)]

    def tensors(self) -> dict[str, Tensor]:
        return {name: parameter.detach() for name, parameter in self.backbone.model.named_parameters()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        move_to(self.backbone.model, tensors, "the model")
