"""Stage 1b: one shared prompt from all source tasks, distilled from their teachers (Eq. 5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from multiprompt.backbone import FrozenT5
from multiprompt.methods import SourceTraining
from multiprompt.options import PromptOptions, SourceOptions
from multiprompt.prompts import DecomposedPrompt, Prompt, SharedPrompt, SoftPrompt, start_task_factors
from multiprompt.recipes.prepare import PreparedTask
from multiprompt.recipes.stage import Place, train_stage
from multiprompt.recipes.teacher import start_rows
from multiprompt.seeding import derive_seed
from multiprompt.training import TrainingReport

SOURCE_EPOCHS = 5
"""Epochs over the mixture (section 4.1)."""


def train_source(
    backbone: FrozenT5,
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
    shared = start_rows(prompt, backbone, derive_seed(seed, place.name, "start"))
    student: Prompt
    if options.decomposed:
        generator = torch.Generator().manual_seed(derive_seed(seed, place.name, "factors"))
        factors = [
            start_task_factors(
                prompt.length,
                backbone.width,
                prompt.rank,
                prompt.factor_start,
                generator,
                prompt.factor_spread,
            )
            for _ in tasks
        ]
        student = DecomposedPrompt(shared, factors)
    else:
        student = SharedPrompt(shared, len(tasks))
    method = SourceTraining(
        backbone,
        student,
        torch.cat([teacher.all_tasks().detach() for teacher in teachers]) if teachers else None,
        options.distillation,
        options.learning_rate,
        options.factor_learning_rate,
        options.training.dropout,
    )
    report = train_stage(method, tasks, options.training, options.mixing, SOURCE_EPOCHS, seed, place)
    return student, report
