"""Decomposed prompt tuning: a prompt that is the product of two thin matrices (Xiao et al., arXiv:2310.10094)."""

from __future__ import annotations

from typing import Any

from multiprompt.backbone.shape import Shape
from multiprompt.methods.arithmetic import Item
from multiprompt.methods.base import Method
from multiprompt.methods.prompt_tuning import PromptTuning
from multiprompt.methods.start import Start
from multiprompt.options import PromptOptions
from multiprompt.prompts import FactorisedPrompt, start_thin_factors


def build(start: Start) -> Method:
    """A prompt of two matrices that are drawn."""
    shape = start.prompt.length, start.backbone.width, start.options.rank
    prompt = FactorisedPrompt(*start_thin_factors(*shape, start.generator("factors")))
    return PromptTuning(start.backbone, prompt, start.options.learning_rate, dropout=start.training.dropout)


def count(shape: Shape, prompt: PromptOptions, options: Any) -> list[Item]:
    """The arithmetic of what it trains."""
    return [Item("two thin matrices", options.rank, ((prompt.length,), (shape.width,)))]
