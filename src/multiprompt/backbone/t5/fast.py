"""Faster passes through a frozen transformers T5 on a CPU; the weights, their names and the model's code stay.

``run_stack`` goes through the encoder or the decoder of a frozen model without transformers' code: the passes over
whole sequences, in training and in the encoder of generation (``passes.py``). Where transformers' own code runs, as in
generation's decoder, ``accelerate`` has given sublayers another ``forward``; ``restore`` takes it away again. Five
things are saved:

* Padding. The real tokens of a batch can run through the stacks as one long row, and only the attention goes through it
  example by example. In a wide model that is faster than attention over a padded batch, too: the scores of one example
  stay in the processor's cache, there is no mask to add, and no head has to be copied.
* Copies. Padded attention makes queries, keys and values in the layout that its products want, and adds masks and
  position biases once per stack.
* Memory traffic. A sublayer is one autograd function (``sublayers.py``, ``attention.py``).
* Layout. The weights are kept in the layout that their products read fastest (``products.py``).
* Random numbers. Dropout masks come from random bits (``sublayers.py``).

Results are those of transformers up to the rounding of float32. Dropout drops with the same probability (to one part
in 2**32), but other elements; its masks follow from ``torch.manual_seed``. A model whose weights are trained, or that
is not float32 on a CPU, takes the ordinary way.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from multiprompt.backbone import products
from multiprompt.backbone.dropout import StackParts
from multiprompt.backbone.t5 import sublayers
from multiprompt.backbone.t5.attention import Core, attend

TILED_WIDTH = 256
"""Weights of narrower models are kept transposed only: their products are over before tiles could pay."""

LARGEST_RATE = 0.49
"""Dropout rates above this one are left to torch."""


def run_stack(
    stack: Any,
    embedded: Tensor,
    own: Core,
    encoded: Tensor | None = None,
    cross: Core | None = None,
    *,
    every: bool = False,
    parts: StackParts | None = None,
) -> tuple[Tensor, ...]:
    """The last state of a ``T5Stack``, or the states after all of its blocks.

    Args:
        stack: of a model that ``is_fast``.
        embedded: its input, before dropout.
        own: attention within the stack.
        encoded: last state of the encoder, for a decoder.
        cross: attention to it.
        every: whether the states before the last one are kept.
        parts: of a joint batch that drops out.
    """
    this_stack = 0 if parts is None else parts.stack
    states = []
    x = sublayers.drop(embedded, sublayers.rate_of(stack.dropout), parts)
    for block in stack.block:
        x = attend(block.layer[0], block.layer[0].SelfAttention, x, None, own, parts, this_stack)
        if cross is not None:
            x = attend(block.layer[1], block.layer[1].EncDecAttention, x, encoded, cross, parts)
        x = sublayers.feed_forward(block.layer[-1], x, parts)
        states.append(x)
        if not every:
            states.clear()
    last = sublayers.norm(stack.final_layer_norm, x)
    return (*states[:-1], sublayers.drop(last, sublayers.rate_of(stack.dropout), parts))


def accelerate(model: Any) -> None:
    """Let a ``T5ForConditionalGeneration`` take the faster passes, and give its sublayers a faster ``forward``.

    Nothing happens to a model with an unusual activation or dropout rate.
    """
    config = model.config
    if config.dense_act_fn not in ("relu", "gelu_new") or not 0 <= config.dropout_rate <= LARGEST_RATE:
        return
    if config.is_gated_act != (config.dense_act_fn == "gelu_new") or is_accelerated(model):
        return
    faster = {"Dropout": _dropout, "T5LayerNorm": _norm, "T5LayerFF": _feed_forward}
    for module in model.modules():
        if type(module).__name__ in faster:
            module.forward = partial(faster[type(module).__name__], module, module.forward)
    model.lm_head.forward = partial(_output, model.lm_head, model.lm_head.forward)
    if is_frozen(model):
        (products.tile if config.d_model >= TILED_WIDTH else products.transpose)(_matrices(model))


def _dropout(module: Any, original: Callable[..., Tensor], x: Tensor) -> Tensor:
    if not sublayers.rate_of(module) or x.dtype != torch.float32 or x.device.type != "cpu":
        return original(x)
    return sublayers.drop(x, sublayers.rate_of(module))


def _norm(module: Any, original: Callable[..., Tensor], x: Tensor) -> Tensor:
    return sublayers.norm(module, x) if is_frozen(module) else original(x)


def _feed_forward(module: Any, original: Callable[..., Tensor], hidden_states: Tensor) -> Tensor:
    return sublayers.feed_forward(module, hidden_states) if is_frozen(module) else original(hidden_states)


def _output(module: Any, original: Callable[..., Tensor], states: Tensor) -> Tensor:
    return sublayers.linear(module.weight, states) if is_frozen(module) else original(states)


def _matrices(model: Any) -> list[Tensor]:
    """The weights of all linear layers, tied ones once."""
    linear = [module.weight for module in model.modules() if isinstance(module, torch.nn.Linear)]
    return list({id(weight): weight for weight in linear}.values())


def is_frozen(module: Any) -> bool:
    """Whether no weight is trained, and all are float32 on a CPU."""
    return all(
        weight.dtype == torch.float32 and weight.device.type == "cpu" and not weight.requires_grad
        for weight in module.parameters()
    )


def is_accelerated(model: Any) -> bool:
    """Whether ``accelerate`` is in force."""
    return isinstance(model.lm_head.__dict__.get("forward"), partial)


def is_fast(model: Any) -> bool:
    """Whether a model takes the faster passes now."""
    return is_accelerated(model) and is_frozen(model)


def restore(model: Any) -> None:
    """Undo ``accelerate``."""
    for module in model.modules():
        if isinstance(module.__dict__.get("forward"), partial):
            del module.forward
    products.forget(_matrices(model))
