"""Stage 1b: one shared prompt from all source tasks, distilled from their teachers (Eq. 5)."""

from __future__ import annotations

from collections.abc import Sequence

from multiprompt.backbone.base import Backbone
from multiprompt.options import PromptOptions, SourceOptions
from multiprompt.prompts import Prompt, SoftPrompt
from multiprompt.recipes.alone import train_prompt
from multiprompt.recipes.prepare import PreparedTask
from multiprompt.recipes.stage_training import Place
from multiprompt.training import TrainingReport

SOURCE_EPOCHS = 5
"""Epochs over the mixture (section 4.1)."""


def train_source(
    backbone: Backbone,
    tasks: Sequence[PreparedTask],
    teachers: Sequence[SoftPrompt],
    options: SourceOptions | None = None,
    prompt: PromptOptions | None = None,
    seed: int = 42,
    place: Place | None = None,
) -> tuple[Prompt, TrainingReport]:
    """Learn the shared prompt and the factors of every source task.

    Args:
        backbone: the frozen model.
        tasks: the source tasks.
        teachers: a prompt for each of them, in the same order; none are needed without distillation.
        options: what is learned from the teachers, how tasks are mixed, rates and length.
        prompt: shape and start.
        seed: of the start, the batches, and dropout.
        place: folder and progress of the stage.

    Returns:
        A ``DecomposedPrompt``, or a ``SharedPrompt`` if the options ask for no decomposition, and how it went.

    Raises:
        TrainingError: the loss is not finite.
    """
    options, prompt = options or SourceOptions(), prompt or PromptOptions()
    place = place or Place("source")
    earlier = {f"teacher-{position}": teacher for position, teacher in enumerate(teachers)}
    rest = options.training, options.mixing, SOURCE_EPOCHS, seed, place, prompt, earlier
    return train_prompt("student", backbone, tasks, options, *rest)
