"""Sizes of a T5 by its configuration, and the operations that they make. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from multiprompt.backbone.shape import Shape, StackShape

BUCKETS = 32
"""Of relative positions, where a configuration does not say."""


def t5_shape(config: Mapping[str, Any], tied: bool) -> Shape:
    """The sizes of a model.

    Args:
        config: values of its ``T5Config``.
        tied: whether the output layer is the embedding.
    """
    heads, layers = config["num_heads"], config["num_layers"]
    return Shape(
        width=config["d_model"],
        heads=heads * config["d_kv"],
        inner=config["d_ff"],
        gates=2 if str(config.get("feed_forward_proj", "relu")).startswith("gated-") else 1,
        stacks=(
            StackShape("encoder", layers, attentions=1, norms=2),
            StackShape("decoder", config.get("num_decoder_layers") or layers, attentions=2, norms=3),
        ),
        last_norms=2,
        positions=config.get("relative_attention_num_buckets", BUCKETS) * heads,
        words=config["vocab_size"],
        tied=tied,
    )


def t5_operations(shape: Shape, source: int, target: int) -> float:
    """Operations of a forward pass over one example, attention and output layer included.

    With e and c weights in the blocks of encoder and decoder (embeddings not counted; the output layer, V x D, is
    computed for target tokens), of which x = 2 D H L make the keys and values of cross-attention from source tokens::

        2 S (e + x) + 2 T (c - x + V D) + 4 H (K S^2 + L T^2 + L S T)

    H is the width of all heads, K and L are the layers of encoder and decoder.

    Args:
        shape: of the model.
        source: S, tokens of the source, prompt rows included.
        target: T, tokens of the target.
    """
    width, heads = shape.width, shape.heads
    encoder, decoder = (stack.blocks for stack in shape.stacks)
    attention, feed_forward = 4 * width * heads, (shape.gates + 1) * width * shape.inner
    crossed = decoder * 2 * width * heads
    at_source = encoder * (attention + feed_forward) + crossed
    at_target = decoder * (2 * attention + feed_forward) - crossed + shape.words * width
    scores = 4 * heads * (encoder * source**2 + decoder * (target**2 + source * target))
    return 2.0 * source * at_source + 2.0 * target * at_target + scores
