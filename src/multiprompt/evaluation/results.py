"""The record of a score, and how sure it is. No torch: reports read these."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
from jaxtyping import Float

from multiprompt.errors import CheckpointError
from multiprompt.evaluation.clusters import by_cluster, clusters_of
from multiprompt.evaluation.uncertainty import wilson_interval
from multiprompt.files import read_json, write_json
from multiprompt.metrics import Metric, score, statistics_of
from multiprompt.metrics.classification import mean_value
from multiprompt.options import Experiment, Selection, TrainingOptions
from multiprompt.plan import Shots, source_methods

RESULT_VERSION = 1
"""Raised when a field changes its meaning."""

OWN_DRAWS = 200
"""Resampled test sets for the interval of a metric of the user's own, each of which is a call of their function."""

_WEIGHTS_IN_MEMORY = 4_000_000
"""Most bootstrap weights held at once (32 MB)."""


@dataclass(frozen=True)
class AnswerFile:
    """Where the answers behind a score are.

    Attributes:
        path: a file of predictions.
        labels: words of the task, None for open answers.
    """

    path: Path
    labels: tuple[str, ...] | None


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
        majority: value of the constant answer that is best on all training rows; in records of earlier releases, of the
            most frequent training answer.
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
        draw: which draw of the training examples, from 0.
        selection: how the tensors were chosen; None in a record of a release that did not keep it, see
            ``with_selection``.
        intervals: the same as ``interval`` for every metric of the task; empty in a record of a release that did not
            keep them.
        unended: share (0 to 1) of outputs without an end-of-sequence token, which ended at the generation limit; None
            in a record of a release that did not count them.
        shortcut: value of a rule on words, without a model; None for a task without such a rule.
        answers: where its answers are, for scores that were read from a run folder; no part of the record.
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
    draw: int = 0
    selection: Selection | None = None
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    unended: float | None = None
    shortcut: float | None = None
    answers: AnswerFile | None = field(default=None, compare=False, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        values = {name: getattr(self, name) for name in _RECORDED}
        plain = {
            "metrics": dict(self.metrics),
            "interval": list(self.interval),
            "notes": list(self.notes),
            "intervals": {name: list(interval) for name, interval in self.intervals.items()},
        }
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
        values = _LATER | {name: value for name, value in record.items() if name != "version"}
        missing = [name for name in _RECORDED if name not in values]
        unknown = [name for name in values if name not in _RECORDED]
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
        intervals = {name: (first, last) for name, (first, last) in values["intervals"].items()}
        return Score(**values | {"interval": (low, high), "notes": tuple(values["notes"]), "intervals": intervals})


_RECORDED = tuple(field.name for field in dataclasses.fields(Score) if field.name != "answers")

_LATER: dict[str, Any] = {"draw": 0, "selection": None, "intervals": {}, "unended": None, "shortcut": None}
"""Fields that records of earlier releases of this version do not have, and what their absence means."""

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
    "draw": (int,),
    "selection": (str, type(None)),
    "intervals": (dict,),
    "unended": (int, float, type(None)),
    "shortcut": (int, float, type(None)),
}


def _is_a(name: str, value: Any, kinds: tuple[type, ...]) -> bool:
    if not isinstance(value, kinds) or isinstance(value, bool):
        return False
    return _fits(name, value)


def _fits(name: str, value: Any) -> bool:
    if name == "interval":
        return len(value) == 2 and all(isinstance(bound, _NUMBER) for bound in value)
    if name == "intervals":
        return all(isinstance(entry, list) and _fits("interval", entry) for entry in value.values())
    if name == "shots":
        return value == "all" or isinstance(value, int)
    if name == "selection":
        return value is None or value in get_args(Selection)
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


def with_selection(score: Score, experiment: Experiment) -> Score:
    """A score that says how its tensors were chosen; for a record that does not, the options of its run do."""
    if score.selection is not None:
        return score
    source, targets = experiment.source, experiment.targets
    training: TrainingOptions | None = None
    if score.method == "teacher":
        training = experiment.teachers.training
    elif score.method in source_methods():
        training = source.training if source else None
    elif targets is not None:
        training = targets.training if score.shots == "all" else targets.few_shot_training
    return score if training is None else dataclasses.replace(score, selection=training.selection(score.steps))


def value_and_interval(
    metric: Metric,
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    labels: tuple[str, ...] | None,
    groups: Sequence[str] | None,
    clusters: Sequence[str | None] | None = None,
) -> tuple[float, tuple[float, float]]:
    """The value of a metric and its bootstrap 95 % interval; Wilson's for an accuracy whose rows are all alike.

    Args:
        metric: of the package or of the user's own.
        predictions: one for each example.
        references: the right texts of each example.
        labels: words of the task, None for open answers.
        groups: of the examples, for a metric that judges them in groups.
        clusters: what examples share, such as a passage: they are drawn together; None for an example of its own.

    Raises:
        ConfigError: the metric does not fit the task, or a function of the user's own fails.
    """
    if metric.function is None:
        rows = statistics_of(metric, predictions, references, labels, groups)
        value = float(metric.value(rows.sum(axis=0)))
        together = by_cluster(rows, clusters_of(clusters or [None] * len(rows)))
        interval = bootstrap_interval(metric, together)
        low, high = metric.range
        if metric.value is mean_value and interval[0] == interval[1]:
            # No draw of rows that are all right has a wrong one, however few there are.
            first, last = wilson_interval((value - low) / (high - low), len(together))
            interval = low + (high - low) * first, low + (high - low) * last
        return value, interval
    value = score(metric, predictions, references)
    generator = np.random.default_rng(0)
    values = []
    for _ in range(OWN_DRAWS):
        drawn = generator.integers(len(predictions), size=len(predictions)).tolist()
        values.append(metric.function([predictions[i] for i in drawn], [references[i] for i in drawn]))
    low, high = np.percentile(values, [2.5, 97.5])
    return value, (float(low), float(high))


def bootstrap_interval(
    metric: Metric, statistics: Float[np.ndarray, "n m"], seed: int = 0, draws: int = 1000
) -> tuple[float, float]:
    """Percentile bootstrap over examples: the 2.5 and 97.5 percentiles of the metric on resampled test sets.

    A resampled test set is a row of multinomial weights, so the sums of all of them are one matrix product. Where rows
    belong to clusters, the sums of a cluster are one example (``clusters.by_cluster``). The statistics of a group of
    examples stand in the row of its first member: drawing rows draws whole groups, and rows of zeros.

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
