"""The passes over whole sequences: through the encoder, and through both stacks with the targets known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from multiprompt.backbone.base import HiddenStates
from multiprompt.backbone.dropout import Part, PartedDropout, StackParts
from multiprompt.backbone.packing import Grid, Layout, Rows, at_the_end
from multiprompt.backbone.t5.attention import Core, Packed, Padded, position_bias
from multiprompt.backbone.t5.fast import is_fast, run_stack


class Real(NamedTuple):
    """Which positions of a batch are no padding.

    Attributes:
        sources: true for them in the encoder, prompt rows among them, ``[B, N]``.
        targets: true for those of the decoder that count, ``[B, T]``.
        positions: of the latter in all positions of the decoder, example after example; on the device of the model.
    """

    sources: Bool[np.ndarray, "B N"]
    targets: Bool[np.ndarray, "B T"]
    positions: Int[Tensor, " total"]


class Passed(NamedTuple):
    """What a pass through both stacks gives.

    Attributes:
        encoder_states: those that are kept, ``[B, N, D]`` each.
        decoder_states: the same of the decoder, ``[B, T, D]``.
        last: the last decoder state of the positions that count, example after example, ``[total, D]``.
    """

    encoder_states: tuple[Tensor, ...]
    decoder_states: tuple[Tensor, ...]
    last: Tensor


def encode(model: Any, embedded: Tensor, mask: Tensor, packs: bool) -> Tensor:
    """The last state of the encoder, ``[B, N, D]``; in the place of padding it means nothing.

    Args:
        model: a ``T5ForConditionalGeneration``.
        embedded: input of the encoder, ``[B, N, D]``.
        mask: 1 for its positions that are not padding, ``[B, N]``.
        packs: whether real tokens run through the model as one row where that is possible.
    """
    if not is_fast(model):
        states: Tensor = model.encoder(inputs_embeds=embedded, attention_mask=mask).last_hidden_state
        return states
    real = (mask != 0).numpy()
    sources, _ = _layouts(real, real, packs)
    return sources.unpack(run_stack(model.encoder, sources.pack(embedded), _own_attention(model.encoder, sources))[-1])


def encode_and_decode(
    model: Any,
    embedded: Tensor,
    mask: Tensor,
    shifted: Tensor,
    real: Real,
    hidden: HiddenStates,
    packs: bool,
    parts: Sequence[Part] | None = None,
) -> Passed:
    """A pass through encoder and decoder.

    Args:
        model: a ``T5ForConditionalGeneration``.
        embedded: input of the encoder, ``[B, N, D]``.
        mask: 1 for its positions that are not padding, ``[B, N]``.
        shifted: tokens that the decoder reads, ``[B, T]``.
        real: the same for both stacks, as the host knows it.
        hidden: which states to keep.
        packs: whether real tokens run through the model as one row where that is possible.
        parts: of a joint batch that drops out; None for a training alone.
    """
    # Parts as they lie in the encoder, and in the decoder.
    lying = [StackParts(parts, stack, embedded.device) if parts else None for stack in (0, 1)]
    if not is_fast(model):
        return _by_transformers(model, embedded, mask, shifted, real, hidden, lying)
    encoder, decoder, every = model.encoder, model.decoder, hidden == "all"
    sources, targets = _layouts(real.sources, real.targets, packs)
    encoded = run_stack(encoder, sources.pack(embedded), _own_attention(encoder, sources), every=every, parts=lying[0])
    tokens, cross = decoder.embed_tokens(targets.pack(shifted)), _cross_attention(decoder, targets, sources)
    own = _own_attention(decoder, targets)
    decoded = run_stack(decoder, tokens, own, encoded[-1], cross, every=every, parts=lying[1])
    kept = slice(0 if hidden == "none" else None)
    return Passed(
        tuple(sources.unpack(state) for state in encoded[kept]),
        tuple(targets.unpack(state) for state in decoded[kept]),
        targets.real(decoded[-1]),
    )


def _by_transformers(
    model: Any,
    embedded: Tensor,
    mask: Tensor,
    shifted: Tensor,
    real: Real,
    hidden: HiddenStates,
    lying: Sequence[StackParts | None],
) -> Passed:
    # A mask without padding changes nothing, and attention without a mask is faster.
    needed = None if real.sources.all() else hiding(mask, embedded.dtype)
    every = hidden == "all"
    with _in_parts(model, lying[0]):
        encoded = model.encoder(inputs_embeds=embedded, attention_mask=needed, output_hidden_states=every)
    with _in_parts(model, lying[1]):
        decoded = model.decoder(
            input_ids=shifted,
            encoder_hidden_states=encoded.last_hidden_state,
            encoder_attention_mask=needed,
            use_cache=False,
            output_hidden_states=every,
        )
    last = decoded.last_hidden_state.flatten(0, 1).index_select(0, real.positions)
    return Passed(_kept(encoded, hidden), _kept(decoded, hidden), last)


@contextmanager
def _in_parts(model: Any, parts: StackParts | None) -> Iterator[None]:
    """Inside, dropout of transformers' code draws for every part; cross-attention says when it looks at the encoder."""
    if parts is None:
        yield
        return
    dropping = PartedDropout(parts)

    def look_at(stack: int) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            dropping.keys = stack

        return hook

    with ExitStack() as stack:
        for block in model.decoder.block:
            attention = block.layer[1].EncDecAttention
            stack.callback(attention.register_forward_pre_hook(look_at(0)).remove)
            stack.callback(attention.register_forward_hook(look_at(1)).remove)
        stack.enter_context(dropping)
        yield


def hiding(mask: Tensor, precision: torch.dtype) -> Tensor:
    """What hides padding from attention, ``[B, 1, 1, N]``: a mask that transformers takes as it is.

    From a mask of two dimensions it would make one for each stack, and wait for the device to see whether it has to.
    """
    added = torch.zeros(mask.shape, dtype=precision, device=mask.device)
    return added.masked_fill_(mask == 0, torch.finfo(precision).min)[:, None, None]


def _kept(output: Any, hidden: HiddenStates) -> tuple[Tensor, ...]:
    if hidden == "none":
        return ()
    # The first of all states is the input of block one, which is the prompt itself.
    return (output.last_hidden_state,) if hidden == "last" else output.hidden_states[1:]


def _layouts(sources: Bool[np.ndarray, "B N"], targets: Bool[np.ndarray, "B T"], packs: bool) -> tuple[Layout, Layout]:
    """Of sources and targets."""
    kind = Rows if packs and at_the_end(sources) and at_the_end(targets) else Grid
    return kind(sources), kind(targets)


def _own_attention(stack: Any, layout: Layout) -> Core:
    """The attention within a stack."""
    attention = stack.block[0].layer[0].SelfAttention
    bias = position_bias(attention, layout.width)
    if isinstance(layout, Rows):
        return Packed(bias, layout.lengths, layout.lengths)
    added = None if stack.is_decoder else layout.added
    return Padded(_by_head(bias if added is None else bias + added, layout.count, attention.n_heads))


def _cross_attention(decoder: Any, targets: Layout, sources: Layout) -> Core:
    """The attention from the decoder to the encoder."""
    if isinstance(sources, Grid):
        added = sources.added
        return Padded(None if added is None else _by_head(added, sources.count, decoder.config.num_heads))
    assert isinstance(targets, Rows)  # as sources are
    return Packed(None, targets.lengths, sources.lengths)


def _by_head(bias: Tensor, count: int, heads: int) -> Tensor:
    """What is added to the scores, ``[B or 1, H or 1, N or 1, M]``, with all examples and heads in one dimension."""
    return bias.expand(count, heads, *bias.shape[-2:]).flatten(0, 1)
