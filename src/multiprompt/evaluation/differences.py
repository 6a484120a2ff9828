"""How much two methods differ on the same seeds, draws, tasks and rows. No torch: reports and studies read these."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from multiprompt.evaluation.results import Score
from multiprompt.evaluation.rows import row_effects
from multiprompt.evaluation.summaries import Repeat
from multiprompt.evaluation.uncertainty import NORMAL_95, Spread, TaskRows, spread_of
from multiprompt.metrics import METRICS
from multiprompt.plan import Shots, source_methods

Repeats = Literal["seeds", "draws"]
"""What independent values are of: the seeds, or the draws of a single one."""

Verdict = Literal["holds", "reversed", "not shown"]
"""Of a finding: above zero, below zero, or neither can be told."""

ALPHA = 0.05
"""Error rate of a test."""

MARGIN = 2.0
"""Points that two values which count as equal differ by at most, on a scale of 100."""

MARGIN_SHARE = 0.05
"""The same on other scales: of the range of the metric, of the value where the range has no end."""

ByTask = Mapping[str, Mapping[Repeat, Score]]
"""Scores of one method, by task and by seed and draw."""


@dataclass(frozen=True)
class Difference:
    """A paired difference: the same seeds, draws, tasks and test rows on both sides.

    Attributes:
        values: for every seed the mean over its draws and over the tasks; for every draw where there is one seed.
        mean: of the values.
        spread: of the mean, over other seeds (draws) and other test rows (see ``uncertainty.spread_of``); None for a
            single value, and where nothing varies. Draws of one seed share its source prompt, so a spread over draws
            does not cover other seeds.
        what: "seeds" or "draws".
        margin: see ``margin_of``.
        covers_rows: whether the spread covers other test rows; it does where both sides have stored their answers.
    """

    values: tuple[float, ...]
    mean: float
    spread: Spread | None
    what: Repeats
    margin: float
    covers_rows: bool

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the mean."""
        if self.spread is None:
            return None
        half = self.spread.half_width()
        return self.mean - half, self.mean + half

    @property
    def p_value(self) -> float:
        """Two-sided p of no difference; 1 where nothing can be told."""
        return 1.0 if self.spread is None else self.spread.p_value(self.mean)

    @property
    def over(self) -> str:
        """In words: "3 seeds, rows", "20 draws alone"; a single value is of one training of each side."""
        if len(self.values) < 2:
            return "1 training"
        return f"{len(self.values)} {self.what}{', rows' if self.covers_rows else ' alone'}"

    @property
    def verdict(self) -> Verdict:
        """Whether the difference is above or below zero, tested alone."""
        return self.verdict_at(self.p_value)

    def verdict_at(self, p_value: float) -> Verdict:
        """The same by a p that may have been adjusted for other tests."""
        if p_value > ALPHA:
            return "not shown"
        return "holds" if self.mean > 0 else "reversed"

    @property
    def equal(self) -> bool:
        """Whether two one-sided tests show that the true difference is smaller than the margin."""
        return self.spread is not None and self.spread.equal_within(self.mean, self.margin)

    @property
    def leaves_open(self) -> float | None:
        """The largest difference, to either side, that lies in the interval."""
        return None if self.interval is None else max(map(abs, self.interval))


def paired_difference(ours: ByTask, theirs: ByTask, sign: int = 1) -> Difference | None:
    """How much higher one side is than the other, in the means over its tasks.

    Args:
        ours: with the same repeats for each of its tasks.
        theirs: the same of what it is compared with.
        sign: -1 for metrics of which less is better.

    Returns:
        Over the repeats that both have; None if there are none.
    """
    repeats = sorted(set(_repeats(ours)) & set(_repeats(theirs)))
    if not repeats:
        return None
    one, other = (means_over_tasks(side, repeats) for side in (ours, theirs))
    values, what = independent_values({repeat: sign * (one[repeat] - other[repeat]) for repeat in repeats})
    rows = rows_of(ours, theirs, repeats)
    spread = spread_of(values, rows) if len(values) > 1 else None
    margin = min(margin_of(task[repeats[0]].metric, task[repeats[0]].value) for task in theirs.values())
    return Difference(values, statistics.fmean(values), spread, what, margin, rows is not None)


def margin_of(metric: str, value: float) -> float:
    """How far apart two values of a metric may be that count as equal, in units of the metric."""
    low, high = METRICS[metric].range if metric in METRICS else (-math.inf, math.inf)
    if math.isinf(high - low):
        return MARGIN_SHARE * abs(value)
    return MARGIN if high - low >= 100 else MARGIN_SHARE * (high - low)


def _repeats(side: ByTask) -> Iterable[Repeat]:
    return next(iter(side.values()), {}).keys()


def means_over_tasks(side: ByTask, repeats: Iterable[Repeat]) -> dict[Repeat, float]:
    """For every repeat the mean over the tasks."""
    return {repeat: statistics.fmean(task[repeat].value for task in side.values()) for repeat in repeats}


def rows_of(ours: ByTask, theirs: ByTask, repeats: Sequence[Repeat]) -> list[TaskRows] | None:
    """What the test rows do to a difference of two means over tasks, or to one mean where the other side has no tasks.

    Returns:
        For every task; None where the answers of a score are not stored, or where those of a task are to other rows.
    """
    found = []
    for task in dict.fromkeys((*ours, *theirs)):
        sides = [(sign / len(side), side[task]) for sign, side in ((1, ours), (-1, theirs)) if task in side]
        of_repeat = {}
        effects = None
        test_sets = set()
        for repeat in repeats:
            of_repeat[repeat] = np.zeros(())
            for weight, scores in sides:
                effects = row_effects(scores[repeat])
                if effects is None:
                    return None
                test_sets.add(effects.test_set)
                if len(test_sets) > 1:
                    return None
                of_repeat[repeat] = of_repeat[repeat] + weight * effects.deviations
        assert effects is not None
        deviations = np.stack([np.mean([of_repeat[r] for r in unit], axis=0) for unit in _units(repeats)])
        count = deviations.shape[1]
        # Rows that are all alike say little of others. Half a row more in each cell of a pair's table (Agresti and Min
        # 2005) gives a difference this deviation; of one value it is that of Wilson's interval.
        least = 1 / (count + 2)
        if len(sides) == 1 and not deviations.any():
            least = NORMAL_95 / (count + NORMAL_95**2)
        found.append(TaskRows(deviations, count - 1, least * effects.width * max(abs(weight) for weight, _ in sides)))
    return found


@dataclass(frozen=True)
class Comparison:
    """Two methods on the tasks that both have, with the same seeds, draws and numbers of examples.

    Attributes:
        method: the one.
        other: what it is compared with.
        shots: training examples, or "all".
        tasks: for which both have scores.
        metrics: the reported metrics of the tasks.
        repeats: for which both have scores of all these tasks.
        mean: of the one method, over the tasks and over the same repeats as the difference.
        other_mean: of the other method.
        difference: the first mean minus the second, paired.
    """

    method: str
    other: str
    shots: Shots
    tasks: tuple[str, ...]
    metrics: tuple[str, ...]
    repeats: tuple[Repeat, ...]
    mean: float
    other_mean: float
    difference: Difference


def compare(scores: Iterable[Score], method: str) -> list[Comparison]:
    """Compare a method on target tasks with every other, for every number of examples, in the order of the scores.

    Only repeats with scores of both methods on all of the common tasks count; without such a repeat two methods are not
    compared.
    """
    groups: dict[tuple[Shots, str], dict[str, dict[Repeat, Score]]] = {}
    for score in scores:
        if score.method not in source_methods():
            tasks = groups.setdefault((score.shots, score.method), {})
            tasks.setdefault(score.task, {})[score.seed, score.draw] = score
    found = (
        _comparison(method, other, shots, groups[shots, method], theirs)
        for (shots, other), theirs in groups.items()
        if other != method and (shots, method) in groups
    )
    return [comparison for comparison in found if comparison]


def _comparison(method: str, other: str, shots: Shots, ours: ByTask, theirs: ByTask) -> Comparison | None:
    tasks = tuple(task for task in ours if task in theirs)
    if not tasks:
        return None
    every = [side[task].keys() for side in (ours, theirs) for task in tasks]
    repeats = sorted(set(every[0]).intersection(*every[1:]))
    one, two = ({t: {r: side[t][r] for r in repeats} for t in tasks} for side in (ours, theirs))
    difference = paired_difference(one, two)
    if difference is None:
        return None
    return Comparison(
        method=method,
        other=other,
        shots=shots,
        tasks=tasks,
        metrics=tuple(dict.fromkeys(ours[task][repeats[0]].metric for task in tasks)),
        repeats=tuple(repeats),
        mean=statistics.fmean(independent_values(means_over_tasks(one, repeats))[0]),
        other_mean=statistics.fmean(independent_values(means_over_tasks(two, repeats))[0]),
        difference=difference,
    )


def _units(repeats: Sequence[Repeat]) -> list[list[Repeat]]:
    """What repeats independently: the seeds with all their draws, or the draws of a single seed."""
    by_seed: dict[int, list[Repeat]] = {}
    for repeat in sorted(repeats):
        by_seed.setdefault(repeat[0], []).append(repeat)
    return list(by_seed.values()) if len(by_seed) > 1 else [[repeat] for repeat in sorted(repeats)]


def means_by_seed(of_repeat: Mapping[Repeat, float]) -> dict[int, float]:
    """Means over the draws: draws of a seed share its source prompt, so the seed is what repeats."""
    seeds = sorted({seed for seed, _ in of_repeat})
    return {seed: statistics.fmean(value for (own, _), value in of_repeat.items() if own == seed) for seed in seeds}


def independent_values(of_repeat: Mapping[Repeat, float]) -> tuple[tuple[float, ...], Repeats]:
    """What a deviation is over: the means of the seeds, or the draws of a single one."""
    units = _units(list(of_repeat))
    values = tuple(statistics.fmean(of_repeat[repeat] for repeat in unit) for unit in units)
    return values, "seeds" if len({seed for seed, _ in of_repeat}) > 1 else "draws"
