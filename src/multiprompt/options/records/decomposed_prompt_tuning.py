"""Decomposed prompt tuning."""

from __future__ import annotations

from dataclasses import dataclass

from multiprompt.options.records.base import MethodOptions, MethodRecord, register_method


@dataclass(frozen=True)
class DecomposedPromptTuningOptions(MethodOptions):
    """A prompt that is the product of two thin matrices (Xiao et al. 2023).

    Raises:
        ConfigError: a number is not above 0.
    """

    method = "decomposed_prompt_tuning"

    learning_rate: float = 0.3
    """Learning rate of both matrices."""
    rank: int = 10
    """Inner width of the product."""


register_method(
    MethodRecord(
        options=DecomposedPromptTuningOptions,
        version=1,
        about="A prompt that is the product of two thin matrices.",
        trains="r·(l + d)",
        build="multiprompt.methods.decomposed_prompt_tuning:build",
        count="multiprompt.methods.decomposed_prompt_tuning:count",
        place=11,
        other_names=("dpt",),
        before_inputs=True,
    )
)
