"""Multitask prompt tuning on target tasks: what source training has learned, tuned on (section 3.2)."""

from __future__ import annotations

from typing import Any

from multiprompt.backbone.shape import Shape
from multiprompt.methods.arithmetic import Item
from multiprompt.methods.base import Method
from multiprompt.methods.distillation import count_decomposed
from multiprompt.methods.prompt_starts import start_target_prompt
from multiprompt.methods.prompt_tuning import PromptTuning
from multiprompt.methods.start import Start
from multiprompt.options import PromptOptions


def build(start: Start) -> Method:
    """The source prompt, with factors for every task of the group."""
    prompt = start_target_prompt(start.prompt_of("source"), len(start.tasks), start.options.adapt)
    rates = start.options.learning_rate, start.options.factor_learning_rate
    return PromptTuning(start.backbone, prompt, *rates, start.training.dropout)


def count(shape: Shape, prompt: PromptOptions, _: Any) -> list[Item]:
    """The arithmetic of what it trains: as much as source training does."""
    return count_decomposed(shape, prompt)
