"""What the scores of several seeds and draws say together. No torch: reports read these."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from multiprompt.errors import CheckpointError
from multiprompt.evaluation.results import Score
from multiprompt.options import Selection
from multiprompt.plan import Shots

Repeat = tuple[int, int]
"""Seed and draw: trainings that differ in nothing else are repeats of each other."""


@dataclass(frozen=True)
class Summary:
    """What the repeats of one (task, method, shots) say together.

    Attributes:
        task: name of the task.
        method: the method.
        shots: training examples, or "all".
        metric: the reported metric.
        repeats: in ascending order.
        values: its value for every repeat.
        mean: over the repeats.
        deviation: sample standard deviation over the repeats; None for a single one.
        n: test examples.
        majority: value of the constant answer, mean over the repeats.
        invalid: mean share of outputs that are no answer.
        interval: means over the repeats of the lower and of the upper bounds of the bootstrap intervals. It says how
            sure the value of one repeat is given the size of the test set, not how far repeats differ: that is
            ``deviation``. With one repeat it is its own interval.
        parameters: trained numbers per task.
        truncated: largest share of cut test sources.
        selection: how the tensors were chosen; None if a record does not say, or if the repeats differ.
        shortcut: value of a rule on words; None if the task has none, or a record does not say.
    """

    task: str
    method: str
    shots: Shots
    metric: str
    repeats: tuple[Repeat, ...]
    values: tuple[float, ...]
    mean: float
    deviation: float | None
    n: int
    majority: float
    invalid: float
    interval: tuple[float, float]
    parameters: int
    truncated: float
    selection: Selection | None
    shortcut: float | None = None

    @property
    def num_seeds(self) -> int:
        """How many seeds it is over."""
        return len({seed for seed, _ in self.repeats})

    @property
    def num_draws(self) -> int:
        """How many draws of the training examples it is over, of each seed at most."""
        return len({draw for _, draw in self.repeats})


@dataclass(frozen=True)
class Average:
    """Mean over tasks of one (method, shots); the deviation is that of the repeats' own means over the tasks.

    Attributes:
        method: the method.
        shots: training examples, or "all".
        tasks: what the mean is over.
        repeats: those that have a score for each of the tasks.
        mean: over repeats of the means over tasks.
        deviation: sample standard deviation over repeats; None for a single one.
    """

    method: str
    shots: Shots
    tasks: tuple[str, ...]
    repeats: tuple[Repeat, ...]
    mean: float
    deviation: float | None


def summarise(scores: Iterable[Score]) -> list[Summary]:
    """Put the repeats of every (task, method, shots) together, in the order in which these first occur.

    Raises:
        CheckpointError: a repeat occurs twice, or the repeats were evaluated with different metrics or test data.
    """
    groups: dict[tuple[str, str, Shots], list[Score]] = {}
    for score in scores:
        groups.setdefault((score.task, score.method, score.shots), []).append(score)
    return [_summary(sorted(group, key=_repeat)) for group in groups.values()]


def _repeat(score: Score) -> Repeat:
    return score.seed, score.draw


def _summary(group: list[Score]) -> Summary:
    first = group[0]
    repeats = tuple(_repeat(score) for score in group)
    if len(set(repeats)) < len(repeats):
        twice = next(f"seed {seed}, draw {draw}" for seed, draw in repeats if repeats.count((seed, draw)) > 1)
        raise CheckpointError(
            f"{first.method} on {first.task} ({first.shots} examples) has two scores for one repeat: {twice}"
        )
    same = {(score.metric, score.n, score.task_version) for score in group}
    if len(same) > 1:
        raise CheckpointError(
            f"the repeats of {first.method} on {first.task} were not evaluated alike (metric, test examples, task "
            f"version): {sorted(same)}"
        )
    values = tuple(score.value for score in group)
    mean, deviation = mean_and_deviation(values)
    return Summary(
        task=first.task,
        method=first.method,
        shots=first.shots,
        metric=first.metric,
        repeats=repeats,
        values=values,
        mean=mean,
        deviation=deviation,
        n=first.n,
        majority=statistics.fmean(score.majority for score in group),
        invalid=statistics.fmean(score.invalid for score in group),
        interval=(
            statistics.fmean(score.interval[0] for score in group),
            statistics.fmean(score.interval[1] for score in group),
        ),
        parameters=first.parameters,
        truncated=max(score.truncated for score in group),
        selection=first.selection if len({score.selection for score in group}) == 1 else None,
        shortcut=first.shortcut,
    )


def average_over_tasks(scores: Iterable[Score]) -> list[Average]:
    """The mean over tasks of every (method, shots), in the order in which these first occur.

    A repeat counts if it has a score for each task that the method has any score for; without such a repeat there is
    no average.
    """
    groups: dict[tuple[str, Shots], dict[Repeat, dict[str, float]]] = {}
    tasks: dict[tuple[str, Shots], dict[str, None]] = {}
    for score in scores:
        key = (score.method, score.shots)
        groups.setdefault(key, {}).setdefault(_repeat(score), {})[score.task] = score.value
        tasks.setdefault(key, {})[score.task] = None
    averages = []
    for (method, shots), by_repeat in groups.items():
        names = tuple(tasks[method, shots])
        complete = {r: statistics.fmean(v.values()) for r, v in sorted(by_repeat.items()) if len(v) == len(names)}
        if complete:
            mean, deviation = mean_and_deviation(tuple(complete.values()))
            averages.append(Average(method, shots, names, tuple(complete), mean, deviation))
    return averages


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean, and the sample standard deviation (n - 1), which one value does not have."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None
