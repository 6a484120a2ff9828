"""Which stages an experiment consists of. Known before anything runs, and to reports, which run nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from multiprompt.options import Experiment, Methods, Needs, SourceOptions, method_record, method_records

Shots = int | Literal["all"]
"""Training examples of a target: all, or so many."""


EARLY = "-early"
"""How the names of early stages end."""


@dataclass(frozen=True)
class PlannedStage:
    """One training and, but for an early one, the evaluation after it.

    Attributes:
        kind: what is done; "early" is the short training of a target's own prompt before a method that looks at it.
        tasks: the task that it trains on, or all source tasks, or a group of target tasks.
        method: "teacher"; "student" (multitask prompt tuning), "mixture" (one prompt of all source tasks) or a method's
            own training on source tasks (``MethodRecord.first``) for a source stage; "early"; or the method that adapts
            to a target.
        shots: training examples of a target.
        needs: names of the stages that it starts from.
        draw: which draw of the training examples, from 0.
        of: the method that an early stage or a method's own training on source tasks comes before; empty for others.
    """

    kind: Literal["teacher", "source", "early", "target"]
    tasks: tuple[str, ...]
    method: str
    shots: Shots = "all"
    needs: tuple[str, ...] = ()
    draw: int = 0
    of: str = ""

    @property
    def name(self) -> str:
        """Name of its folder."""
        if self.kind == "source":
            return "source" if self.method == "student" else f"source-{self.method}"
        if self.kind == "teacher":
            return f"teacher-{self.tasks[0]}"
        tasks = self.tasks[0] if len(self.tasks) == 1 else "group"
        draw = f"-draw{self.draw}" if self.draw else ""
        if self.kind == "early":
            return early_name(f"target-{tasks}-{self.of}-{self.shots}{draw}")
        return f"target-{tasks}-{self.method}-{self.shots}{draw}"

    @property
    def scored(self) -> bool:
        """Whether it is evaluated: on dev rows while it trains, and on test rows after it."""
        return self.kind != "early"


def early_name(target: str) -> str:
    """Name of the early stage that comes before the target stage of this name."""
    return f"{target}{EARLY}"


def joins(trained: str) -> bool:
    """Whether a stage can go through the backbone together with others: all that it adds is in front of the inputs.

    Args:
        trained: see ``PlannedStage.method``.
    """
    before_inputs = (record for record in method_records() if record.before_inputs)
    return trained in ("teacher", "early") or any(trained in (each.name, each.first) for each in before_inputs)


def is_prompt(trained: str) -> bool:
    """Whether what a stage trains is in front of the inputs; see ``PlannedStage.method``."""
    return trained in ("student", "mixture") or joins(trained)


def source_methods() -> tuple[str, ...]:
    """What the stages on source tasks train; see ``PlannedStage.method``."""
    firsts = sorted(
        (record for record in method_records() if record.first), key=lambda record: not record.before_inputs
    )
    return ("student", "teacher", "mixture", *(record.first for record in firsts))


def options_of(stage: PlannedStage, methods: Methods) -> Any:
    """The options of what a stage builds: those of its method, or of the method that it comes before."""
    return methods[stage.of or stage.method]


def plan_stages(experiment: Experiment) -> list[PlannedStage]:
    """The stages of every seed, in order. What no later stage needs is left out, but for the source training."""
    source, targets = experiment.source, experiment.targets
    chosen = targets.methods.chosen() if targets else {}
    source_tasks = source.tasks if source else ()
    needs = {method: method_record(method).needs(options, source_tasks) for method, options in chosen.items()}
    stages = list(_source_stages(source, needs)) if source else []
    if targets is not None:
        # Draw by draw: whatever is finished of a run, its methods have had the same examples.
        repeats = [(k, draw) for k in targets.shots for draw in range(1 if k == "all" else targets.draws)]
        for shots, draw in repeats:
            for method, needed in needs.items():
                together = targets.group and method_record(method).grouped
                groups = [targets.tasks] if together else [(task,) for task in targets.tasks]
                before = _names(method, needed, source_tasks)
                for group in groups:
                    stage = PlannedStage("target", group, method, shots, before, draw)
                    if needed.early_steps:
                        early = PlannedStage("early", group, "early", shots, (), draw, method)
                        stages.append(early)
                        stage = PlannedStage("target", group, method, shots, (*before, early.name), draw)
                    stages.append(stage)
    return stages


def _source_stages(source: SourceOptions, needs: dict[str, Needs]) -> Iterator[PlannedStage]:
    """The teachers that are needed, the source training, and what methods train on source tasks beside it."""
    distilled = source.distillation.kind != "none"
    wanted = {name for needed in needs.values() for name in _teachers(needed, source.tasks)}
    teachers = [PlannedStage("teacher", (task,), "teacher") for task in source.tasks]
    yield from (stage for stage in teachers if distilled or stage.name in wanted)
    student = tuple(stage.name for stage in teachers) if distilled else ()
    yield PlannedStage("source", source.tasks, "student", needs=student)
    if any(needed.mixture for needed in needs.values()):
        yield PlannedStage("source", source.tasks, "mixture")
    firsts = [(method, needed) for method, needed in needs.items() if needed.first]
    for method, needed in sorted(firsts, key=lambda pair: pair[1].first != "all"):
        tasks = source.tasks if needed.first == "all" else needed.first
        before = _teachers(needed, source.tasks)
        yield PlannedStage("source", tasks, method_record(method).first, needs=before, of=method)


def _teachers(needed: Needs, source_tasks: tuple[str, ...]) -> tuple[str, ...]:
    tasks = source_tasks if needed.teachers == "all" else needed.teachers
    return tuple(PlannedStage("teacher", (task,), "teacher").name for task in tasks)


def _names(method: str, needed: Needs, source_tasks: tuple[str, ...]) -> tuple[str, ...]:
    """The stages on source tasks that a method starts from, by name."""
    first = method_record(method).first
    trained = {"student": needed.student, "mixture": needed.mixture, first: bool(needed.first)}
    others = (PlannedStage("source", (), name).name for name, wanted in trained.items() if wanted)
    return (*_teachers(needed, source_tasks), *others)
