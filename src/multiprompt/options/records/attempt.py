"""ATTEMPT."""

from __future__ import annotations

from dataclasses import dataclass

from multiprompt.options.records.base import MethodOptions, MethodRecord, Needs, register_method


@dataclass(frozen=True)
class AttemptOptions(MethodOptions):
    """A prompt mixed from source prompts for every example (Asai et al. 2022).

    Raises:
        ConfigError: a number is not above 0.
    """

    method = "attempt"

    learning_rate: float = 0.3
    """Learning rate of the target prompt."""
    attention_learning_rate: float = 0.1
    """Learning rate of the attention network."""
    bottleneck: int = 100
    """Inner width of the attention network."""
    temperature: float | None = None
    """Scores are divided by it; None for e times the width of the model, as in the published code."""
    pretrained: bool = False
    """Train the attention network on the source tasks first."""


register_method(
    MethodRecord(
        options=AttemptOptions,
        version=1,
        about="A prompt that a small network mixes, for each example, from frozen source prompts and the task's own.",
        trains="l·d + 2·d·b + 2·d; in a group l·d + (2·d·b + 2·d)/K",
        build="multiprompt.methods.attempt:build",
        count="multiprompt.methods.attempt:count",
        place=5,
        other_names=("attentional_mixtures_of_soft_prompt_tuning",),
        needs=lambda options, source_tasks: Needs(teachers="all", first="all" if options.pretrained else ()),
        first="attention",
        grouped=True,
        before_inputs=True,
    )
)
