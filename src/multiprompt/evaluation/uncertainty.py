"""How sure a mean over seeds and test rows is, and what many tests say together. No torch: reports read these."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

_NORMAL_FROM = 1e6
"""Degrees of freedom from which Student's t is the normal distribution for us."""

_ROUNDING = 1e-18
"""Variances up to this one are rounding noise of equal values."""

NORMAL_95 = statistics.NormalDist().inv_cdf(0.975)
"""97.5 % point of the normal distribution."""


@dataclass(frozen=True)
class TaskRows:
    """What the test rows of one task do to the values of several trainings.

    Attributes:
        deviations: for every training and every cluster of rows what the cluster adds to the deviation of the value;
            sums of squares are variances, sums of products covariances (see ``evaluation.rows``).
        freedom: degrees of freedom, clusters less one.
        least: the standard deviation that a value has at least, however alike the rows are.
    """

    deviations: Float[np.ndarray, "S K"]
    freedom: int
    least: float


@dataclass(frozen=True)
class Spread:
    """Variance of a mean, as the sum of parts that were estimated apart.

    Attributes:
        parts: variance and degrees of freedom of each; no variance is zero.
    """

    parts: tuple[tuple[float, float], ...]

    @property
    def variance(self) -> float:
        """Of the mean."""
        return sum(variance for variance, _ in self.parts)

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the sum, by Satterthwaite (1946): V² / sum of V_i² / f_i."""
        return self.variance**2 / sum(variance**2 / freedom for variance, freedom in self.parts)

    @property
    def _every(self) -> tuple[tuple[float, float], ...]:
        return ((self.variance, self.freedom), *self.parts)

    def half_width(self, level: float = 0.95) -> float:
        """Half of the interval of this confidence, by Student's t; at least that of each part alone.

        A part of few degrees of freedom is often estimated too small, and then Satterthwaite's formula gives many: with
        two for the seeds and most of the variance theirs, its intervals of 95 % cover 92 %. Not narrower than the seeds
        alone, they cover 94.8 to 95.8 % whatever the parts are.
        """
        return max(t_quantile(freedom, (1 + level) / 2) * math.sqrt(variance) for variance, freedom in self._every)

    def p_value(self, mean: float) -> float:
        """Two-sided p of the hypothesis that the true mean is 0: above 5 % where the 95 % interval holds 0."""
        return max(two_sided_p(mean / math.sqrt(variance), freedom) for variance, freedom in self._every)

    def equal_within(self, mean: float, margin: float, alpha: float = 0.05) -> bool:
        """Whether two one-sided tests (Schuirmann 1987) show that the true mean lies within the margin around 0."""
        return abs(mean) + self.half_width(1 - 2 * alpha) <= margin


def spread_of(values: Sequence[float], tasks: Sequence[TaskRows] | None) -> Spread | None:
    """The variance of a mean over trainings, which were all scored on the same test rows.

    Trainings and rows are crossed: a value is m + a_s + b_r + e_sr, with a seed s and a row r. The mean over S seeds
    and R rows has the variance

        V = V_rows + V_seeds - V_interaction = V_seeds + c,    c = V_rows - V_interaction

    (Cameron, Gelbach and Miller 2011; Owen 2007), where V_seeds, the variance of the seeds' values over S, holds
    seeds and interaction. What the rows do to all seeds alike, c, is the mean covariance between the values of two
    seeds under other rows (Obuchowski and Rockette 1995, with readers for seeds and patients for rows). An estimate
    of c below zero counts as zero. V_seeds, with S - 1 degrees of freedom, and c, with those of the rows (R - 1), are
    the parts of the spread, as in Hillis (2007). With V_rows and V_interaction as parts of their own intervals cover
    too much where interaction dominates, 99 % with 3 seeds and 28 rows.

    Tasks have rows of their own, so their covariances add up.

    Args:
        values: of the trainings, one each.
        tasks: what the rows of every task that a value is a mean of do to it; None where nothing is known of the rows.

    Returns:
        None where nothing can be said: one value and no rows, or no variance at all. A single value has the variance of
        its rows alone.
    """
    count = len(values)
    seeds = statistics.variance(values) / count if count > 1 else 0.0
    parts = [(seeds, count - 1.0)]
    if tasks:
        shared = [_shared(task.deviations) for task in tasks]
        # However alike rows and seeds are here, others need not be.
        least = sum(task.least**2 for task in tasks) - seeds
        rows = max(sum(shared), least, 0.0)
        freedom = float(min(task.freedom for task in tasks))
        if rows == sum(shared) > 0:
            freedom = rows**2 / sum(each**2 / task.freedom for each, task in zip(shared, tasks, strict=True))
        parts.append((rows, freedom))
    parts = [(variance, freedom) for variance, freedom in parts if variance > _ROUNDING]
    return Spread(tuple(parts)) if parts else None


def _shared(deviations: Float[np.ndarray, "S K"]) -> float:
    """Mean covariance between two trainings; of a single one its variance."""
    count, total = len(deviations), deviations.sum(axis=0)
    if count == 1:
        return float(total @ total)
    return float(total @ total - (deviations**2).sum()) / (count * (count - 1))


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927), which has a width at 0 and 1 too.

    Args:
        share: 0 to 1.
        count: what it is a share of.
    """
    z2 = NORMAL_95**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = NORMAL_95 * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values (Holm 1979): those below 5 % are shown together with an error rate of 5 % for all of them."""
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for rank, position in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[position]))
        adjusted[position] = largest
    return adjusted


def two_sided_p(t: float, freedom: float) -> float:
    """Probability that Student's t is as far from 0: the incomplete beta function I_x(f/2, 1/2) at x = f / (f + t²)."""
    if freedom > _NORMAL_FROM:
        return math.erfc(abs(t) / math.sqrt(2))
    return _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t), t * t / (freedom + t * t))


@lru_cache(maxsize=4096)
def t_quantile(freedom: float, level: float = 0.975) -> float:
    """The point of Student's t below which it lies with this probability, above one half; by bisection."""
    low, high = 0.0, 1.0
    while two_sided_p(high, freedom) > 2 * (1 - level):
        low, high = high, 2 * high
    while high - low > 1e-10 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided_p(middle, freedom) > 2 * (1 - level) else (low, middle)
    return high


def _incomplete_beta(a: float, b: float, x: float, rest: float) -> float:
    """Regularised, by its continued fraction (Press et al., Numerical Recipes, 6.4); ``rest`` is 1 - x."""
    if x <= 0 or rest <= 0:
        return float(rest <= 0)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(rest)
    if x > (a + 1) / (a + b + 2):
        return 1 - math.exp(log_front) * _fraction(b, a, rest) / b
    return math.exp(log_front) * _fraction(a, b, x) / a


def _fraction(a: float, b: float, x: float) -> float:
    """By Lentz's method."""
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / (1 + term * d)
            c = 1 + term / c
            value *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return value
