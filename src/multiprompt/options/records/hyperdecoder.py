"""HyperDecoder."""

from __future__ import annotations

from dataclasses import dataclass

from multiprompt.options.records.base import MethodOptions, MethodRecord, register_method


@dataclass(frozen=True)
class HyperDecoderOptions(MethodOptions):
    """Decoder adapters generated from every example's encoded source (Ivison and Peters 2022).

    Raises:
        ConfigError: a number is not above 0.
    """

    method = "hyperdecoder"

    learning_rate: float = 3e-4
    """Learning rate of the adapters and the generator."""
    bottleneck: int = 64
    """Inner width of the adapters of encoder and decoder."""
    layer_embedding: int = 10
    """Width of the embedding of a decoder layer."""
    hidden: int = 128
    """Inner width of the generator."""


register_method(
    MethodRecord(
        options=HyperDecoderOptions,
        version=1,
        about="Encoder adapters, and a generator that writes those of the decoder for each example.",
        trains="14,078,008/K on T5-base",
        build="multiprompt.methods.hyperdecoder:build",
        count="multiprompt.methods.hyperdecoder:count",
        place=9,
        other_names=("hyper_decoder", "hyperdecoders"),
        grouped=True,
        families=("t5",),
    )
)
