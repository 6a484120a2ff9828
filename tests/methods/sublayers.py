"""What the sublayers of a model read and give while a method is in force, to be compared with the frozen sublayer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from multiprompt.backbone import T5Backbone
from multiprompt.batch import Batch
from multiprompt.methods.inserted import InsertedMethod
from rounding import assert_same

STACKS = ("encoder", "decoder")


@dataclass(frozen=True)
class Passed:
    """One pass through a sublayer (``T5LayerSelfAttention`` or ``T5LayerFF``), the residual sum included."""

    stack: str
    block: int
    layer: nn.Module
    inputs: tuple[Any, ...]
    options: dict[str, Any]
    output: Tensor

    def frozen_update(self) -> Tensor:
        """What the frozen sublayer adds to its input."""
        given = self.layer(*self.inputs, **self.options)
        return (given[0] if isinstance(given, tuple) else given) - self.inputs[0]

    def normed(self) -> Tensor:
        """What the frozen sublayer reads behind its norm."""
        return self.layer.layer_norm(self.inputs[0])


def pass_through(backbone: T5Backbone, method: InsertedMethod, batch: Batch) -> dict[str, list[Passed]]:
    """All passes through "self_attention" and "feed_forward" sublayers while a method answers a batch, in order."""
    seen: dict[str, list[Passed]] = {"self_attention": [], "feed_forward": []}
    handles = []

    def watch(stack: str, number: int, name: str, layer: nn.Module) -> None:
        def hook(module: nn.Module, inputs: Any, options: Any, output: Any) -> None:
            states = output[0] if isinstance(output, tuple) else output
            seen[name].append(Passed(stack, number, module, inputs, options, states))

        handles.append(layer.register_forward_hook(hook, with_kwargs=True))

    with method, torch.no_grad():
        for stack in STACKS:
            for number, block in enumerate(getattr(backbone.model, stack).block):
                watch(stack, number, "self_attention", block.layer[0])
                watch(stack, number, "feed_forward", block.layer[-1])
        method.losses(batch)
        for handle in handles:
            handle.remove()
    return seen


@contextmanager
def frozen(backbone: T5Backbone) -> Iterator[None]:
    """The frozen sublayers as transformers runs them."""
    with backbone.ordinary_passes(), torch.no_grad():
        yield


def check_updates(
    backbone: T5Backbone, passes: list[Passed], expected: Callable[[Passed, Tensor, int], Tensor]
) -> None:
    """Compare what every pass added with ``expected(pass, update of the frozen sublayer, row)``, row by row."""
    assert passes
    with frozen(backbone):
        for one in passes:
            update = one.frozen_update()
            for row in range(len(update)):
                given = one.output[row] - one.inputs[0][row]
                assert_same(given, expected(one, update[row], row), f"{one.stack} {one.block}, row {row}")


def gelu_new(x: Tensor) -> Tensor:
    """Gelu by its hyperbolic tangent, written out."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def randomise(module: nn.Module, spread: float = 0.3, seed: int = 4) -> None:
    """Move every parameter away from a start at which much is zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += spread * torch.randn(parameter.shape, generator=generator)


def padded(batch: Batch, columns: int) -> Batch:
    """The same batch with more padding behind its sources; what stands under it is garbage."""
    ids = nn.functional.pad(batch.input_ids, (0, columns), value=7)
    mask = nn.functional.pad(batch.attention_mask, (0, columns))
    return Batch(ids, mask, batch.labels, batch.task_ids)


def rows_of(batch: Batch) -> list[Batch]:
    """Every example alone."""
    parts = (batch.input_ids, batch.attention_mask, batch.labels, batch.task_ids)
    return [Batch(*(part[row : row + 1] for part in parts)) for row in range(len(batch))]
