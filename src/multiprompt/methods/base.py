"""What the training loop, the checkpoint and the evaluation ask of a method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from multiprompt.backbone import FrozenT5
from multiprompt.batch import Batch
from multiprompt.errors import CheckpointError


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share a learning rate.

    Attributes:
        name: for the log.
        parameters: tensors that the optimiser moves.
        learning_rate: at the top of the schedule.
    """

    name: str
    parameters: list[nn.Parameter]
    learning_rate: float


class Method(Protocol):
    """A way to adapt the backbone.

    A loss is the weighted sum of named terms. A term is given as one sum per example (``losses``) with one count per
    example (``counts``, known from the batch before any forward pass), so that the loop can cut a batch into
    micro-batches and still divide by the counts of the whole batch.
    """

    backbone: FrozenT5

    @property
    def weights(self) -> dict[str, float]:
        """Weight of every term of the loss, in the order of the log."""
        ...

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """For every term the number of items of each example, ``[B]``."""
        ...

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """For every term the sum over the items of each example, ``[B]``; with gradients."""
        ...

    def parameter_groups(self) -> list[ParameterGroup]:
        """What is trained."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """The trained tensors by name: what a checkpoint holds."""
        ...

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Put back tensors that ``tensors()`` gave.

        Raises:
            CheckpointError: a name or a shape does not fit.
        """
        ...

    def prompts(self, task_ids: Tensor) -> Tensor | None:
        """The prompt of every example for generation, ``[B, P, D]``; None for a method without one."""
        ...


def move_to(module: nn.Module, tensors: dict[str, Tensor], what: str) -> None:
    """Copy ``tensors`` into the parameters of ``module``, by name.

    Raises:
        CheckpointError: a name is missing or unknown, or a shape differs.
    """
    parameters = dict(module.named_parameters())
    if parameters.keys() != tensors.keys():
        missing = sorted(parameters.keys() - tensors.keys())
        unknown = sorted(tensors.keys() - parameters.keys())
        raise CheckpointError(
            f"the stored tensors do not fit {what}: missing {missing or 'none'}, unknown {unknown or 'none'}"
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            if parameter.shape != tensors[name].shape:
                raise CheckpointError(
                    f"the stored tensor {name!r} of {what} has shape {tuple(tensors[name].shape)}; expected "
                    f"{tuple(parameter.shape)}"
                )
            parameter.copy_(tensors[name])
