"""Which stages an experiment consists of. Known before anything runs, and to reports, which run nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from multiprompt.options import Experiment

Shots = int | Literal["all"]
"""Training examples of a target: all, or so many."""


@dataclass(frozen=True)
class PlannedStage:
    """One training and the evaluation after it.

    Attributes:
        kind: what is done.
        tasks: the task that it trains on, or all source tasks, or a group of target tasks.
        method: "teacher", "student", or the method that adapts to a target.
        shots: training examples of a target.
    """

    kind: Literal["teacher", "source", "target"]
    tasks: tuple[str, ...]
    method: str
    shots: Shots = "all"

    @property
    def name(self) -> str:
        """Name of its folder."""
        if self.kind == "source":
            return "source"
        if self.kind == "teacher":
            return f"teacher-{self.tasks[0]}"
        tasks = self.tasks[0] if len(self.tasks) == 1 else "group"
        return f"target-{tasks}-{self.method}-{self.shots}"


def plan_stages(experiment: Experiment) -> list[PlannedStage]:
    """The stages of every seed, in order. Teachers are left out where nothing is distilled from them."""
    stages = []
    source, targets = experiment.source, experiment.targets
    if source is not None:
        if source.distillation.kind != "none":
            stages += [PlannedStage("teacher", (task,), "teacher") for task in source.tasks]
        stages.append(PlannedStage("source", source.tasks, "student"))
    if targets is not None:
        for shots in targets.shots:
            for method in targets.methods:
                # A shared prompt is what makes a group; the other methods adapt to one task at a time.
                grouped = targets.group and method == "mpt"
                groups = [targets.tasks] if grouped else [(task,) for task in targets.tasks]
                stages += [PlannedStage("target", group, method, shots) for group in groups]
    return stages
