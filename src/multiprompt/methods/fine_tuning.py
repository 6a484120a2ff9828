"""Full fine-tuning: every weight of the backbone moves. The comparison that prompts are measured against."""

from __future__ import annotations

from types import TracebackType

from torch import Tensor

from multiprompt.backbone import FrozenT5
from multiprompt.batch import Batch
from multiprompt.losses import token_cross_entropy
from multiprompt.methods.base import ParameterGroup, move_to


class FineTuning:
    """Train the whole model on the task loss.

    A context manager: the backbone is thawed inside the ``with`` block and comes out as it went in, so that other
    runs can go on with it. Train and evaluate inside the block.

    Args:
        backbone: the model.
        learning_rate: the comparison of the paper uses 3e-4.
        dropout: whether the model drops out while training.
    """

    def __init__(self, backbone: FrozenT5, learning_rate: float = 3e-4, dropout: bool = True) -> None:
        self.backbone = backbone
        self.learning_rate = learning_rate
        self.dropout = dropout
        self._before: dict[str, Tensor] = {}

    def __enter__(self) -> FineTuning:
        self._before = {name: tensor.clone() for name, tensor in self.tensors().items()}
        self.backbone.model.requires_grad_(True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.load(self._before)
        self.backbone.model.requires_grad_(False)
        self.backbone.model.zero_grad(set_to_none=True)
        self._before = {}

    @property
    def weights(self) -> dict[str, float]:
        return {"task": 1.0}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"task": batch.target_lengths}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        with self.backbone.dropout(self.dropout):
            output = self.backbone.forward(batch, None)
        return {"task": token_cross_entropy(output.logits, output.labels, output.example_ids, len(batch))}

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup("model", list(self.backbone.model.parameters()), self.learning_rate)]

    def tensors(self) -> dict[str, Tensor]:
        return {name: parameter.detach() for name, parameter in self.backbone.model.named_parameters()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        move_to(self.backbone.model, tensors, "the model")

    def prompts(self, task_ids: Tensor) -> Tensor | None:
        return None
