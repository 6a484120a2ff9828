"""LoRA."""

from __future__ import annotations

from dataclasses import dataclass

from multiprompt.options.records.base import MethodOptions, MethodRecord, register_method


@dataclass(frozen=True)
class LoraOptions(MethodOptions):
    """Low-rank updates of the attention's weights, by the peft library (Hu et al. 2022).

    Raises:
        ConfigError: a number is not above 0.
    """

    method = "lora"

    learning_rate: float = 3e-4
    """Learning rate of the updates."""
    rank: int = 8
    """Inner width of the updates."""
    alpha: float = 16.0
    """The update is scaled by alpha / rank."""


register_method(
    MethodRecord(
        options=LoraOptions,
        version=1,
        about="Low-rank updates of queries and values, by the peft library.",
        trains="2·r·d for each of them (884,736 on T5-base, r = 8)",
        build="multiprompt.methods.peft_library:build_lora",
        count="multiprompt.methods.peft_library:count_lora",
        place=12,
        other_names=("low_rank_adaptation",),
        package=("peft", "peft"),
    )
)
