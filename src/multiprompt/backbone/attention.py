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
from multiprompt.backbone.sublayers import Bits, drop_and_add, keep, normalise, normalise_backward, rate_of, threshold


class Core(ABC):
    """``o(dropout(softmax(q(normed) k(states) + bias)) v(states))`` without the scale of the dropout."""

    @abstractmethod
    def forward(
        self, attention: Any, normed: Tensor, states: Tensor, source: Bits | None, rate: float
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The output, and the tensors that ``backward`` needs.

        Args:
            attention: a ``T5Attention``.
            normed: what queries are made of.
            states: what keys and values are made of; in self-attention ``normed``.
            source: of the dropout; None without.
            rate: of the dropout.
        """

    @abstractmethod
    def backward(
        self, attention: Any, kept: Sequence[Tensor], grad: Tensor, cross: bool, rate: float
    ) -> tuple[Tensor, Tensor | None]:
        """Gradients for ``normed`` and ``states``; their sum, and None, in self-attention.

        Args:
            attention: as before.
            kept: what ``forward`` gave.
            grad: of the output.
            cross: whether this is no self-attention.
            rate: as before.
        """


class _Attention(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, states: Tensor | None, layer: Any, attention: Any, core: Core) -> Tensor:
        rate = rate_of(layer.dropout)
        source = Bits() if rate else None
        normed, inverse = normalise(x, layer.layer_norm)
        update, kept = core.forward(attention, normed, normed if states is None else states, source, rate)
        output, bits = drop_and_add(x, update, rate, source)
        ctx.save_for_backward(x, inverse, bits, *kept)
        ctx.layer, ctx.attention, ctx.core, ctx.rate, ctx.cross = layer, attention, core, rate, states is not None
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, inverse, bits, *kept = ctx.saved_tensors
        update = grad if bits is None else keep(grad, bits, threshold(ctx.rate))
        normed, states = ctx.core.backward(ctx.attention, kept, update, ctx.cross, ctx.rate)
        scale = (1 - ctx.rate) ** -2
        if states is not None and scale != 1:
            states.mul_(scale)
        return normalise_backward(normed, x, inverse, ctx.layer.layer_norm, scale).add_(grad), states, None, None, None


def attend(layer: Any, attention: Any, x: Tensor, states: Tensor | None, core: Core) -> Tensor:
    """``x + dropout(o(attention(q(norm(x)), k(states), v(states))))``.

    Args:
        layer: a ``T5LayerSelfAttention`` or ``T5LayerCrossAttention``.
        attention: its ``T5Attention``.
        x: states of the stack.
        states: what to attend to; None for ``norm(x)``.
        core: how.
    """
    result: Tensor = _Attention.apply(x, states, layer, attention, core)
    return result


def position_bias(attention: Any, length: int) -> Tensor:
    """The bias of self-attention over ``length`` positions, ``[H, length, length]``; no position sees a later one in a
    decoder."""
    # It depends on the distance alone: one row of 2 length - 1 distances holds all of it.
    row: Tensor = attention.compute_bias(1, 2 * length - 1, past_seen_tokens=length - 1)[0, :, 0].detach()
    bias = row.unfold(1, length, 1).flip(1)
    return bias.add_(torch.full((length, length), -torch.inf).triu_(1)) if attention.is_decoder else bias


def _spans(lengths: Sequence[int]) -> list[slice]:
    return [slice(start, end) for start, end in pairwise(accumulate(lengths, initial=0))]


def _heads(rows: Tensor, heads: int) -> Tensor:
    """(length, heads * width) -> (heads, length, width), without a copy."""
    return rows.view(len(rows), heads, -1).transpose(0, 1)


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
        self, attention: Any, normed: Tensor, states: Tensor, source: Bits | None, rate: float
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        heads, bias = attention.n_heads, self.bias
        query = products.apply(attention.q.weight, normed[0])
        key, value = (products.apply(linear.weight, states[0]) for linear in (attention.k, attention.v))
        mixed = torch.empty_like(query)
        kept: list[Tensor] = []
        for example, (of_query, of_key) in enumerate(self.spans):
            q, k, v = (_heads(t, heads) for t in (query[of_query], key[of_key], value[of_key]))
            if bias is None:
                scores = torch.bmm(q, k.transpose(1, 2))
            else:
                scores = torch.baddbmm(bias[:, : q.shape[1], : k.shape[1]], q, k.transpose(1, 2))
            weights = torch.softmax(scores, -1, out=scores)
            dropped = weights
            if source:
                dropped = keep(weights, source.for_example(example, weights.shape), threshold(rate))
            torch.bmm(dropped, v, out=_heads(mixed[of_query], heads))
            kept += [weights, dropped]
        return products.apply(attention.o.weight, mixed).unsqueeze(0), (query, key, value, *kept)

    def backward(
        self, attention: Any, kept: Sequence[Tensor], grad: Tensor, cross: bool, rate: float
    ) -> tuple[Tensor, Tensor | None]:
        query, key, value, *of_examples = kept
        heads = attention.n_heads
        mixed = products.apply_transposed(attention.o.weight, grad[0])
        to_query, to_key, to_value = (torch.empty_like(t) for t in (query, key, value))
        for (of_query, of_key), weights, dropped in zip(self.spans, of_examples[::2], of_examples[1::2], strict=True):
            q, k, v = (_heads(t, heads) for t in (query[of_query], key[of_key], value[of_key]))
            g = _heads(mixed[of_query], heads)
            torch.bmm(dropped.transpose(1, 2), g, out=_heads(to_value[of_key], heads))
            scores = torch.bmm(g, v.transpose(1, 2))
            if rate:
                keep(scores, dropped, 0, grad_input=scores)
            scores = torch._softmax_backward_data(scores, weights, -1, torch.float32)
            torch.bmm(scores, k, out=_heads(to_query[of_query], heads))
            torch.bmm(scores.transpose(1, 2), q, out=_heads(to_key[of_key], heads))
        normed = products.apply_transposed(attention.q.weight, to_query).unsqueeze(0)
        states = products.apply_transposed(attention.k.weight, to_key)
        states = states.add_(products.apply_transposed(attention.v.weight, to_value)).unsqueeze(0)
        return (normed, states) if cross else (normed.add_(states), None)


class Padded(Core):
    """Attention over padded examples, ``[B, N, D]``, all at once.

    Queries, keys and values are made as ``[B, H * W, N]``: so the heads of all examples are one batch of matrices as
    they are, where ``[B, N, H * W]`` would have to be copied before and after every product.

    Args:
        bias: added to the scores, padding masked: ``[B * H, N, M]`` or ``[B * H, 1, M]``; None for nothing.
    """

    def __init__(self, bias: Tensor | None) -> None:
        self.bias = bias

    def forward(
        self, attention: Any, normed: Tensor, states: Tensor, source: Bits | None, rate: float
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        count, width = len(normed), attention.key_value_proj_dim
        key_columns, columns = states.transpose(1, 2), normed.transpose(1, 2)
        query = _by_head(_product(attention.q.weight, columns), width)
        key, value = (_by_head(_product(each.weight, key_columns), width) for each in (attention.k, attention.v))
        if self.bias is None:
            scores = torch.bmm(query.transpose(1, 2), key)
        else:
            scores = torch.baddbmm(self.bias, query.transpose(1, 2), key)
        weights = dropped = torch.softmax(scores, -1, out=scores)
        if source:
            bits = source.like(weights.view(count, -1, *weights.shape[1:])).view_as(weights)
            dropped = keep(weights, bits, threshold(rate))
        mixed = torch.bmm(value, dropped.transpose(1, 2)).view(count, -1, normed.shape[1])
        update = _rows(mixed, attention.o.weight.t())
        return update, (query, key, value, weights, dropped)

    def backward(
        self, attention: Any, kept: Sequence[Tensor], grad: Tensor, cross: bool, rate: float
    ) -> tuple[Tensor, Tensor | None]:
        query, key, value, weights, dropped = kept
        count = len(grad)
        mixed = _by_head(_product(attention.o.weight.t(), grad.transpose(1, 2)), attention.key_value_proj_dim)
        to_value = torch.bmm(mixed, dropped)
        scores = torch.bmm(mixed.transpose(1, 2), value)
        if rate:
            keep(scores, dropped, 0, grad_input=scores)
        torch._softmax_backward_data(scores, weights, -1, torch.float32, grad_input=scores)
        to_query, to_key = torch.bmm(key, scores.transpose(1, 2)), torch.bmm(query, scores)
        normed = _rows(_by_example(to_query, count), attention.q.weight)
        states = _rows(_by_example(to_key, count), attention.k.weight, onto=None if cross else normed)
        states = _rows(_by_example(to_value, count), attention.v.weight, onto=states)
        return (normed, states) if cross else (states, None)


def _product(weight: Tensor, columns: Tensor) -> Tensor:
    """``weight @ columns`` for columns ``[B, in, N]``."""
    return torch.bmm(weight.expand(len(columns), *weight.shape), columns)


def _rows(columns: Tensor, weight: Tensor, onto: Tensor | None = None) -> Tensor:
    """``columns.T @ weight``, ``[B, N, out]``, for columns ``[B, in, N]``; added to ``onto`` if that is given."""
    rows, weights = columns.transpose(1, 2), weight.expand(len(columns), *weight.shape)
    return torch.bmm(rows, weights) if onto is None else onto.baddbmm_(rows, weights)


def _by_head(columns: Tensor, width: int) -> Tensor:
    return columns.view(-1, width, columns.shape[2])


def _by_example(columns: Tensor, count: int) -> Tensor:
    return columns.view(count, -1, columns.shape[2])
