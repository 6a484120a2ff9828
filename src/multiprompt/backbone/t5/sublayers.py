"""The sublayers of a frozen T5 as autograd functions, for float32 on a CPU: norms, dropout, feed-forward, linear.

Normalisation, dropout and the residual sum are done in place where autograd would keep copies, and nothing is kept
that only the gradient of a weight needs. A dropout mask is a comparison of random bits, ten times cheaper than torch's
Bernoulli numbers. The attention sublayers are in ``attention.py``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from multiprompt.backbone import products
from multiprompt.backbone.dropout import StackParts

keep = torch.ops.aten.threshold_backward
"""``keep(x, y, t)`` is x where y is above t, or not a number, and 0 elsewhere: one pass over the memory."""


class Bits:
    """Random numbers for one sublayer: 32 random bits for each element, read as a float.

    Args:
        parts: of a joint batch, in this stack; None for a training alone.
        keys: position of the stack that attention looks at, if there is attention in the sublayer.
    """

    def __init__(self, parts: StackParts | None, keys: int = 0) -> None:
        self._parts, self._keys = parts, keys
        if parts is None:
            self._sources = [_source()]
        else:
            self._sources = []
            for part in parts.parts:
                with parts.turn(part):
                    self._sources.append(_source())

    def like(self, tensor: Tensor) -> Tensor:
        """For states of all examples."""
        if self._parts is None:
            return _draw(self._sources[0], tensor.shape)
        bits = torch.zeros_like(tensor)
        for source, region in zip(self._sources, self._parts.regions(bits, self._keys), strict=True):
            region.copy_(_draw(source, region.shape))
        return bits

    def for_example(self, example: int, shape: torch.Size) -> Tensor:
        """For something that a single example has."""
        return _draw(self._sources[0 if self._parts is None else self._parts.part_of(example)], shape)


def _source() -> np.random.SFC64:
    return np.random.SFC64(int(torch.randint(2**62, ())))


def _draw(source: np.random.SFC64, shape: torch.Size) -> Tensor:
    count = shape.numel()
    return torch.from_numpy(source.random_raw((count + 1) // 2).view(np.float32)[:count]).view(shape)


@lru_cache
def threshold(rate: float) -> float:
    """The float that random bits are not above with this probability.

    These are the bit patterns of the negative floats from minus infinity up to the threshold. Patterns that are not
    a number compare false and count as above.
    """
    largest_kept = 0xFF800000 - round(rate * 2**32)
    return float(np.array([largest_kept + 1], dtype=np.uint32).view(np.float32)[0])


class _Dropout(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rate: float, parts: StackParts | None) -> Tensor:
        bits = Bits(parts).like(x)
        ctx.save_for_backward(bits)
        ctx.rate = rate
        return keep(x, bits, threshold(rate)).mul_(1 / (1 - rate))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return keep(grad, *ctx.saved_tensors, threshold(ctx.rate)).mul_(1 / (1 - ctx.rate)), None, None


def normalise(x: Tensor, norm: Any) -> tuple[Tensor, Tensor]:
    """T5's layer norm, and the inverse root mean square of every row."""
    inverse = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1])
    inverse = inverse.add_(norm.variance_epsilon).rsqrt_()
    return (x * inverse).mul_(norm.weight), inverse


def normalise_backward(grad: Tensor, x: Tensor, inverse: Tensor, norm: Any, scale: float) -> Tensor:
    """Gradient for ``x``, times a scale. ``grad`` is overwritten."""
    grad.mul_(norm.weight if scale == 1 else norm.weight * scale)
    along = torch.linalg.vecdot(grad, x).unsqueeze(-1).mul_(inverse**3).div_(-x.shape[-1])
    return grad.mul_(inverse).addcmul_(x, along)


class _Norm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: Any) -> Tensor:
        normed, inverse = normalise(x, norm)
        ctx.save_for_backward(x, inverse)
        ctx.norm = norm
        return normed

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, inverse = ctx.saved_tensors
        return normalise_backward(grad.clone(), x, inverse, ctx.norm, 1.0), None


def drop_and_add(x: Tensor, update: Tensor, rate: float, source: Bits | None) -> tuple[Tensor, Tensor | None]:
    """Residual sum. ``update`` lacks the scale of two dropouts: the one inside the sublayer, and this one."""
    if source is None:
        return update.add_(x), None
    bits = source.like(update)
    keep(update, bits, threshold(rate), grad_input=update)
    return torch.add(x, update, alpha=(1 - rate) ** -2), bits


class _FeedForward(Function):
    """``x + dropout(wo(dropout(relu(wi(norm(x))))))``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Any, rate: float, parts: StackParts | None) -> Tensor:
        dense = layer.DenseReluDense
        source = Bits(parts) if rate else None
        normed, inverse = normalise(x, layer.layer_norm)
        inner = products.apply(dense.wi.weight, normed).relu_()
        if source:
            keep(inner, source.like(inner), threshold(rate), grad_input=inner)
        output, bits = drop_and_add(x, products.apply(dense.wo.weight, inner), rate, source)
        ctx.save_for_backward(x, inverse, inner, bits)
        ctx.layer, ctx.rate = layer, rate
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, inverse, inner, bits = ctx.saved_tensors
        layer, dense = ctx.layer, ctx.layer.DenseReluDense
        update = grad if bits is None else keep(grad, bits, threshold(ctx.rate))
        to_inner = products.apply_transposed(dense.wo.weight, update)
        # What relu or dropout set to zero has no gradient; one comparison serves both.
        keep(to_inner, inner, 0, grad_input=to_inner)
        to_normed = products.apply_transposed(dense.wi.weight, to_inner)
        to_x = normalise_backward(to_normed, x, inverse, layer.layer_norm, (1 - ctx.rate) ** -2)
        return to_x.add_(grad), None, None, None


class _Linear(Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor) -> Tensor:
        ctx.weight = weight
        return products.apply(weight, states)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return products.apply_transposed(ctx.weight, grad), None


def rate_of(dropout: Any) -> float:
    """The rate that a dropout module drops at now."""
    return float(dropout.p) if dropout.training else 0.0


def drop(x: Tensor, rate: float, parts: StackParts | None = None) -> Tensor:
    """Dropout; of several trainings if there are parts."""
    result: Tensor = _Dropout.apply(x, rate, parts) if rate else x
    return result


def norm(module: Any, x: Tensor) -> Tensor:
    """A ``T5LayerNorm``."""
    result: Tensor = _Norm.apply(x, module)
    return result


def linear(weight: Tensor, x: Tensor) -> Tensor:
    """A linear layer without a bias."""
    result: Tensor = _Linear.apply(x, weight)
    return result


def feed_forward(module: Any, x: Tensor, parts: StackParts | None = None) -> Tensor:
    """A ``T5LayerFF``, with relu or, gated, with the gelu of transformers' "gelu_new"."""
    dense, rate = module.DenseReluDense, rate_of(module.dropout)
    if hasattr(dense, "wi"):
        result: Tensor = _FeedForward.apply(x, module, rate, parts)
        return result
    normed = norm(module.layer_norm, x)
    gate = F.gelu(linear(dense.wi_0.weight, normed), approximate="tanh")
    inner = drop(gate * linear(dense.wi_1.weight, normed), rate_of(dense.dropout), parts)
    return x + drop(linear(dense.wo.weight, inner), rate, parts)
