"""Which stages an experiment consists of. Known before anything runs, and to reports, which run nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from multiprompt.options import (
    AdapterOptions,
    AttemptOptions,
    Experiment,
    FineTuningOptions,
    HyperFormerOptions,
    Methods,
    SourceOptions,
    SpotOptions,
)

Shots = int | Literal["all"]
"""Training examples of a target: all, or so many."""

MULTITASK = {f"multitask_{method}": method for method in ("fine_tuning", "adapters", "hyperformer")}
"""Trainings of a method on several source tasks together, which its targets start from, and the method of each."""

SOURCE_METHODS = ("student", "teacher", "mixture", "attention", *MULTITASK)
"""What the stages on source tasks train; see ``PlannedStage.method``. All other methods are those of target tasks."""

GROUPED = ("mpt", "fine_tuning", "attempt", "adapters", "hyperformer", "hyperdecoder")
"""Methods that can share something among the tasks of a group; the others adapt to one task at a time."""


JOINED = ("teacher", "attention", "mpt", "prompt_tuning", "spot", "attempt", "dept", "decomposed_prompt_tuning")
"""What stages train that can go through the backbone together: all that they add is in front of its inputs."""

PROMPTED = (*JOINED, "student", "mixture")
"""What stages train that puts a prompt before the source."""


@dataclass(frozen=True)
class PlannedStage:
    """One training and the evaluation after it.

    Attributes:
        kind: what is done.
        tasks: the task that it trains on, or all source tasks, or a group of target tasks.
        method: "teacher"; "student" (multitask prompt tuning), "mixture" (one prompt for SPoT), "attention"
            (ATTEMPT's network) or one of ``MULTITASK`` for a source stage; or the method that adapts to a target.
        shots: training examples of a target.
        needs: names of the stages that it starts from.
        draw: which draw of the training examples, from 0.
    """

    kind: Literal["teacher", "source", "target"]
    tasks: tuple[str, ...]
    method: str
    shots: Shots = "all"
    needs: tuple[str, ...] = ()
    draw: int = 0

    @property
    def name(self) -> str:
        """Name of its folder."""
        if self.kind == "source":
            return "source" if self.method == "student" else f"source-{self.method}"
        if self.kind == "teacher":
            return f"teacher-{self.tasks[0]}"
        tasks = self.tasks[0] if len(self.tasks) == 1 else "group"
        draw = f"-draw{self.draw}" if self.draw else ""
        return f"target-{tasks}-{self.method}-{self.shots}{draw}"


def options_of(stage: PlannedStage, methods: Methods) -> Any:
    """The options of what a stage builds: those of its method, or of the method that a source stage is for."""
    return methods.chosen()[({"attention": "attempt"} | MULTITASK).get(stage.method, stage.method)]


def _needs(method: str, options: Any, source: SourceOptions | None) -> tuple[str, ...]:
    """Stages that a method starts from."""
    teachers = tuple(f"teacher-{task}" for task in source.tasks) if source else ()
    match method, options:
        case "mpt", _:
            return ("source",)
        case "spot", SpotOptions(start="mixture"):
            return ("source-mixture",)
        case "spot", SpotOptions(start="retrieved" | "weighted"):
            return teachers
        case "spot", _:
            return (f"teacher-{options.start}",)
        case "attempt", AttemptOptions(pretrained=True):
            return (*teachers, "source-attention")
        case "attempt", _:
            return teachers
        case _, FineTuningOptions() | AdapterOptions() | HyperFormerOptions() if options.source_tasks:
            return (f"source-multitask_{method}",)
    return ()


def plan_stages(experiment: Experiment) -> list[PlannedStage]:
    """The stages of every seed, in order. What no later stage needs is left out, but for the source training."""
    source, targets = experiment.source, experiment.targets
    chosen = targets.methods.chosen() if targets else {}
    needs = {method: _needs(method, options, source) for method, options in chosen.items()}
    wanted = {name for names in needs.values() for name in names}
    stages = []
    if source is not None:
        teachers = [PlannedStage("teacher", (task,), "teacher") for task in source.tasks]
        distilled = source.distillation.kind != "none"
        stages += [stage for stage in teachers if distilled or stage.name in wanted]
        names = tuple(stage.name for stage in teachers)
        stages.append(PlannedStage("source", source.tasks, "student", needs=names if distilled else ()))
        if "source-mixture" in wanted:
            stages.append(PlannedStage("source", source.tasks, "mixture"))
        if "source-attention" in wanted:
            stages.append(PlannedStage("source", source.tasks, "attention", needs=names))
        for name, method in MULTITASK.items():
            if f"source-{name}" in wanted:
                stages.append(PlannedStage("source", chosen[method].source_tasks, name))
    if targets is not None:
        # Draw by draw: whatever is finished of a run, its methods have had the same examples.
        repeats = [(k, draw) for k in targets.shots for draw in range(1 if k == "all" else targets.draws)]
        for shots, draw in repeats:
            for method in chosen:
                together = targets.group and method in GROUPED
                groups = [targets.tasks] if together else [(task,) for task in targets.tasks]
                stages += [PlannedStage("target", group, method, shots, needs[method], draw) for group in groups]
    return stages
