"""The record of a score, how sure it is, and what several seeds say together. No torch: reports read these."""

from __future__ import annotations

import dataclasses
import statistics as statistics_of
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from multiprompt.errors import CheckpointError
from multiprompt.files import read_json, write_json
from multiprompt.metrics import Metric

RESULT_VERSION = 1
"""Raised when a field changes its meaning."""

Shots = int | Literal["all"]

_WEIGHTS_IN_MEMORY = 4_000_000
"""Most bootstrap weights held at once (32 MB)."""


@dataclass(frozen=True)
class Score:
    """One method, trained with one seed and evaluated on the test examples of one task.

    Attributes:
        task: name of the task.
        method: "mpt", "prompt_tuning", "fine_tuning", "teacher" or "student".
        seed: of the training.
        shots: training examples, or "all".
        metric: the reported metric.
        value: its value, on the scale of the study (x100).
        metrics: every metric of the task.
        n: test examples.
        majority: value of a constant answer, the most frequent one in training.
        invalid: share (0 to 1) of outputs that are no answer of the task.
        interval: bootstrap 95 % interval of the value over the test examples.
        parameters: trained numbers per task.
        steps: optimiser steps.
        best_step: the step whose tensors were kept.
        dev_value: the reported metric on the dev examples; None without an evaluation.
        seconds: training time.
        examples_per_second: training speed.
        truncated: share (0 to 1) of test sources cut at the limit.
        task_version: version of the task's texts.
        fingerprint: of the task's rows.
        notes: what a reader should know about the data.
    """

    task: str
    method: str
    seed: int
    shots: Shots
    metric: str
    value: float
    metrics: Mapping[str, float]
    n: int
    majority: float
    invalid: float
    interval: tuple[float, float]
    parameters: int
    steps: int
    best_step: int
    dev_value: float | None
    seconds: float
    examples_per_second: float
    truncated: float
    task_version: int
    fingerprint: str
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain = {"metrics": dict(self.metrics), "interval": list(self.interval), "notes": list(self.notes)}
        return {"version": RESULT_VERSION} | values | plain

    @staticmethod
    def from_json(record: Mapping[str, Any], where: str = "a score") -> Score:
        """The inverse of ``to_json``.

        Args:
            record: the plain values.
            where: the file, for errors.

        Raises:
            CheckpointError: another version, or a field is missing, unknown or of another kind.
        """
        _check_version(record, where)
        values = {name: value for name, value in record.items() if name != "version"}
        names = [field.name for field in dataclasses.fields(Score)]
        missing = [name for name in names if name not in values]
        unknown = [name for name in values if name not in names]
        if missing or unknown:
            raise CheckpointError(
                f"{where} is not a score record: missing {', '.join(missing) or 'nothing'}, unknown "
                f"{', '.join(unknown) or 'nothing'}"
            )
        wrong = [name for name, kinds in _KINDS.items() if not _is_a(name, values[name], kinds)]
        if wrong:
            shown = ", ".join(f"{name} is {values[name]!r}" for name in wrong)
            raise CheckpointError(f"{where} is damaged: {shown}")
        low, high = values["interval"]
        return Score(**values | {"interval": (low, high), "notes": tuple(values["notes"])})


_NUMBER = (int, float)
_KINDS: dict[str, tuple[type, ...]] = {
    "task": (str,),
    "method": (str,),
    "seed": (int,),
    "shots": (int, str),
    "metric": (str,),
    "value": _NUMBER,
    "metrics": (dict,),
    "n": (int,),
    "majority": _NUMBER,
    "invalid": _NUMBER,
    "interval": (list,),
    "parameters": (int,),
    "steps": (int,),
    "best_step": (int,),
    "dev_value": (int, float, type(None)),
    "seconds": _NUMBER,
    "examples_per_second": _NUMBER,
    "truncated": _NUMBER,
    "task_version": (int,),
    "fingerprint": (str,),
    "notes": (list,),
}


def _is_a(name: str, value: Any, kinds: tuple[type, ...]) -> bool:
    if not isinstance(value, kinds) or isinstance(value, bool):
        return False
    return _fits(name, value)


def _fits(name: str, value: Any) -> bool:
    if name == "interval":
        return len(value) == 2 and all(isinstance(bound, _NUMBER) for bound in value)
    if name == "shots":
        return value == "all" or isinstance(value, int)
    if name == "metrics":
        return all(isinstance(entry, _NUMBER) for entry in value.values())
    return name != "notes" or all(isinstance(note, str) for note in value)


def _check_version(record: Any, where: str) -> None:
    if not isinstance(record, Mapping) or "version" not in record:
        raise CheckpointError(f"{where} is not a record of results: it has no version")
    if record["version"] != RESULT_VERSION:
        raise CheckpointError(f"{where} has version {record['version']!r}; this release reads version {RESULT_VERSION}")


def write_results(path: Path, experiment: str, scores: Sequence[Score]) -> None:
    """Write the scores of a run, atomically."""
    plain = [score.to_json() for score in scores]
    write_json(path, {"version": RESULT_VERSION, "experiment": experiment, "scores": plain})


def read_results(path: Path) -> tuple[str, list[Score]]:
    """The experiment's name and the scores of a run.

    Raises:
        CheckpointError: the file is missing, damaged or of another version.
    """
    record = read_json(path)
    _check_version(record, str(path))
    name, plain = record.get("experiment"), record.get("scores")
    if not isinstance(name, str) or not isinstance(plain, list):
        raise CheckpointError(f"{path} is damaged: it needs the name of an experiment and a list of scores")
    return name, [Score.from_json(entry, f"{path}, score {i}") for i, entry in enumerate(plain, start=1)]


def bootstrap_interval(
    metric: Metric, statistics: Float[np.ndarray, "n m"], seed: int = 0, draws: int = 1000
) -> tuple[float, float]:
    """Percentile bootstrap over examples: the 2.5 and 97.5 percentiles of the metric on resampled test sets.

    A resampled test set is a row of multinomial weights, so the sums of all of them are one matrix product. The
    statistics of a group of examples stand in the row of its first member: drawing rows draws whole groups, and rows of
    zeros.

    Args:
        metric: gives a value for sums of statistics.
        statistics: one row per example.
        seed: of the resampling; equal seeds give equal intervals.
        draws: resampled test sets.
    """
    n = len(statistics)
    generator = np.random.default_rng(seed)
    values = []
    at_once = max(1, _WEIGHTS_IN_MEMORY // n)
    for first in range(0, draws, at_once):
        rows = min(at_once, draws - first)
        # Counting n uniform draws gives multinomial weights, many times faster than the generator's multinomial.
        drawn = generator.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
        values.append(metric.value(weights.astype(np.float64) @ statistics))
    low, high = np.percentile(np.concatenate(values), [2.5, 97.5])
    return float(low), float(high)


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
        majority=statistics_of.fmean(score.majority for score in group),
        invalid=statistics_of.fmean(score.invalid for score in group),
        interval=(
            statistics_of.fmean(score.interval[0] for score in group),
            statistics_of.fmean(score.interval[1] for score in group),
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
        complete = {s: statistics_of.fmean(v.values()) for s, v in sorted(by_seed.items()) if len(v) == len(names)}
        if complete:
            mean, deviation = mean_and_deviation(tuple(complete.values()))
            averages.append(Average(method, shots, names, tuple(complete), mean, deviation))
    return averages


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean, and the sample standard deviation (n - 1), which one value does not have."""
    return statistics_of.fmean(values), statistics_of.stdev(values) if len(values) > 1 else None
