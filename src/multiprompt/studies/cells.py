"""From the scores of runs to the cells of a table, and to what differences say."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Literal

from multiprompt.evaluation.differences import (
    Difference,
    half_width,
    independent_values,
    means_by_seed,
    paired_difference,
)
from multiprompt.evaluation.results import Score
from multiprompt.evaluation.summaries import Repeat, mean_and_deviation
from multiprompt.metrics import METRICS
from multiprompt.plan import SOURCE_METHODS
from multiprompt.studies.definition import Choice

PUBLISHED_SEEDS = 3
"""Seeds that a printed standard deviation of the paper is over (section 4.1)."""


@dataclass(frozen=True)
class Measured:
    """A value of ours: of a task, or the mean over several.

    Attributes:
        values: for every seed the mean over its draws and over the tasks.
        mean: over the seeds.
        deviation: sample standard deviation over the seeds; over the draws where one seed has several; None for a
            single value.
        interval: where the true value lies with 95 % confidence: half of its width is the larger one of what the number
            of seeds and what the size of the test sets leaves open.
        n: test examples, of all tasks together.
        repeats: trainings that it is a mean of, for each task.
        majority: value of the constant answer, mean over the tasks; None for a metric that the tasks do not report.
        shortcut: the same of a rule on words; None unless each of the tasks has one.
        invalid: largest share of outputs that are no answer, of any task.
        parameters: trained numbers per task; the largest where they differ.
        metrics: the reported metrics.
        notes: what is known about the data.
    """

    values: Mapping[int, float]
    mean: float
    deviation: float | None
    interval: tuple[float, float]
    n: int
    repeats: int
    majority: float | None
    shortcut: float | None
    invalid: float
    parameters: int
    metrics: tuple[str, ...]
    notes: tuple[str, ...]


def measure(scores: Mapping[str, Sequence[Score]], choice: Choice) -> Measured | None:
    """What the chosen scores say together; None unless each of the tasks has one for the same seeds and draws.

    Args:
        scores: by run.
        choice: with run, method and tasks; all examples unless it says how many.
    """
    chosen = _chosen(scores, choice)
    if chosen is None:
        return None
    tasks = list(chosen.values())
    of_repeat = _means(chosen)
    independent, _ = independent_values(of_repeat)
    mean, deviation = mean_and_deviation(independent)
    every = [score for task in tasks for score in task.values()]
    # Test sets are independent: the half widths of their intervals add up as squares.
    halves = [statistics.fmean((s.interval[1] - s.interval[0]) / 2 for s in task.values()) for task in tasks]
    half = math.hypot(*halves) / len(halves)
    if deviation is not None:
        half = max(half, half_width(deviation, len(independent)))
    majority = statistics.fmean(score.majority for score in every)
    by_rule = [score.shortcut for score in every if score.shortcut is not None]
    firsts = [next(iter(task.values())) for task in tasks]
    return Measured(
        values=means_by_seed(of_repeat),
        mean=mean,
        deviation=deviation,
        interval=(mean - half, mean + half),
        n=sum(score.n for score in firsts),
        repeats=len(of_repeat),
        majority=None if math.isnan(majority) else majority,
        shortcut=statistics.fmean(by_rule) if len(by_rule) == len(every) else None,
        invalid=max(statistics.fmean(score.invalid for score in task.values()) for task in tasks),
        parameters=max(score.parameters for score in every),
        metrics=tuple(dict.fromkeys(score.metric for score in firsts)),
        notes=tuple(dict.fromkeys(note for score in every for note in score.notes)),
    )


def _chosen(scores: Mapping[str, Sequence[Score]], choice: Choice) -> dict[str, dict[Repeat, Score]] | None:
    """For every task its scores by repeat."""
    assert None not in (choice.run, choice.method), f"a cell names its run and method: {choice}"
    assert choice.tasks, f"a cell names its tasks: {choice}"
    shots = "all" if choice.shots is None else choice.shots
    found: dict[str, dict[Repeat, Score]] = {task: {} for task in choice.tasks}
    for score in scores.get(choice.run or "", ()):
        same = score.method == choice.method and (score.shots == shots or score.method in SOURCE_METHODS)
        if same and score.task in found and (choice.metric is None or choice.metric in score.metrics):
            found[score.task][score.seed, score.draw] = _by_metric(score, choice.metric)
    repeats = [set(of_task) for of_task in found.values()]
    if not repeats[0] or any(each != repeats[0] for each in repeats):
        return None
    return {task: dict(sorted(of_task.items())) for task, of_task in found.items()}


def _by_metric(score: Score, metric: str | None) -> Score:
    """A score with another metric of its task as its value. Records of earlier releases have no interval for it."""
    if metric in (None, score.metric):
        return score
    value = score.metrics[metric]
    interval = score.intervals.get(metric, (value, value))
    return replace(score, metric=metric, value=value, interval=interval, majority=math.nan, shortcut=None)


def difference(scores: Mapping[str, Sequence[Score]], better: Choice, worse: Choice) -> Difference | None:
    """How much better one choice is than the other; None unless both have been measured on the same repeats.

    Of a metric of which less is better, such as TER, it is how much less the better choice has.

    A method that was trained once for all draws, or all examples against few, is not paired.
    """
    one, other = (_means(_chosen(scores, side) or {}) for side in (better, worse))
    # Of an error rate the better choice has less.
    sign = 1 if better.metric is None or METRICS[better.metric].higher_is_better else -1
    one, other = ({repeat: sign * value for repeat, value in side.items()} for side in (one, other))
    return paired_difference(one, other)


def _means(tasks: Mapping[str, Mapping[Repeat, Score]]) -> dict[Repeat, float]:
    """For every repeat the mean over the tasks."""
    repeats = next(iter(tasks.values()), {})
    return {repeat: statistics.fmean(task[repeat].value for task in tasks.values()) for repeat in repeats}


@dataclass(frozen=True)
class Published:
    """A value that the paper prints.

    Attributes:
        mean: as printed.
        deviation: the printed one; None where there is none.
    """

    mean: float
    deviation: float | None


@cache
def _paper() -> dict[str, dict[str, dict[str, tuple[float, float | None]]]]:
    record = json.loads(resources.files("multiprompt.studies").joinpath("published.json").read_text(encoding="utf-8"))
    tables: dict[str, dict[str, dict[str, tuple[float, float | None]]]] = {
        table: {row: values["cells"] for row, values in rows.items()} for table, rows in record["tables"].items()
    }
    return tables


def published_value(table: str, row: str, column: str) -> Published | None:
    """What the paper prints in a cell; None for a cell that it does not have."""
    cell = _paper().get(table, {}).get(row, {}).get(column)
    return None if cell is None else Published(*cell)


Verdict = Literal["reproduced", "differs", "not comparable"]


def verdict(ours: Measured, theirs: Published, note: str | None) -> Verdict:
    """Whether the published value lies within our interval, widened by its own uncertainty.

    Args:
        ours: our value.
        theirs: the published one.
        note: why the two are not comparable, if they are not.
    """
    if note is not None:
        return "not comparable"
    half = (ours.interval[1] - ours.interval[0]) / 2
    if theirs.deviation is not None:
        half = math.hypot(half, half_width(theirs.deviation, PUBLISHED_SEEDS))
    return "reproduced" if abs(ours.mean - theirs.mean) <= half else "differs"
