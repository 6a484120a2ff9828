"""The part of an experiment's options that one of its stages depends on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from multiprompt.config import to_plain
from multiprompt.options import DistillationOptions, Experiment, MixingOptions, TrainingOptions, method_record
from multiprompt.plan import PlannedStage, options_of
from multiprompt.recipes.prepare import PreparedTask
from multiprompt.recipes.source import SOURCE_EPOCHS
from multiprompt.recipes.target import target_epochs
from multiprompt.recipes.teacher import TEACHER_EPOCHS
from multiprompt.tasks import Task


@dataclass(frozen=True)
class StageOptions:
    """What a stage is built and trained with.

    Attributes:
        method: options of the method.
        training: length, schedule, selection; the time between evaluations in steps.
        mixing: how batches of several tasks are drawn.
        default_epochs: where ``training`` gives neither steps nor epochs.
        plain: all options that the stage depends on, as plain values.
    """

    method: Any
    training: TrainingOptions
    mixing: MixingOptions
    default_epochs: float
    plain: dict[str, Any]


def stage_options(
    experiment: Experiment, stage: PlannedStage, tasks: Sequence[Task], sizes: Sequence[int]
) -> StageOptions:
    """The options of a planned stage.

    Args:
        experiment: where they come from.
        stage: one of its stages.
        tasks: of the stage.
        sizes: training examples of each, cut to the shots of the stage; they give the default length.
    """
    training, mixing, epochs = _training(experiment, stage, tasks, sizes)
    in_steps = training.in_steps(sum(sizes))
    prompt = to_plain(experiment.prompt)
    if stage.kind == "teacher":
        plain = {"options": to_plain(experiment.teachers), "prompt": prompt}
        return StageOptions(experiment.teachers, in_steps, mixing, epochs, plain)
    if stage.method in ("student", "mixture"):
        source = experiment.source
        assert source is not None, "a source stage is planned only with its options"
        if stage.method == "mixture":
            source = replace(source, decomposed=False, distillation=DistillationOptions(kind="none"))
        return StageOptions(source, in_steps, mixing, epochs, {"options": to_plain(source), "prompt": prompt})
    targets = experiment.targets
    assert targets is not None, "the stage is planned for a method of targets"
    chosen = options_of(stage, targets.methods)
    if stage.kind == "early":
        depends_on = {"learning_rate": chosen.learning_rate, "training": training, "prompt": experiment.prompt}
    else:
        depends_on = {
            "method": _for_stage(chosen, stage),
            "method_version": method_record(stage.of or stage.method).version,
            "training": training,
            "prompt": experiment.prompt,
            "mixing": mixing,
        }
    if stage.shots != "all":
        depends_on["balanced"] = targets.balanced
    return StageOptions(chosen, in_steps, mixing, epochs, to_plain(depends_on))


def _for_stage(options: Any, stage: PlannedStage) -> Any:
    """The options of a method without what they say of other targets."""
    if not getattr(options, "nearest", None):
        return options
    targets = stage.tasks if stage.kind == "target" else ()
    return replace(options, nearest={task: options.nearest[task] for task in targets if task in options.nearest})


def _training(
    experiment: Experiment, stage: PlannedStage, tasks: Sequence[Task], sizes: Sequence[int]
) -> tuple[TrainingOptions, MixingOptions, float]:
    """How a stage is trained: its options, how batches of several tasks are drawn, and the default number of epochs."""
    if stage.kind == "teacher":
        return experiment.teachers.training, MixingOptions(), TEACHER_EPOCHS
    if stage.kind == "source":
        # ATTEMPT's network too, with a prompt for each source task that is not handed on
        assert experiment.source is not None, "a source stage is planned only with its options"
        return experiment.source.training, experiment.source.mixing, SOURCE_EPOCHS
    targets = experiment.targets
    assert targets is not None, "a target stage is planned only with its options"
    training = targets.training if stage.shots == "all" else targets.few_shot_training
    if stage.kind == "early":
        options = options_of(stage, targets.methods)
        needs = method_record(stage.of).needs(options, experiment.source.tasks if experiment.source else ())
        return training.without_dev(needs.early_steps), MixingOptions(), 1
    return training, targets.mixing, target_epochs(tasks, sizes)


def options_for(experiment: Experiment, stage: PlannedStage, tasks: Sequence[PreparedTask]) -> StageOptions:
    """``stage_options`` of loaded tasks, which are cut to the shots of the stage."""
    return stage_options(experiment, stage, [task.task for task in tasks], [len(task.train) for task in tasks])
