"""Stage 2: a source prompt adapted to one target task, or to a group of them (section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

from multiprompt.backbone.base import Backbone
from multiprompt.options import MixingOptions, MptOptions, TrainingOptions
from multiprompt.prompts import Prompt
from multiprompt.recipes.alone import train_prompt
from multiprompt.recipes.prepare import PreparedTask
from multiprompt.recipes.stage_training import Place
from multiprompt.tasks import Task
from multiprompt.training import TrainingReport

LARGE_TASK = 10_000
"""Training examples beyond which the paper trains 10 epochs instead of 20 (appendix A)."""


def target_epochs(tasks: Sequence[Task], sizes: Sequence[int]) -> int:
    """Epochs of the paper: 20 for small tasks, 10 for large ones and for text from data, 5 for MRQA.

    Args:
        tasks: that are adapted to together.
        sizes: training examples of each.
    """
    if all(task.family == "mrqa" for task in tasks):
        return 5
    large = any(task.family == "generation" or size > LARGE_TASK for task, size in zip(tasks, sizes, strict=True))
    return 10 if large else 20


def adapt_target(
    backbone: Backbone,
    tasks: Sequence[PreparedTask],
    source: Prompt,
    options: MptOptions | None = None,
    training: TrainingOptions | None = None,
    mixing: MixingOptions | None = None,
    seed: int = 42,
    place: Place | None = None,
) -> tuple[Prompt, TrainingReport]:
    """Adapt a source prompt on the task loss alone, with two learning rates.

    Args:
        backbone: the frozen model.
        tasks: one task, or a group that shares one prompt.
        source: what source training learned; not changed.
        options: rates, and what is adapted.
        training: length and selection.
        mixing: how the batches of a group are drawn.
        seed: of the batches and of dropout.
        place: folder and progress of the stage.

    Returns:
        The adapted prompt and how the training went.

    Raises:
        ConfigError: the source has no shared prompt.
        TrainingError: the loss is not finite.
    """
    options, training = options or MptOptions(), training or TrainingOptions()
    place = place or Place("target-" + "+".join(task.name for task in tasks))
    mixing = mixing or MixingOptions()
    epochs = target_epochs([task.task for task in tasks], [len(task.train) for task in tasks])
    earlier = {"source": source}
    return train_prompt("mpt", backbone, tasks, options, training, mixing, epochs, seed, place, earlier=earlier)
