"""Prompt tuning."""

from __future__ import annotations

from dataclasses import dataclass

from multiprompt.options.records.base import MethodOptions, MethodRecord, register_method


@dataclass(frozen=True)
class PromptTuningOptions(MethodOptions):
    """A prompt of its own for every task (Lester et al. 2021).

    Raises:
        ConfigError: a number is not above 0.
    """

    method = "prompt_tuning"

    learning_rate: float = 0.3
    """Learning rate of the prompt."""


register_method(
    MethodRecord(
        options=PromptTuningOptions,
        version=1,
        about="A prompt of its own for each task, from scratch; also how teachers are trained.",
        trains="l·d",
        build="multiprompt.methods.prompt_tuning:build",
        count="multiprompt.methods.prompt_tuning:count",
        place=2,
        other_names=("pt", "prompt", "soft_prompt", "soft_prompt_tuning"),
        before_inputs=True,
    )
)
