"""A method without an experiment: what ``train_teacher``, ``adapt`` and their like have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from multiprompt.backbone.base import Backbone
from multiprompt.methods import PromptTuning
from multiprompt.options import MixingOptions, PromptOptions, TrainingOptions
from multiprompt.prompts import Prompt
from multiprompt.recipes.build import Learned, Start, build_method
from multiprompt.recipes.prepare import PreparedTask
from multiprompt.recipes.stage_training import Place, stage_training
from multiprompt.training import TrainingReport, train


def start_alone(
    backbone: Backbone,
    tasks: Sequence[PreparedTask],
    options: Any,
    training: TrainingOptions,
    seed: int,
    place: Place,
    prompt: PromptOptions | None = None,
    earlier: Mapping[str, Learned] | None = None,
) -> Start:
    """What a method without an experiment is made from; arguments as for ``train_prompt``."""
    return Start(
        backbone=backbone,
        tasks=tuple(task.name for task in tasks),
        options=options,
        training=training,
        prompt=prompt or PromptOptions(),
        earlier=earlier or {},
        seed=seed,
        stage=place.name,
        max_source_length=max(task.task.max_source_length for task in tasks),
        data=tasks,
    )


def train_prompt(
    method: str,
    backbone: Backbone,
    tasks: Sequence[PreparedTask],
    options: Any,
    training: TrainingOptions,
    mixing: MixingOptions,
    default_epochs: float,
    seed: int,
    place: Place,
    prompt: PromptOptions | None = None,
    earlier: Mapping[str, Learned] | None = None,
) -> tuple[Prompt, TrainingReport]:
    """Build a method as an experiment does, and train it without one.

    Args:
        method: name of a method that trains a prompt.
        backbone: the frozen model.
        tasks: in the order of the task ids.
        options: of the method.
        training: length, schedule, selection.
        mixing: how batches of several tasks are drawn.
        default_epochs: where the options give neither steps nor epochs.
        seed: of first values, the order of the examples, and dropout.
        place: name, folder and progress of the stage.
        prompt: shape and start of new prompts.
        earlier: what the method starts from, by the names of stages.

    Raises:
        ConfigError: the prompt cannot start as the options ask for.
        TrainingError: the loss is not finite.
    """
    start = start_alone(backbone, tasks, options, training, seed, place, prompt, earlier)
    with build_method(method, start) as built:
        report = train(stage_training(built, tasks, training, mixing, default_epochs, seed, place), place.progress)
    assert isinstance(built, PromptTuning), f"{method} trains a prompt"
    return built.prompt, report
