"""SPoT."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from multiprompt.errors import ConfigError
from multiprompt.options.records.base import MethodOptions, MethodRecord, Needs, register_method

_BY_SIMILARITY = ("retrieved", "weighted")
"""Starts that compare the source prompts with the target's own early one."""


@dataclass(frozen=True)
class SpotOptions(MethodOptions):
    """A prompt that starts from what source tasks have learned (Vu et al. 2022).

    Raises:
        ConfigError: a number is not above 0.
    """

    method = "spot"

    learning_rate: float = 0.3
    """Learning rate of the prompt."""
    start: str = "retrieved"
    """"retrieved" (the most similar source prompt), "weighted" (the mean of all, by similarity), "mixture" (one prompt
    trained on all source tasks), or the name of a source task."""
    early_steps: int = 100
    """Steps of ordinary prompt tuning that give the target's own prompt, which the source prompts are compared with."""


def _needs(options: SpotOptions, source_tasks: tuple[str, ...]) -> Needs:
    known = (*_BY_SIMILARITY, "mixture", *source_tasks)
    if source_tasks and options.start not in known:
        close = difflib.get_close_matches(options.start, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"expected {', '.join(known)}"
        raise ConfigError(f"targets.methods.spot.start is {options.start!r}, which is no source task; {hint}")
    if options.start in _BY_SIMILARITY:
        return Needs(teachers="all", early_steps=options.early_steps)
    return Needs(mixture=True) if options.start == "mixture" else Needs(teachers=(options.start,))


register_method(
    MethodRecord(
        options=SpotOptions,
        version=2,
        about="A prompt that starts from source prompts: from one, from their mean, or from one of all sources.",
        trains="l·d",
        build="multiprompt.methods.spot:build",
        count="multiprompt.methods.prompt_tuning:count",
        place=4,
        other_names=("soft_prompt_transfer",),
        needs=_needs,
        before_inputs=True,
    )
)
