"""The attention sublayers of a frozen T5 as one autograd function, for float32 on a CPU.

The function does what every attention sublayer has around it: norm, dropout, residual sum. A ``Core`` does what is
between: ``Packed`` goes through the real tokens of a batch example by example, ``Padded`` through all of them at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from multiprompt.backbone import products
from multiprompt.backbone.dropout import StackParts
from multiprompt.backbone.t5.sublayers import (
    Bits,
    drop_and_add,
    keep,
    normalise,
    normalise_backward,
    rate_of,
    threshold,
)


class Core(ABC):
    """``dropout(softmax(query key + bias)) value`` without the scale of the dropout, for all heads side by side."""

    @abstractmethod
    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, heads: int, source: Bits | None, rate: float
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The mixed values, shaped like the query, and the tensors that ``backward`` needs.

        Args:
            query: ``[..., heads * width]``.
            key: of the same width.
            value: shaped like the key.
            heads: number of heads.
            source: of the dropout; None without.
            rate: of the dropout.
        """

    @abstractmethod
    def backward(self, grad: Tensor, kept: Sequence[Tensor], heads: int, rate: float) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients for query, key and value, from that of the mixed values and what ``forward`` has kept."""


class _Attention(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        states: Tensor | None,
        layer: Any,
        attention: Any,
        core: Core,
        parts: StackParts | None,
        keys: int,
    ) -> Tensor:
        rate = rate_of(layer.dropout)
        source = Bits(parts, keys) if rate else None
        normed, inverse = normalise(x, layer.layer_norm)
        query = products.apply(attention.q.weight, normed)
        attended = normed if states is None else states
        key, value = (products.apply(linear.weight, attended) for linear in (attention.k, attention.v))
        mixed, kept = core.forward(query, key, value, attention.n_heads, source, rate)
        output, bits = drop_and_add(x, products.apply(attention.o.weight, mixed), rate, source)
        ctx.save_for_backward(x, inverse, bits, *kept)
        ctx.layer, ctx.attention, ctx.core, ctx.rate, ctx.cross = layer, attention, core, rate, states is not None
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, inverse, bits, *kept = ctx.saved_tensors
        attention, scale = ctx.attention, (1 - ctx.rate) ** -2
        update = grad if bits is None else keep(grad, bits, threshold(ctx.rate))
        mixed = products.apply_transposed(attention.o.weight, update)
        to_query, to_key, to_value = ctx.core.backward(mixed, kept, attention.n_heads, ctx.rate)
        normed = products.apply_transposed(attention.q.weight, to_query)
        states = products.apply_transposed(attention.k.weight, to_key, onto=None if ctx.cross else normed)
        states = products.apply_transposed(attention.v.weight, to_value, onto=states)
        to_x = normalise_backward(normed, x, inverse, ctx.layer.layer_norm, scale).add_(grad)
        if not ctx.cross:
            return to_x, None, None, None, None, None, None
        return to_x, states if scale == 1 else states.mul_(scale), None, None, None, None, None


def attend(
    layer: Any,
    attention: Any,
    x: Tensor,
    states: Tensor | None,
    core: Core,
    parts: StackParts | None = None,
    keys: int = 0,
) -> Tensor:
    """``x + dropout(o(attention(q(norm(x)), k(states), v(states))))``.

    Args:
        layer: a ``T5LayerSelfAttention`` or ``T5LayerCrossAttention``.
        attention: its ``T5Attention``.
        x: states of the stack.
        states: what to attend to; None for ``norm(x)``.
        core: how.
        parts: of a joint batch that drops out.
        keys: position of the stack that is attended to.
    """
    result: Tensor = _Attention.apply(x, states, layer, attention, core, parts, keys)
    return result


def position_bias(attention: Any, length: int) -> Tensor:
    """The bias of self-attention over ``length`` positions, ``[H, length, length]``; in a decoder, causal."""
    # It depends on the distance alone: one row of 2 length - 1 distances holds all of it.
    row: Tensor = attention.compute_bias(1, 2 * length - 1, past_seen_tokens=length - 1)[0, :, 0].detach()
    bias = row.unfold(1, length, 1).flip(1)
    return bias.add_(torch.full((length, length), -torch.inf).triu_(1)) if attention.is_decoder else bias


def _spans(lengths: Sequence[int]) -> list[slice]:
    return [slice(start, end) for start, end in pairwise(accumulate(lengths, initial=0))]


class Packed(Core):
    """Attention example by example, over the real tokens of all examples in one row, ``[1, total, D]``.

    Args:
        bias: ``[H, N, M]`` of the longest queries and keys; None for none.
        queries: number of tokens of every example.
        keys: the same of what it attends to.
    """

    def __init__(self, bias: Tensor | None, queries: Sequence[int], keys: Sequence[int]) -> None:
        self.bias = bias
        self.spans = list(zip(_spans(queries), _spans(keys), strict=True))

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, heads: int, source: Bits | None, rate: float
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        mixed, bias = torch.empty_like(query), self.bias
        kept: list[Tensor] = []
        for example, (of_query, of_key) in enumerate(self.spans):
            q, k, v = _heads(query, of_query, heads), _heads(key, of_key, heads), _heads(value, of_key, heads)
            if bias is None:
                scores = torch.bmm(q, k.transpose(1, 2))
            else:
                scores = torch.baddbmm(bias[:, : q.shape[1], : k.shape[1]], q, k.transpose(1, 2))
            weights = dropped = torch.softmax(scores, -1, out=scores)
            if source:
                dropped = keep(weights, source.for_example(example, weights.shape), threshold(rate))
            torch.bmm(dropped, v, out=_heads(mixed, of_query, heads))
            kept += [weights, dropped]
        return mixed, (query, key, value, *kept)

    def backward(self, grad: Tensor, kept: Sequence[Tensor], heads: int, rate: float) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value, *of_examples = kept
        to_query, to_key, to_value = (torch.empty_like(t) for t in (query, key, value))
        for (of_query, of_key), weights, dropped in zip(self.spans, of_examples[::2], of_examples[1::2], strict=True):
            q, k, v = _heads(query, of_query, heads), _heads(key, of_key, heads), _heads(value, of_key, heads)
            g = _heads(grad, of_query, heads)
            torch.bmm(dropped.transpose(1, 2), g, out=_heads(to_value, of_key, heads))
            scores = _to_scores(torch.bmm(g, v.transpose(1, 2)), weights, dropped, rate)
            torch.bmm(scores, k, out=_heads(to_query, of_query, heads))
            torch.bmm(scores.transpose(1, 2), q, out=_heads(to_key, of_key, heads))
        return to_query, to_key, to_value


class Padded(Core):
    """Attention over padded examples, ``[B, N, D]``, all at once.

    Args:
        bias: added to the scores, padding masked: ``[B * H, N, M]`` or ``[B * H, 1, M]``; None for nothing.
    """

    def __init__(self, bias: Tensor | None) -> None:
        self.bias = bias

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, heads: int, source: Bits | None, rate: float
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        q, k, v = (_split(t, heads) for t in (query, key, value))
        if self.bias is None:
            scores = torch.bmm(q, k.transpose(1, 2))
        else:
            scores = torch.baddbmm(self.bias, q, k.transpose(1, 2))
        weights = dropped = torch.softmax(scores, -1, out=scores)
        if source:
            bits = source.like(weights.view(len(query), heads, *weights.shape[1:])).view_as(weights)
            dropped = keep(weights, bits, threshold(rate))
        return _merge(torch.bmm(dropped, v), heads), (q, k, v, weights, dropped)

    def backward(self, grad: Tensor, kept: Sequence[Tensor], heads: int, rate: float) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, weights, dropped = kept
        g = _split(grad, heads)
        to_value = torch.bmm(dropped.transpose(1, 2), g)
        scores = _to_scores(torch.bmm(g, v.transpose(1, 2)), weights, dropped, rate)
        to_query, to_key = torch.bmm(scores, k), torch.bmm(scores.transpose(1, 2), q)
        return _merge(to_query, heads), _merge(to_key, heads), _merge(to_value, heads)


def _to_scores(grad: Tensor, weights: Tensor, dropped: Tensor, rate: float) -> Tensor:
    """Gradient for scores from that for their weights after dropout, which is overwritten."""
    if rate:
        keep(grad, dropped, 0, grad_input=grad)
    return torch._softmax_backward_data(grad, weights, -1, torch.float32, grad_input=grad)


def _heads(rows: Tensor, span: slice, heads: int) -> Tensor:
    """(1, total, heads * width) -> (heads, length, width) of one example, without a copy."""
    return rows[0, span].unflatten(1, (heads, -1)).transpose(0, 1)


def _split(states: Tensor, heads: int) -> Tensor:
    """(B, N, heads * width) -> (B * heads, N, width)"""
    return states.unflatten(2, (heads, -1)).transpose(1, 2).flatten(0, 1)


def _merge(states: Tensor, heads: int) -> Tensor:
    """(B * heads, N, width) -> (B, N, heads * width)"""
    return states.unflatten(0, (-1, heads)).transpose(1, 2).flatten(2)
