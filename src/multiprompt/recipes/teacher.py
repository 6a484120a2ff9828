"""Stage 1a: a teacher prompt for a source task, by ordinary prompt tuning (section 3.2 and appendix A)."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from multiprompt.backbone import FrozenT5
from multiprompt.errors import ConfigError
from multiprompt.methods import PromptTuning
from multiprompt.options import MixingOptions, PromptOptions, TeacherOptions, TrainingOptions
from multiprompt.prompts import (
    SoftPrompt,
    load_prompt,
    normal_rows,
    text_rows,
    uniform_rows,
    vocabulary_rows,
)
from multiprompt.recipes.prepare import PreparedTask
from multiprompt.recipes.stage import Place, train_stage
from multiprompt.seeding import derive_seed
from multiprompt.training import TrainingReport

TEACHER_EPOCHS = 10
"""Not given in the paper; the number of epochs of its large target tasks."""


def start_rows(options: PromptOptions, backbone: FrozenT5, seed: int) -> Float[Tensor, "P D"]:
    """First value of a prompt, on the processor, in fp32.

    Raises:
        ConfigError: the prompt is longer than the start allows, or a stored prompt has another shape.
    """
    generator = torch.Generator().manual_seed(seed)
    if options.start == "saved":
        assert options.path is not None, "the options check that a saved start has a path"
        stored = load_prompt(Path(options.path))
        rows = stored.prompt.all_tasks().detach().mean(0)
        if rows.shape != (options.length, backbone.width):
            raise ConfigError(
                f"the prompt in {options.path} is {tuple(rows.shape)}; expected "
                f"{(options.length, backbone.width)} (prompt.length and the width of {backbone.name})"
            )
        return rows
    try:
        match options.start:
            case "vocabulary":
                used = backbone.embedding[: len(backbone.tokenizer)]
                return vocabulary_rows(used, options.length, generator)
            case "normal":
                return normal_rows(options.length, backbone.width, generator=generator)
            case "uniform":
                return uniform_rows(options.length, backbone.width, generator=generator)
            case _:
                ids = backbone.tokenizer(options.text, add_special_tokens=False)["input_ids"]
                return text_rows(backbone.embedding, ids, options.length)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def tune_prompt(
    backbone: FrozenT5,
    task: PreparedTask,
    learning_rate: float,
    training: TrainingOptions,
    prompt: PromptOptions,
    default_epochs: float,
    seed: int,
    place: Place,
) -> tuple[SoftPrompt, TrainingReport]:
    """Ordinary prompt tuning: one plain prompt on one task, from the start that the options name.

    Args:
        backbone: the frozen model.
        task: what it learns.
        learning_rate: at the top of the schedule.
        training: length, schedule, selection.
        prompt: shape and start of the prompt.
        default_epochs: where the options give neither steps nor epochs.
        seed: of the start, the order of the examples, and dropout.
        place: folder and progress of the stage.

    Raises:
        TrainingError: the loss is not finite.
    """
    soft = SoftPrompt([start_rows(prompt, backbone, derive_seed(seed, place.name, "start"))])
    method = PromptTuning(backbone, soft, learning_rate, dropout=training.dropout)
    report = train_stage(method, [task], training, MixingOptions(), default_epochs, seed, place)
    return soft, report


def train_teacher(
    backbone: FrozenT5,
    task: PreparedTask,
    options: TeacherOptions | None = None,
    prompt: PromptOptions | None = None,
    seed: int = 42,
    place: Place | None = None,
) -> tuple[SoftPrompt, TrainingReport]:
    """Train the teacher of a source task: ``tune_prompt`` with the options of teachers.

    Returns:
        The prompt with the best dev metric, and how the training went.

    Raises:
        TrainingError: the loss is not finite.
    """
    options = options or TeacherOptions()
    place = place or Place(f"teacher-{task.name}")
    return tune_prompt(
        backbone,
        task,
        options.learning_rate,
        options.training,
        prompt or PromptOptions(),
        TEACHER_EPOCHS,
        seed,
        place,
    )
