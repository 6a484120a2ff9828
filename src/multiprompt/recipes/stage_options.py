"""The part of an experiment's options that one of its stages depends on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from multiprompt.config import to_plain
from multiprompt.options import DistillationOptions, Experiment, MixingOptions, TrainingOptions
from multiprompt.plan import PlannedStage, options_of
from multiprompt.recipes.prepare import PreparedTask
from multiprompt.recipes.source import SOURCE_EPOCHS
from multiprompt.recipes.target import target_epochs
from multiprompt.recipes.teacher import TEACHER_EPOCHS


@dataclass(frozen=True)
class StageOptions:
    """What a stage is built and trained with.

    Attributes:
        method: options of the method.
        training: length, schedule, selection.
        mixing: how batches of several tasks are drawn.
        default_epochs: where ``training`` gives neither steps nor epochs.
        plain: all options that the stage depends on, as plain values.
    """

    method: Any
    training: TrainingOptions
    mixing: MixingOptions
    default_epochs: float
    plain: dict[str, Any]


def stage_options(experiment: Experiment, stage: PlannedStage, tasks: Sequence[PreparedTask]) -> StageOptions:
    """The options of a planned stage.

    Args:
        experiment: where they come from.
        stage: one of its stages.
        tasks: of the stage, cut to its shots; their sizes give the default length.
    """
    prompt = to_plain(experiment.prompt)
    if stage.kind == "teacher":
        teachers = experiment.teachers
        plain = {"options": to_plain(teachers), "prompt": prompt}
        return StageOptions(teachers, teachers.training, MixingOptions(), TEACHER_EPOCHS, plain)
    source, targets = experiment.source, experiment.targets
    if stage.method in ("student", "mixture"):
        assert source is not None, "a source stage is planned only with its options"
        if stage.method == "mixture":
            source = replace(source, decomposed=False, distillation=DistillationOptions(kind="none"))
        plain = {"options": to_plain(source), "prompt": prompt}
        return StageOptions(source, source.training, source.mixing, SOURCE_EPOCHS, plain)
    assert targets is not None, "the stage is planned for a method of targets"
    chosen = options_of(stage, targets.methods)
    if stage.method == "attention":
        # ATTEMPT's network, with a prompt for each source task that is not handed on
        assert source is not None, "a source stage is planned only with its options"
        training, mixing, epochs = source.training, source.mixing, float(SOURCE_EPOCHS)
    else:
        training = targets.training if stage.shots == "all" else targets.few_shot_training
        mixing, epochs = targets.mixing, target_epochs(tasks)
    depends_on = {"method": chosen, "training": training, "prompt": experiment.prompt, "mixing": mixing}
    if stage.shots != "all" and not targets.balanced:  # named only where it differs, as before it could be told
        depends_on["balanced"] = False
    return StageOptions(chosen, training, mixing, epochs, to_plain(depends_on))
