"""What the teacher, source and target stages have in common: streams of batches, dev scores, the stage's folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from multiprompt.backbone.base import Backbone
from multiprompt.data import BatchStream, EpochSampler, Sampler, TaskSampler
from multiprompt.evaluation.scoring import dev_value
from multiprompt.methods import Method
from multiprompt.options import MixingOptions, TrainingOptions
from multiprompt.recipes.prepare import PreparedTask
from multiprompt.seeding import derive_seed
from multiprompt.training import SILENT, Progress, Training


@dataclass(frozen=True)
class Place:
    """Where a stage keeps its state, and whom it tells.

    Attributes:
        name: of the stage, such as ``"target-mini-rte-mpt-all"``.
        folder: for the log and the checkpoint; None keeps nothing.
        identity: digest of all that the stage depends on.
        progress: told about every step.
        title: of the stage, for progress and errors; the name if empty.
    """

    name: str
    folder: Path | None = None
    identity: str = ""
    progress: Progress = SILENT
    title: str = ""


def stage_stream(
    backbone: Backbone,
    prompt_length: int,
    tasks: Sequence[PreparedTask],
    options: TrainingOptions,
    mixing: MixingOptions,
    seed: int,
    name: str,
) -> BatchStream:
    """The batches of a training on one task (in epochs) or on several (by task sampling).

    Args:
        backbone: says whether batches are padded, and with what.
        prompt_length: rows in front of every source.
        tasks: in the order of the task ids.
        options: size of the batches.
        mixing: how batches of several tasks are drawn.
        seed: of the order of the examples.
        name: of the stage, on which the order depends too.
    """
    sizes = [len(task.train) for task in tasks]
    order_seed = derive_seed(seed, name, "order")
    sampler: Sampler
    if len(tasks) == 1:
        sampler = EpochSampler(tasks[0].train.sources.lengths, options.batch_size, order_seed)
    else:
        sampler = TaskSampler(sizes, options.batch_size, order_seed, mixing.mode, mixing.size_cap, mixing.max_tasks)
    return BatchStream(
        [task.train for task in tasks],
        sampler,
        backbone.coder.pad_id,
        prompt_length,
        options.max_micro_batch,
        backbone.costs.micro_batch if backbone.pads else None,
        backbone.costs.most_tokens,
        backbone.positions,
    )


def stage_training(
    method: Method,
    tasks: Sequence[PreparedTask],
    options: TrainingOptions,
    mixing: MixingOptions,
    default_epochs: float,
    seed: int,
    place: Place,
) -> Training:
    """The training of a method on one task (in epochs) or on several (by task sampling), with selection on dev.

    The dev metric of several tasks is the mean of their reported metrics.

    Args:
        method: what is trained.
        tasks: in the order of the task ids.
        options: length, schedule, selection.
        mixing: how batches of several tasks are drawn.
        default_epochs: where the options give neither steps nor epochs.
        seed: of the order of the examples and of dropout.
        place: folder, identity, title.
    """
    examples = sum(len(task.train) for task in tasks)
    options = options.in_steps(examples)
    stream = stage_stream(method.backbone, method.prompt_length, tasks, options, mixing, seed, place.name)

    def evaluate() -> float:
        values = [dev_value(method, task.task, task.data.dev, task.dev, task_id) for task_id, task in enumerate(tasks)]
        return sum(values) / len(values)

    return Training(
        method=method,
        stream=stream,
        options=options,
        steps=options.steps_for(examples, default_epochs),
        seed=derive_seed(seed, place.name),
        evaluate=evaluate,
        checkpoint=place.folder / "checkpoint.safetensors" if place.folder else None,
        identity=place.identity,
        log=place.folder / "log.jsonl" if place.folder else None,
        task_names=[task.name for task in tasks],
        mixing=stream.sampler.shares(),
        title=place.title or place.name,
    )
