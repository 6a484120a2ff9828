"""What a study costs on a GPU, by arithmetic alone: no data, no model, no network.

The formula, with the operations that a published model takes for one example (``PublishedModel.operations``):

    training = 2 forward with frozen weights (forward, and back through the activations)
             = 3 forward with trained weights
             + 1 forward for the teacher of distillation
    answers  = 1 forward

times the number of examples. Every source counts with the limit of its task, which is an upper bound: most examples
are shorter. GPU-hours are operations / (peak x share of it that is reached).
"""

from __future__ import annotations

from dataclasses import dataclass

from multiprompt.backbone.published import PublishedModel, published_model
from multiprompt.config import to_plain
from multiprompt.errors import ConfigError
from multiprompt.options import Experiment, record_of_stage
from multiprompt.plan import PlannedStage, plan_stages
from multiprompt.recipes.prepare import choose_task
from multiprompt.runs.graph import digest
from multiprompt.runs.stage_options import stage_options
from multiprompt.tasks import Task

PEAK = 312e12
"""Operations per second of an A100 with bfloat16 products, as its maker states them."""

REACHED = 0.35
"""Share of the peak that training is assumed to reach; measured nowhere."""

ANSWER_TOKENS = 16
"""Target tokens of an example, prompt methods' tasks being short answers; tasks of generation have their own limit."""


@dataclass(frozen=True)
class StageCost:
    """One stage of one seed.

    Attributes:
        stage: of the plan.
        signature: what the stage is made from, its seed left out; stages of equal signature are done once.
        steps: optimiser steps.
        examples: of a step.
        operations: of training and evaluation; None for a backbone that is none of the published ones.
    """

    stage: PlannedStage
    signature: str
    steps: int
    examples: int
    operations: float | None

    @property
    def hours(self) -> float | None:
        """On one GPU."""
        return None if self.operations is None else self.operations / (PEAK * REACHED) / 3600


def costs_of(experiment: Experiment) -> list[StageCost]:
    """The stages of one seed with their costs.

    Raises:
        ConfigError: the size of a task is not known.
    """
    model = published_model(experiment.backbone.name)
    signatures: dict[str, str] = {}
    costs = []
    for stage in plan_stages(experiment):
        tasks = [choose_task(name, experiment.data, experiment.tasks)[0] for name in stage.tasks]
        sizes = [_sizes(task, experiment) for task in tasks]
        seen = [size["train"] if stage.shots == "all" else stage.shots for size in sizes]
        options = stage_options(experiment, stage, tasks, seen)
        needs = [signatures[name] for name in stage.needs]
        made_from = [
            stage.name,
            stage.tasks,
            options.plain,
            to_plain(experiment.backbone),
            to_plain(experiment.data),
            needs,
        ]
        signatures[stage.name] = digest(made_from)
        steps = options.training.steps_for(sum(seen), options.default_epochs)
        examples = min(options.training.batch_size, sum(seen))
        operations = None
        if model is not None:
            forwards = [_forward(model, task, experiment) for task in tasks]
            average = sum(n * forward for n, forward in zip(seen, forwards, strict=True)) / sum(seen)
            operations = steps * examples * average * _passes(experiment, stage)
            evaluations = options.training.evaluations(steps)
            for size, forward in zip(sizes, forwards, strict=True) if stage.scored else ():
                operations += forward * (evaluations * size["dev"] + size["test"])
        costs.append(StageCost(stage, signatures[stage.name], steps, examples, operations))
    return costs


def _passes(experiment: Experiment, stage: PlannedStage) -> float:
    """Forward passes that a training example costs."""
    record = record_of_stage(stage.method)
    if record is not None and record.moves_backbone:
        return 3.0
    distils = experiment.source is not None and experiment.source.distillation.kind in ("full", "no_hidden")
    return 3.0 if stage.method == "student" and distils else 2.0


def _sizes(task: Task, experiment: Experiment) -> dict[str, int]:
    sizes = task.sizes()
    if not {"train", "dev", "test"} <= sizes.keys():
        raise ConfigError(f"the size of task {task.name!r} is not known, so its cost is not")
    limits = {"train": experiment.data.max_train, "dev": experiment.data.max_dev, "test": experiment.data.max_test}
    return {split: min(sizes[split], limit or sizes[split]) for split, limit in limits.items()}


def _forward(model: PublishedModel, task: Task, experiment: Experiment) -> float:
    """Operations of one example."""
    source = (experiment.data.max_source_length or task.max_source_length) + experiment.prompt.length
    return model.operations(source, task.generation_length if task.family == "generation" else ANSWER_TOKENS)
