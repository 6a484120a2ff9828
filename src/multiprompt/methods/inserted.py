"""Trained layers inside a frozen T5: where they go, how they get in, and how they come out again.

transformers' code stays as it is. A layer is a forward hook on one of the model's modules, and a norm that is trained
takes the place of the frozen one; at the end of the ``with`` block the hooks are gone and the frozen norms are back.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self

import torch
from jaxtyping import Int
from torch import Tensor, nn

from multiprompt.backbone import Backbone
from multiprompt.batch import Batch, Tasks
from multiprompt.methods.base import ParameterGroup, TaskMethod, move_to
from multiprompt.terms import Term

Sublayer = Literal["self_attention", "feed_forward"]
Stack = Literal["encoder", "decoder"]


@dataclass(frozen=True)
class Site:
    """A module of a block whose output, before the residual sum, goes through an inserted layer.

    Attributes:
        stack: "encoder" or "decoder".
        block: position of the block in its stack.
        place: which sublayer of the block.
        module: whose output it is.
    """

    stack: Stack
    block: int
    place: Sublayer
    module: nn.Module


def sites(model: Any, *places: Sublayer) -> list[Site]:
    """The sites of all blocks, encoder first: after self-attention and after the feed-forward layer, as asked for."""
    stacks: tuple[Stack, ...] = ("encoder", "decoder")
    found = []
    for name in stacks:
        for number, block in enumerate(getattr(model, name).block):
            modules = {"self_attention": block.layer[0].SelfAttention, "feed_forward": block.layer[-1].DenseReluDense}
            found += [Site(name, number, place, modules[place]) for place in places]
    return found


def layer_norms(model: Any) -> list[Any]:
    """Every layer norm of the model, by name: where apex is installed transformers takes its class."""
    return [module for name, module in model.named_modules() if name.endswith("layer_norm")]


class Inserted(nn.Module):
    """The trained layers of a method, and the batch that they look at.

    Attributes:
        batch: what is on its way through the model; None for examples of the first task.
    """

    def __init__(self) -> None:
        super().__init__()
        self.batch: Batch | None = None

    @abstractmethod
    def attach(self, model: Any, stack: ExitStack) -> None:
        """Put the layers into the model; whatever undoes that is left to ``stack``."""

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
        move_to(self, starts, "the inserted layers")


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

    def __init__(self, backbone: Backbone, inserted: Inserted, learning_rate: float, dropout: bool) -> None:
        super().__init__(backbone, dropout)
        self.inserted = inserted.to(backbone.device)
        self.learning_rate = learning_rate
        self._inside = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.backbone.ordinary_passes())
            self.inserted.attach(self.backbone.model, stack)
            self._inside = stack.pop_all()  # only now: what fails half way is undone
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inside.close()

    def losses(self, batch: Batch) -> tuple[Term, ...]:
        self.inserted.batch = batch
        return super().losses(batch)

    def generate(self, batch: Batch, max_new_tokens: int, beams: int = 1) -> Int[Tensor, "B T"]:
        self.inserted.batch = batch
        return super().generate(batch, max_new_tokens, beams)

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup("inserted layers", list(self.inserted.parameters()), self.learning_rate)]

    def tensors(self) -> dict[str, Tensor]:
        return {name: parameter.detach() for name, parameter in self.inserted.named_parameters()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        move_to(self.inserted, tensors, "the inserted layers")


def own_norms(model: Any) -> nn.ParameterList:
    """A trained copy of the weight of every layer norm, in the order of ``layer_norms``."""
    return nn.ParameterList(norm.weight.detach().float().clone() for norm in layer_norms(model))


def attach_norms(norms: nn.ParameterList, model: Any, stack: ExitStack) -> None:
    """Let the trained copies take the place of the frozen weights; the states keep their precision."""
    for norm, weight in zip(layer_norms(model), norms, strict=True):
        change_output(stack, norm, partial(_in_precision, norm.weight.dtype))
        replace_weight(stack, norm, weight)


def _in_precision(precision: torch.dtype, states: Tensor) -> Tensor:
    return states.to(precision)
