"""Prefix tuning."""

from __future__ import annotations

from dataclasses import dataclass

from multiprompt.options.records.base import MethodOptions, MethodRecord, register_method


@dataclass(frozen=True)
class PrefixTuningOptions(MethodOptions):
    """Learned keys and values in front of every attention layer, by the peft library (Li and Liang 2021).

    Raises:
        ConfigError: a number is not above 0.
    """

    method = "prefix_tuning"

    learning_rate: float = 0.3
    """Learning rate of the prefix."""


register_method(
    MethodRecord(
        options=PrefixTuningOptions,
        version=1,
        about="Keys and values in front of the decoder's self-attention, by the peft library.",
        trains="2·l·d for each decoder block",
        build="multiprompt.methods.peft_library:build_prefix",
        count="multiprompt.methods.peft_library:count_prefix",
        place=14,
        other_names=("prefix",),
        families=("t5",),
        package=("peft", "peft"),
    )
)
