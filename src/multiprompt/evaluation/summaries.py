"""What the scores of several seeds and draws say together. No torch: reports read these."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from multiprompt.errors import CheckpointError
from multiprompt.evaluation.results import Score, Shots


@dataclass(frozen=True)
class Summary:
    """What the seeds of one (task, method, shots) say together.

    Attributes:
        task: name of the task.
        method: the method.
        shots: training examples, or "all".
        metric: the reported metric.
        seeds: in ascending order.
        values: its value for every seed.
        mean: over the seeds.
        deviation: sample standard deviation over the seeds; None for a single seed.
        n: test examples.
        majority: mean over the seeds (a few-shot draw can change the most frequent answer).
        invalid: mean share of outputs that are no answer.
        interval: means over the seeds of the lower and of the upper bounds of the bootstrap intervals. It says how
            sure the value of one run is given the size of the test set, not how far seeds differ: that is
            ``deviation``. With one seed it is that seed's own interval.
        parameters: trained numbers per task.
        truncated: largest share of cut test sources.
    """

    task: str
    method: str
    shots: Shots
    metric: str
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    mean: float
    deviation: float | None
    n: int
    majority: float
    invalid: float
    interval: tuple[float, float]
    parameters: int
    truncated: float


@dataclass(frozen=True)
class Average:
    """Mean over tasks of one (method, shots); the deviation is that of the seeds' own means over the tasks.

    Attributes:
        method: the method.
        shots: training examples, or "all".
        tasks: what the mean is over.
        seeds: those that have a score for each of the tasks.
        mean: over seeds of the means over tasks.
        deviation: sample standard deviation over seeds; None for a single seed.
    """

    method: str
    shots: Shots
    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    mean: float
    deviation: float | None


def summarise(scores: Iterable[Score]) -> list[Summary]:
    """Put the seeds of every (task, method, shots) together, in the order in which these first occur.

    Raises:
        CheckpointError: a seed occurs twice, or the seeds were evaluated with different metrics or test data.
    """
    groups: dict[tuple[str, str, Shots], list[Score]] = {}
    for score in scores:
        groups.setdefault((score.task, score.method, score.shots), []).append(score)
    return [_summary(sorted(group, key=lambda score: score.seed)) for group in groups.values()]


def _summary(group: list[Score]) -> Summary:
    first = group[0]
    seeds = tuple(score.seed for score in group)
    if len(set(seeds)) < len(seeds):
        raise CheckpointError(
            f"{first.method} on {first.task} ({first.shots} examples) has two scores for a seed of {seeds}"
        )
    same = {(score.metric, score.n, score.task_version) for score in group}
    if len(same) > 1:
        raise CheckpointError(
            f"the seeds of {first.method} on {first.task} were not evaluated alike (metric, test examples, task "
            f"version): {sorted(same)}"
        )
    values = tuple(score.value for score in group)
    mean, deviation = mean_and_deviation(values)
    return Summary(
        task=first.task,
        method=first.method,
        shots=first.shots,
        metric=first.metric,
        seeds=seeds,
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
    )


def average_over_tasks(scores: Iterable[Score]) -> list[Average]:
    """The mean over tasks of every (method, shots), in the order in which these first occur.

    A seed counts if it has a score for each task that the method has any score for; without such a seed there is no
    average.
    """
    groups: dict[tuple[str, Shots], dict[int, dict[str, float]]] = {}
    tasks: dict[tuple[str, Shots], dict[str, None]] = {}
    for score in scores:
        key = (score.method, score.shots)
        groups.setdefault(key, {}).setdefault(score.seed, {})[score.task] = score.value
        tasks.setdefault(key, {})[score.task] = None
    averages = []
    for (method, shots), by_seed in groups.items():
        names = tuple(tasks[method, shots])
        complete = {s: statistics.fmean(v.values()) for s, v in sorted(by_seed.items()) if len(v) == len(names)}
        if complete:
            mean, deviation = mean_and_deviation(tuple(complete.values()))
            averages.append(Average(method, shots, names, tuple(complete), mean, deviation))
    return averages


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean, and the sample standard deviation (n - 1), which one value does not have."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None
