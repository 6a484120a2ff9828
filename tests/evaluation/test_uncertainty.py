"""Variances, intervals and tests: against scipy, analysis of variance, and simulated scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from multiprompt.evaluation.clusters import by_cluster, clusters_of, jackknife
from multiprompt.evaluation.results import bootstrap_interval
from multiprompt.evaluation.uncertainty import (
    Spread,
    TaskRows,
    holm,
    spread_of,
    t_quantile,
    two_sided_p,
    wilson_interval,
)
from multiprompt.metrics import ACCURACY, METRICS


@given(st.floats(0.5, 1e5), st.floats(-30, 30), st.floats(0.6, 0.999))
def test_student_is_that_of_scipy(freedom, t, level):
    assert two_sided_p(t, freedom) == pytest.approx(2 * stats.t.sf(abs(t), freedom), rel=1e-8, abs=1e-12)
    assert t_quantile(freedom, level) == pytest.approx(stats.t.ppf(level, freedom), rel=1e-7)


def test_many_degrees_of_freedom_are_the_normal_distribution():
    assert t_quantile(1e9) == pytest.approx(stats.norm.ppf(0.975))


@pytest.mark.parametrize(("right", "count"), [(0, 28), (28, 28), (27, 28), (500, 1000)])
def test_wilson_is_that_of_scipy(right, count):
    expected = stats.binomtest(right, count).proportion_ci(method="wilson")
    assert wilson_interval(right / count, count) == pytest.approx((expected.low, expected.high))


def test_holm():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_equality_is_two_one_sided_tests():
    values = np.array([0.3, -0.2, 0.5, 0.1])
    spread = spread_of(values, None)
    for margin in (0.3, 0.5, 0.7, 0.9):
        above = stats.ttest_1samp(values, -margin, alternative="greater").pvalue
        below = stats.ttest_1samp(values, margin, alternative="less").pvalue
        assert spread.equal_within(values.mean(), margin) == (max(above, below) <= 0.05)


def rows_of(scores: np.ndarray, least: float = 0.0) -> TaskRows:
    """What ``jackknife`` gives for a mean over rows: ``[S, R]``."""
    count = scores.shape[1]
    return TaskRows((scores - scores.mean(1, keepdims=True)) / math.sqrt(count * (count - 1)), count - 1, least)


def test_the_variance_is_that_of_a_crossed_analysis_of_variance():
    generator = np.random.default_rng(3)
    seeds, rows = 4, 30
    scores = generator.normal(size=(seeds, 1)) + generator.normal(size=(1, rows)) + generator.normal(size=(seeds, rows))
    by_seed, by_row, mean = scores.mean(1), scores.mean(0), scores.mean()
    of_seeds = rows * by_seed.var(ddof=1)
    of_rows = seeds * by_row.var(ddof=1)
    rest = scores - by_seed[:, None] - by_row + mean
    of_rest = (rest**2).sum() / ((seeds - 1) * (rows - 1))
    spread = spread_of(by_seed, [rows_of(scores)])
    total = seeds * rows
    assert spread.variance == pytest.approx((of_seeds + of_rows - of_rest) / total)
    parts = of_seeds**2 / (seeds - 1) + (of_rows - of_rest) ** 2 / (rows - 1)
    assert spread.freedom == pytest.approx((of_seeds + of_rows - of_rest) ** 2 / parts)


def test_rows_alone_and_seeds_alone():
    scores = np.array([[1.0, 0.0, 1.0, 1.0, 0.0]] * 3)
    alike = spread_of(scores.mean(1), [rows_of(scores)])
    assert (alike.variance, alike.freedom) == pytest.approx((scores[0].var(ddof=1) / 5, 4)), "not zero"
    single = spread_of(scores[:1].mean(1), [rows_of(scores[:1])])
    assert single.variance == pytest.approx(alike.variance)
    seeds = spread_of([1.0, 2.0, 4.0], None)
    assert (seeds.variance, seeds.freedom) == pytest.approx((stats.sem([1, 2, 4]) ** 2, 2))
    assert seeds.p_value(7 / 3) == pytest.approx(stats.ttest_1samp([1, 2, 4], 0).pvalue)
    assert spread_of([1.0, 1.0], None) is None
    assert spread_of([0.3, 0.1 + 0.2], None) is None, "rounding is no spread"
    assert spread_of([1.0], None) is None


def test_where_nothing_varies_something_is_left_open():
    nothing = rows_of(np.zeros((3, 28)), least=100 / 30)
    spread = spread_of([0.0] * 3, [nothing])
    assert spread.half_width() == pytest.approx(stats.t.ppf(0.975, 27) * 100 / 30)
    both = spread_of([0.0] * 3, [nothing, nothing])
    assert both.variance == pytest.approx(2 * (100 / 30) ** 2)


def test_the_jackknife_of_a_mean_is_its_standard_error_and_that_of_f1_the_bootstrap():
    generator = np.random.default_rng(0)
    right = generator.random(200) < 0.8
    rows = np.stack([right, np.ones(200)], axis=1).astype(float)
    assert np.sum(jackknife(ACCURACY, rows) ** 2) == pytest.approx((100 * stats.sem(right)) ** 2)
    f1 = METRICS["f1"]
    cells = np.eye(4)[generator.choice(4, size=400, p=[0.4, 0.1, 0.2, 0.3])]
    low, high = bootstrap_interval(f1, cells, draws=4000)
    half = stats.norm.ppf(0.975) * math.sqrt(np.sum(jackknife(f1, cells) ** 2))
    assert (high - low) / 2 == pytest.approx(half, rel=0.08)


def test_clusters_are_one_row_each():
    assert clusters_of(["a", None, "a", None, "b"]).tolist() == [0, 1, 0, 2, 3]
    assert clusters_of(["a", "a", "a"]).tolist() == [0, 1, 2], "one cluster is nothing to resample"
    rows = np.stack([np.array([1, 0, 1, 1, 0, 1.0]), np.ones(6)], axis=1)
    one = np.sum(jackknife(ACCURACY, rows) ** 2)
    # every row five times tells no more than once
    repeated = by_cluster(np.repeat(rows, 5, axis=0), clusters_of([str(n // 5) for n in range(30)]))
    assert np.sum(jackknife(ACCURACY, repeated) ** 2) == pytest.approx(one)


SIMULATIONS = 2000
SPREADS = {"dominant": (0.5, 1.0, 1.0), "none": (0.0, 1.0, 1.0), "none, interaction alone": (0.0, 0.0, 1.0)}
"""Standard deviations of seeds, rows and their interaction.

Right and wrong answers with 1.0, 0.3 and 0.3 are covered by 84 to 86 % only: seeds that get nearly all rows right or
nearly none are far from a normal distribution, and three are too few for Student's t. docs/study.md says so.
"""


def coverage(seeds: int, rows: int, spread: str, answers: bool) -> float:
    """Share of intervals that hold the true difference.

    Args:
        seeds: of a simulation.
        rows: of its test set.
        spread: key of ``SPREADS``.
        answers: whether the scores of rows are differences of right (1) and wrong (0) answers of two methods.
    """
    generator = np.random.default_rng(seeds + rows)
    of_seeds, of_rows, of_both = SPREADS[spread]
    true = 0.3
    held = 0
    for _ in range(SIMULATIONS):
        noise = of_seeds * generator.normal(size=(seeds, 1)) + of_rows * generator.normal(size=(1, rows))
        scores = true + noise + of_both * generator.normal(size=(seeds, rows))
        if answers:
            other = 0.5 * of_rows * generator.normal(size=(1, rows)) + of_both * generator.normal(size=(seeds, rows))
            scores = (scores > 0).astype(float) - (other > 0)
        found = spread_of(scores.mean(1), [rows_of(scores, least=1 / (rows + 2))])
        expected = true
        if answers:
            expected = stats.norm.cdf(true / math.sqrt(of_seeds**2 + of_rows**2 + of_both**2)) - 0.5
        held += found.p_value(scores.mean() - expected) >= 0.05
    return held / SIMULATIONS


@pytest.mark.slow
@pytest.mark.parametrize("answers", [False, True])
@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("rows", [28, 1000])
def test_intervals_cover_what_they_say(rows, spread, answers):
    """With seeds that spread most and with seeds that do not spread at all."""
    assert 0.93 <= coverage(3, rows, spread, answers) <= 0.97


def test_an_interval_is_not_narrower_than_that_of_a_part():
    few, many = (1.0, 2.0), (0.9, 500.0)
    both = Spread((few, many))
    satterthwaite = stats.t.ppf(0.975, 1.9**2 / (1 / 2 + 0.81 / 500)) * math.sqrt(1.9)
    assert satterthwaite < stats.t.ppf(0.975, 2) == pytest.approx(both.half_width())
    assert both.p_value(both.half_width()) == pytest.approx(0.05)
