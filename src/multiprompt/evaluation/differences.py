"""How much two methods differ on the same seeds, draws and tasks. No torch: reports and studies read these."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from multiprompt.evaluation.results import Score
from multiprompt.evaluation.summaries import Repeat, mean_and_deviation
from multiprompt.plan import SOURCE_METHODS, Shots

Repeats = Literal["seeds", "draws"]
"""What independent values are of: the seeds, or the draws of a single one."""

_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
"""97.5 % points of Student's t for 1, 2, ... degrees of freedom."""


@dataclass(frozen=True)
class Difference:
    """A paired difference: the same seeds, draws and tasks on both sides.

    Attributes:
        values: for every seed the mean over its draws and over the tasks; for every draw where there is one seed.
        mean: of the values.
        interval: 95 % interval of the mean by Student's t; None for a single value. Draws of one seed share its source
            prompt, so an interval over draws does not cover other seeds.
        what: "seeds" or "draws".
    """

    values: tuple[float, ...]
    mean: float
    interval: tuple[float, float] | None
    what: Repeats

    @property
    def over(self) -> str:
        """What it is over, in words: "3 seeds", "20 draws"; a single value is of one training of each side."""
        return f"{len(self.values)} {self.what}" if len(self.values) > 1 else "1 training"

    @property
    def verdict(self) -> Literal["holds", "does not hold", "open"]:
        """Whether the difference is above zero."""
        if self.interval is None:
            return "open"
        return "holds" if self.interval[0] > 0 else "does not hold" if self.interval[1] < 0 else "open"


def paired_difference(one: Mapping[Repeat, float], other: Mapping[Repeat, float]) -> Difference | None:
    """How much higher the first values are than the second ones.

    Args:
        one: a value for every repeat.
        other: the same for what it is compared with.

    Returns:
        Over the repeats that both have; None if there are none.
    """
    shared = sorted(one.keys() & other.keys())
    if not shared:
        return None
    values, what = independent_values({repeat: one[repeat] - other[repeat] for repeat in shared})
    mean, deviation = mean_and_deviation(values)
    half = None if deviation is None else half_width(deviation, len(values))
    interval = None if half is None else (mean - half, mean + half)
    return Difference(values, mean, interval, what)


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
        if score.method not in SOURCE_METHODS:
            tasks = groups.setdefault((score.shots, score.method), {})
            tasks.setdefault(score.task, {})[score.seed, score.draw] = score
    found = (
        _comparison(method, other, shots, groups[shots, method], theirs)
        for (shots, other), theirs in groups.items()
        if other != method and (shots, method) in groups
    )
    return [comparison for comparison in found if comparison]


_ByTask = Mapping[str, Mapping[Repeat, Score]]


def _comparison(method: str, other: str, shots: Shots, ours: _ByTask, theirs: _ByTask) -> Comparison | None:
    tasks = tuple(task for task in ours if task in theirs)
    if not tasks:
        return None
    every = [side[task].keys() for side in (ours, theirs) for task in tasks]
    repeats = sorted(set(every[0]).intersection(*every[1:]))
    one, two = ({r: statistics.fmean(side[t][r].value for t in tasks) for r in repeats} for side in (ours, theirs))
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
        mean=statistics.fmean(independent_values(one)[0]),
        other_mean=statistics.fmean(independent_values(two)[0]),
        difference=difference,
    )


def means_by_seed(of_repeat: Mapping[Repeat, float]) -> dict[int, float]:
    """Means over the draws: draws of a seed share its source prompt, so the seed is what repeats."""
    groups: dict[int, list[float]] = {}
    for (seed, _), value in of_repeat.items():
        groups.setdefault(seed, []).append(value)
    return {seed: statistics.fmean(values) for seed, values in sorted(groups.items())}


def independent_values(of_repeat: Mapping[Repeat, float]) -> tuple[tuple[float, ...], Repeats]:
    """What a deviation is over: the means of the seeds, or the draws of a single one."""
    by_seed = means_by_seed(of_repeat)
    return (tuple(by_seed.values()), "seeds") if len(by_seed) > 1 else (tuple(of_repeat.values()), "draws")


def half_width(deviation: float, count: int) -> float:
    """Half of the 95 % interval of a mean of so many values, by Student's t."""
    return t_quantile(count - 1) * deviation / math.sqrt(count)


def t_quantile(freedom: int) -> float:
    """The 97.5 % point of Student's t; beyond the table that of the normal distribution with Fisher's correction."""
    if freedom <= len(_T):
        return _T[freedom - 1]
    z = statistics.NormalDist().inv_cdf(0.975)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
