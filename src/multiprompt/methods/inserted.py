"""Trained layers inside a frozen model: how they get in, and how they come out again.

transformers' code stays as it is. A layer is a forward hook on one of the model's modules, and a norm that is trained
takes the place of the frozen one; at the end of the ``with`` block the hooks are gone and the frozen norms are back.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from multiprompt.backbone.base import Backbone
from multiprompt.batch import Batch, Tasks
from multiprompt.methods.base import ParameterGroup, TaskMethod, copy_into


class Inserted(nn.Module):
    """The trained layers of a method, and the batch that they look at.

    Attributes:
        batch: what is on its way through the model; None for examples of the first task.
    """

    def __init__(self) -> None:
        super().__init__()
        self.batch: Batch | None = None

    @abstractmethod
    def attach(self, backbone: Backbone, stack: ExitStack) -> None:
        """Put the layers into the backbone; whatever undoes that is left to ``stack``."""

    def tasks_for(self, states: Tensor) -> Tasks:
        """The tasks of the rows of ``states``: beam search has several rows for each example."""
        if self.batch is None:
            return Tasks([0], torch.zeros(len(states), dtype=torch.long, device=states.device))
        return self.batch.tasks.repeated(len(states) // len(self.batch))

    def task_of(self, name: str) -> int | None:
        """The task that alone trains the parameter of this name, which ends in its number; None if tasks share it."""
        return None

    def start_from(self, tensors: Mapping[str, Tensor], nearest: Sequence[int]) -> None:
        """Take over what these layers have learned on other tasks.

        Args:
            tensors: by name, of a training on the other tasks.
            nearest: for every task the position of the other task whose own parameters it starts from.

        Raises:
            CheckpointError: a name is missing, or a shape differs.
        """
        starts = {}
        for name, _ in self.named_parameters():
            task = self.task_of(name)
            elsewhere = name if task is None else f"{name.rpartition('.')[0]}.{nearest[task]}"
            if elsewhere in tensors:
                starts[name] = tensors[elsewhere]
        copy_into(dict(self.named_parameters()), starts, "the inserted layers")


def change_output(stack: ExitStack, module: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
    """Put ``change`` behind a module, on its first output, until the stack is closed."""

    def hook(_: nn.Module, __: Any, output: Any) -> Any:
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    stack.callback(module.register_forward_hook(hook).remove)


def add_beside(stack: ExitStack, module: nn.Module, layer: Callable[[Tensor], Tensor]) -> None:
    """Put ``layer`` beside a module, until the stack is closed: both read its input, and their outputs are added."""

    def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + layer(inputs[0])

    stack.callback(module.register_forward_hook(hook).remove)


def replace_weight(stack: ExitStack, module: nn.Module, weight: nn.Parameter) -> None:
    """Give a module another weight until the stack is closed."""
    frozen = module._parameters["weight"]
    module._parameters["weight"] = weight
    stack.callback(module._parameters.__setitem__, "weight", frozen)


class InsertedMethod(TaskMethod):
    """A method whose trained numbers are layers inside the backbone.

    Args:
        backbone: the frozen model. Inside the ``with`` block it takes transformers' own passes, which know the layers.
        inserted: the layers.
        learning_rate: of all of them.
        dropout: whether the model drops out while training.
    """

    title = "the inserted layers"

    def __init__(self, backbone: Backbone, inserted: Inserted, learning_rate: float, dropout: bool) -> None:
        super().__init__(backbone, dropout)
        self.inserted = inserted.to(backbone.device)
        self.learning_rate = learning_rate

    def change(self, stack: ExitStack) -> None:
        stack.enter_context(self.backbone.ordinary_passes())
        self.inserted.attach(self.backbone, stack)

    def looking_at(self, batch: Batch) -> AbstractContextManager[object]:
        self.inserted.batch = batch
        return nullcontext()

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup("inserted layers", list(self.inserted.parameters()), self.learning_rate)]

    def trained(self) -> Mapping[str, nn.Parameter]:
        return dict(self.inserted.named_parameters())


def own_norms(backbone: Backbone) -> nn.ParameterList:
    """A trained copy of the weight of every layer norm, in the order of ``Backbone.norms``."""
    return nn.ParameterList(_weight(norm).detach().float().clone() for norm in backbone.norms())


def attach_norms(norms: nn.ParameterList, backbone: Backbone, stack: ExitStack) -> None:
    """Let the trained copies take the place of the frozen weights; the states keep their precision."""
    for norm, weight in zip(backbone.norms(), norms, strict=True):
        change_output(stack, norm, partial(_in_precision, _weight(norm).dtype))
        replace_weight(stack, norm, weight)


def _weight(norm: nn.Module) -> Tensor:
    weight = norm.weight
    assert isinstance(weight, Tensor), "a layer norm has one"
    return weight


def _in_precision(precision: torch.dtype, states: Tensor) -> Tensor:
    return states.to(precision)
