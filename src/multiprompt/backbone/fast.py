"""Faster passes through a frozen transformers T5 on a CPU; the weights, their names and the model's code stay.

``accelerate`` gives the sublayers of a ``T5ForConditionalGeneration`` another ``forward``; ``restore`` takes it away
again. Four things are saved:

* Padding. Inside a ``Packing`` the real tokens of a batch run through the stacks as one long row, and only the
  attention goes through it example by example. That is faster than attention over a padded batch, too: the scores
  of one example stay in the processor's cache, there is no mask to add, and no head has to be copied.
* Memory traffic. A sublayer is one autograd function: normalisation, dropout and the residual sum are done in place
  where autograd would keep copies, and nothing is kept that only the gradient of a weight needs.
* Tiles. The weights of a wide model are kept in the layout of the processor's products (``products.py``).
* Random numbers. A dropout mask is a comparison of random bits, ten times cheaper than torch's Bernoulli numbers.

Results are those of transformers up to the rounding of float32. Dropout drops with the same probability (to one part
in 2**32), but other elements; its masks follow from ``torch.manual_seed``. A model whose weights are trained, or that
is not float32 on a CPU, takes the ordinary way. Attention weights are not recorded inside a ``Packing``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from multiprompt.backbone import products
from multiprompt.backbone.dropout import PartedDropout
from multiprompt.backbone.packing import is_frozen

TILED_WIDTH = 256
"""Narrower models keep their weights as they are: their products are over before tiles could pay."""

LARGEST_RATE = 0.49
"""Dropout rates above this one are left to torch."""

_keep = torch.ops.aten.threshold_backward
"""``_keep(x, y, t)`` is x where y is above t, or not a number, and 0 elsewhere: one pass over the memory."""


class _Bits:
    """Random numbers for one sublayer: 32 random bits for each element, read as a float."""

    def __init__(self) -> None:
        self._parted = PartedDropout.active
        if self._parted is None:
            self._sources = [_source()]
        else:
            self._sources = []
            for part in self._parted.parts:
                with self._parted.turn(part):
                    self._sources.append(_source())

    def like(self, tensor: Tensor) -> Tensor:
        """For states of all examples."""
        if self._parted is None:
            return _draw(self._sources[0], tensor.shape)
        bits = torch.zeros_like(tensor)
        for source, region in zip(self._sources, self._parted.regions(bits), strict=True):
            region.copy_(_draw(source, region.shape))
        return bits

    def for_example(self, example: int, shape: torch.Size) -> Tensor:
        """For something that a single example has."""
        return _draw(self._sources[0 if self._parted is None else self._parted.part_of(example)], shape)


def _source() -> np.random.SFC64:
    return np.random.SFC64(int(torch.randint(2**62, ())))


def _draw(source: np.random.SFC64, shape: torch.Size) -> Tensor:
    count = shape.numel()
    return torch.from_numpy(source.random_raw((count + 1) // 2).view(np.float32)[:count]).view(shape)


@lru_cache
def _threshold(rate: float) -> float:
    """The float that random bits are not above with this probability.

    These are the bit patterns of the negative floats from minus infinity up to the threshold. Patterns that are not
    a number compare false and count as above.
    """
    largest_kept = 0xFF800000 - round(rate * 2**32)
    return float(np.array([largest_kept + 1], dtype=np.uint32).view(np.float32)[0])


class _Dropout(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rate: float) -> Tensor:
        bits = _Bits().like(x)
        ctx.save_for_backward(bits)
        ctx.rate = rate
        return _keep(x, bits, _threshold(rate)).mul_(1 / (1 - rate))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return _keep(grad, *ctx.saved_tensors, _threshold(ctx.rate)).mul_(1 / (1 - ctx.rate)), None


def _normalise(x: Tensor, norm: Any) -> tuple[Tensor, Tensor]:
    """T5's layer norm, and the inverse root mean square of every row."""
    inverse = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1])
    inverse = inverse.add_(norm.variance_epsilon).rsqrt_()
    return (x * inverse).mul_(norm.weight), inverse


def _normalise_backward(grad: Tensor, x: Tensor, inverse: Tensor, norm: Any, scale: float) -> Tensor:
    """Gradient for ``x``, times a scale. ``grad`` is overwritten."""
    grad.mul_(norm.weight if scale == 1 else norm.weight * scale)
    along = torch.linalg.vecdot(grad, x).unsqueeze(-1).mul_(inverse**3).div_(-x.shape[-1])
    return grad.mul_(inverse).addcmul_(x, along)


class _Norm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: Any) -> Tensor:
        normed, inverse = _normalise(x, norm)
        ctx.save_for_backward(x, inverse)
        ctx.norm = norm
        return normed

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, inverse = ctx.saved_tensors
        return _normalise_backward(grad.clone(), x, inverse, ctx.norm, 1.0), None


def _drop_and_add(x: Tensor, update: Tensor, rate: float, source: _Bits | None) -> tuple[Tensor, Tensor | None]:
    """Residual sum. ``update`` lacks the scale of two dropouts: the one inside the sublayer, and this one."""
    if source is None:
        return update.add_(x), None
    bits = source.like(update)
    _keep(update, bits, _threshold(rate), grad_input=update)
    return torch.add(x, update, alpha=(1 - rate) ** -2), bits


class _FeedForward(Function):
    """``x + dropout(wo(dropout(relu(wi(norm(x))))))``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Any, rate: float) -> Tensor:
        dense = layer.DenseReluDense
        source = _Bits() if rate else None
        normed, inverse = _normalise(x, layer.layer_norm)
        inner = products.apply(dense.wi.weight, normed).relu_()
        if source:
            _keep(inner, source.like(inner), _threshold(rate), grad_input=inner)
        output, bits = _drop_and_add(x, products.apply(dense.wo.weight, inner), rate, source)
        ctx.save_for_backward(x, inverse, inner, bits)
        ctx.layer, ctx.rate = layer, rate
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, inverse, inner, bits = ctx.saved_tensors
        layer, dense = ctx.layer, ctx.layer.DenseReluDense
        update = grad if bits is None else _keep(grad, bits, _threshold(ctx.rate))
        to_inner = products.apply_transposed(dense.wo.weight, update)
        # What relu or dropout set to zero has no gradient; one comparison serves both.
        _keep(to_inner, inner, 0, grad_input=to_inner)
        to_normed = products.apply_transposed(dense.wi.weight, to_inner)
        to_x = _normalise_backward(to_normed, x, inverse, layer.layer_norm, (1 - ctx.rate) ** -2)
        return to_x.add_(grad), None, None


def _spans(lengths: Sequence[int]) -> list[slice]:
    ends = np.cumsum(lengths).tolist()
    return [slice(end - length, end) for end, length in zip(ends, lengths, strict=True)]


def _heads(rows: Tensor, heads: int) -> Tensor:
    """(length, heads * width) -> (heads, length, width), without a copy."""
    return rows.view(len(rows), heads, -1).transpose(0, 1)


def _to_states(attention: Any, to_key: Tensor, to_value: Tensor) -> Tensor:
    """Gradient for the states that keys and values are made of."""
    states = products.apply_transposed(attention.k.weight, to_key)
    return states.add_(products.apply_transposed(attention.v.weight, to_value))


class _Linear(Function):
    """A linear layer without a bias."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor) -> Tensor:
        ctx.weight = weight
        return products.apply(weight, states)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return products.apply_transposed(ctx.weight, grad), None


class _Attention(Function):
    """``x + dropout(o(attention(q(norm(x)), k(states), v(states))))``, example by example.

    In self-attention the states are ``norm(x)``, and None is given for them.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        states: Tensor | None,
        bias: Tensor | None,
        layer: Any,
        attention: Any,
        lengths: tuple[Sequence[int], Sequence[int]],
        rate: float,
    ) -> Tensor:
        source = _Bits() if rate else None
        normed, inverse = _normalise(x, layer.layer_norm)
        keys_from = normed if states is None else states
        query = products.apply(attention.q.weight, normed[0])
        key, value = (products.apply(linear.weight, keys_from[0]) for linear in (attention.k, attention.v))
        mixed = torch.empty_like(query)
        heads = attention.n_heads
        kept: list[Tensor] = []
        spans = list(zip(_spans(lengths[0]), _spans(lengths[1]), strict=True))
        for example, (of_query, of_key) in enumerate(spans):
            q, k, v = (_heads(t, heads) for t in (query[of_query], key[of_key], value[of_key]))
            if bias is None:
                scores = torch.bmm(q, k.transpose(1, 2))
            else:
                scores = torch.baddbmm(bias[:, : q.shape[1], : k.shape[1]], q, k.transpose(1, 2))
            weights = torch.softmax(scores, -1, out=scores)
            dropped = weights
            if source:
                dropped = _keep(weights, source.for_example(example, weights.shape), _threshold(rate))
            torch.bmm(dropped, v, out=_heads(mixed[of_query], heads))
            kept += [weights, dropped]
        update = products.apply(attention.o.weight, mixed).unsqueeze(0)
        output, bits = _drop_and_add(x, update, rate, source)
        ctx.save_for_backward(x, inverse, bits, query, key, value, *kept)
        ctx.spans, ctx.layer, ctx.attention, ctx.rate, ctx.cross = spans, layer, attention, rate, states is not None
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, inverse, bits, query, key, value, *kept = ctx.saved_tensors
        attention, heads = ctx.attention, ctx.attention.n_heads
        update = grad if bits is None else _keep(grad, bits, _threshold(ctx.rate))
        mixed = products.apply_transposed(attention.o.weight, update[0])
        to_query, to_key, to_value = (torch.empty_like(t) for t in (query, key, value))
        for (of_query, of_key), weights, dropped in zip(ctx.spans, kept[::2], kept[1::2], strict=True):
            q, k, v = (_heads(t, heads) for t in (query[of_query], key[of_key], value[of_key]))
            g = _heads(mixed[of_query], heads)
            torch.bmm(dropped.transpose(1, 2), g, out=_heads(to_value[of_key], heads))
            scores = torch.bmm(g, v.transpose(1, 2))
            if bits is not None:
                _keep(scores, dropped, 0, grad_input=scores)
            scores = torch._softmax_backward_data(scores, weights, -1, torch.float32)
            torch.bmm(scores, k, out=_heads(to_query[of_query], heads))
            torch.bmm(scores.transpose(1, 2), q, out=_heads(to_key[of_key], heads))
        scale = (1 - ctx.rate) ** -2
        normed = products.apply_transposed(attention.q.weight, to_query)
        states = None
        if ctx.cross:
            if ctx.needs_input_grad[1]:
                states = _to_states(attention, to_key, to_value)
                states = (states if scale == 1 else states.mul_(scale)).unsqueeze(0)
        else:
            normed.add_(_to_states(attention, to_key, to_value))
        to_x = _normalise_backward(normed.unsqueeze(0), x, inverse, ctx.layer.layer_norm, scale).add_(grad)
        return to_x, states, None, None, None, None, None


def _rate(module: Any) -> float:
    return float(module.p) if module.training else 0.0


def _dropout(module: Any, original: Callable[..., Tensor], x: Tensor) -> Tensor:
    if not _rate(module) or x.dtype != torch.float32 or x.device.type != "cpu":
        return original(x)
    result: Tensor = _Dropout.apply(x, _rate(module))
    return result


def _norm(module: Any, original: Callable[..., Tensor], x: Tensor) -> Tensor:
    result: Tensor = _Norm.apply(x, module) if is_frozen(module) else original(x)
    return result


def _linear(module: Any, x: Tensor) -> Tensor:
    result: Tensor = _Linear.apply(x, module.weight)
    return result


def _output(module: Any, original: Callable[..., Tensor], states: Tensor) -> Tensor:
    return _linear(module, states) if is_frozen(module) else original(states)


def _feed_forward(module: Any, original: Callable[..., Tensor], hidden_states: Tensor) -> Tensor:
    dense = module.DenseReluDense
    if not is_frozen(module):
        return original(hidden_states)
    if hasattr(dense, "wi"):
        result: Tensor = _FeedForward.apply(hidden_states, module, _rate(module.dropout))
        return result
    normed = module.layer_norm(hidden_states)
    gate = F.gelu(_linear(dense.wi_0, normed), approximate="tanh")  # what transformers writes out as "gelu_new"
    inner = dense.dropout(gate * _linear(dense.wi_1, normed))
    return hidden_states + module.dropout(_linear(dense.wo, inner))


def _self_attention(
    module: Any, original: Callable[..., Any], model: Any, hidden_states: Tensor, *args: Any, **options: Any
) -> Any:
    packing = model._packing
    if packing is None:
        return original(hidden_states, *args, **options)
    attention, bias = module.SelfAttention, options.get("position_bias")
    lengths = (packing.targets if attention.is_decoder else packing.sources).lengths
    if bias is None:
        longest = max(lengths)
        bias = attention.compute_bias(longest, longest)[0].contiguous()
        if attention.is_decoder:
            bias = bias + torch.full((longest, longest), -torch.inf).triu(1)
    rate = _rate(module.dropout)
    output = _Attention.apply(hidden_states, None, bias, module, attention, (lengths, lengths), rate)
    return output, bias, None


def _cross_attention(
    module: Any, original: Callable[..., Any], model: Any, hidden_states: Tensor, *args: Any, **options: Any
) -> Any:
    packing = model._packing
    if packing is None:
        return original(hidden_states, *args, **options)
    lengths = (packing.targets.lengths, packing.sources.lengths)
    states, rate = options["key_value_states"], _rate(module.dropout)
    output = _Attention.apply(hidden_states, states, None, module, module.EncDecAttention, lengths, rate)
    return output, None, None


def accelerate(model: Any) -> None:
    """Give the sublayers of a ``T5ForConditionalGeneration`` their faster ``forward``.

    Nothing happens to a model with an unusual activation or dropout rate.
    """
    config = model.config
    if config.dense_act_fn not in ("relu", "gelu_new") or not 0 <= config.dropout_rate <= LARGEST_RATE:
        return
    if config.is_gated_act != (config.dense_act_fn == "gelu_new") or is_accelerated(model):
        return
    faster: dict[str, Any] = {
        "Dropout": _dropout,
        "T5LayerNorm": _norm,
        "T5LayerFF": _feed_forward,
        "T5LayerSelfAttention": _self_attention,
        "T5LayerCrossAttention": _cross_attention,
    }
    for module in model.modules():
        name = type(module).__name__
        if name in faster:
            needs_model = (model,) if name.endswith("Attention") else ()
            module.forward = partial(faster[name], module, module.forward, *needs_model)
    model.lm_head.forward = partial(_output, model.lm_head, model.lm_head.forward)
    if config.d_model >= TILED_WIDTH and is_frozen(model):
        products.tile(_matrices(model))
    model._packing = None


def _matrices(model: Any) -> list[Tensor]:
    """The weights of all linear layers, tied ones once."""
    linear = [module.weight for module in model.modules() if isinstance(module, torch.nn.Linear)]
    return list({id(weight): weight for weight in linear}.values())


def is_accelerated(model: Any) -> bool:
    """Whether ``accelerate`` is in force."""
    return hasattr(model, "_packing")


def restore(model: Any) -> None:
    """Undo ``accelerate``."""
    for module in model.modules():
        if isinstance(module.__dict__.get("forward"), partial):
            del module.forward
    products.untile(_matrices(model))
    model.__dict__.pop("_packing", None)
