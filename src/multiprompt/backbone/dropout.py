"""Dropout of several trainings in one batch: each draws the masks that it would draw alone.

Trainings that share a pass must not share random numbers, or one would come out differently in other company. So every
dropout is done part by part: the part's own state of the random numbers is put in force, and the mask is drawn in the
shape that the part has without the others' padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


@contextmanager
def random_state(device: torch.device, state: Tensor) -> Iterator[None]:
    """Inside, random numbers go on from ``state``, which is moved on in place; outside nothing has happened."""
    cuda = device.type == "cuda"
    outside = torch.cuda.get_rng_state(device) if cuda else torch.get_rng_state()
    _put_random_state(device, state)
    try:
        yield
    finally:
        state.copy_(torch.cuda.get_rng_state(device) if cuda else torch.get_rng_state())
        _put_random_state(device, outside)


def _put_random_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


def start_from_seed(device: torch.device, seed: int) -> None:
    """``torch.manual_seed``, for the random numbers of one device."""
    if device.type == "cpu":
        # torch.manual_seed writes down the stack for every kind of device that is not there, for 0.5 ms.
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def state_of_seed(device: torch.device, seed: int) -> Tensor:
    """The state of the random numbers after ``torch.manual_seed(seed)``."""
    if device.type == "cuda":
        return torch.Generator(device).manual_seed(seed).get_state()
    return torch.Generator().manual_seed(seed).get_state()


@dataclass(frozen=True)
class Part:
    """The examples of one training in a joint batch.

    Attributes:
        examples: their rows.
        widths: positions that they would be padded to alone, in every stack of the model.
        tokens: positions in every stack, of all of them together, without padding.
        state: of the training's random numbers; moved on as they are drawn.
    """

    examples: slice
    widths: Sequence[int]
    tokens: Sequence[int]
    state: Tensor


@dataclass(frozen=True)
class StackParts:
    """The parts of a joint batch, as they lie in the tensors of one stack.

    Attributes:
        parts: in the order of the batch.
        stack: position of the stack among those of the model.
        device: of the model.
    """

    parts: Sequence[Part]
    stack: int
    device: torch.device

    def turn(self, part: Part) -> AbstractContextManager[None]:
        """Inside, random numbers are those of the part."""
        return random_state(self.device, part.state)

    def part_of(self, example: int) -> int:
        """Position of the part that an example belongs to."""
        return next(index for index, part in enumerate(self.parts) if example < part.examples.stop)

    def regions(self, tensor: Tensor, keys: int) -> list[Tensor]:
        """The views of every part's own positions in ``[B, N, D]``, ``[B, H, N, M]``, or packed ``[1, total, D]``.

        Args:
            tensor: of this stack.
            keys: the stack that ``M`` positions belong to.
        """
        if tensor.shape[0] == 1:
            return list(tensor.split([part.tokens[self.stack] for part in self.parts], 1))
        if tensor.dim() == 3:
            return [tensor[part.examples, : part.widths[self.stack]] for part in self.parts]
        return [tensor[part.examples, :, : part.widths[self.stack], : part.widths[keys]] for part in self.parts]


class PartedDropout(TorchFunctionMode):
    """Inside the ``with`` block every part draws from its own random numbers, in code that is not ours.

    Whoever runs the model says which stack runs, and which one its attention looks at.

    Args:
        parts: of the first stack.

    Attributes:
        parts: of the stack that runs.
        keys: position of the stack that attention looks at.
    """

    def __init__(self, parts: StackParts) -> None:
        super().__init__()
        self.parts = parts
        self.keys = parts.stack

    def __torch_function__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), options: dict[str, Any] | None = None
    ) -> Any:
        options = options or {}
        if function is F.dropout:
            return self._dropout(*arguments, **options)
        if function is F.scaled_dot_product_attention and options.get("dropout_p"):
            return self._attention(*arguments, **options)
        return function(*arguments, **options)

    def _dropout(self, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or p == 0:
            return x
        mask = torch.zeros_like(x, requires_grad=False)
        for part, region in zip(self.parts.parts, self.parts.regions(mask, self.keys), strict=True):
            with self.parts.turn(part):
                region.copy_(torch.dropout(torch.ones_like(region), p, True))
        return x * mask

    def _attention(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **options: Any
    ) -> Tensor:
        mixed = []
        for part in self.parts.parts:
            queries, keys, rows = part.widths[self.parts.stack], part.widths[self.keys], part.examples
            mask = attn_mask
            if mask is not None:
                mask = (mask if mask.shape[0] == 1 else mask[rows])[..., :queries, :keys]
            inputs = query[rows, :, :queries], key[rows, :, :keys], value[rows, :, :keys], mask
            with self.parts.turn(part):
                mixed.append(F.scaled_dot_product_attention(*inputs, **options))
        return torch.cat([F.pad(each, (0, 0, 0, query.shape[2] - each.shape[2])) for each in mixed])
