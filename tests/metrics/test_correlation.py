"""Correlations against scipy, and outputs that are not numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from multiprompt.errors import DataError
from multiprompt.metrics import PEARSON, SPEARMAN, Metric, parse_number, score

GRID = [f"{step / 5:.1f}" for step in range(26)]


def ours(name: str, outputs: list[str], golds: list[str]) -> float:
    return score(name, outputs, [(gold,) for gold in golds])


@given(pairs=st.lists(st.tuples(st.sampled_from(GRID), st.sampled_from(GRID)), min_size=3, max_size=60))
@settings(max_examples=150)
def test_equal_to_scipy(pairs: list[tuple[str, str]]) -> None:
    outputs, golds = map(list, zip(*pairs, strict=True))
    assume(len(set(outputs)) > 1 and len(set(golds)) > 1)
    x, y = [float(text) for text in outputs], [float(text) for text in golds]
    assert ours("pearson", outputs, golds) == pytest.approx(100 * stats.pearsonr(x, y).statistic, abs=1e-6)
    assert ours("spearman", outputs, golds) == pytest.approx(100 * stats.spearmanr(x, y).statistic, abs=1e-6)


@pytest.mark.parametrize("name", ["pearson", "spearman"])
@pytest.mark.parametrize("rubbish", ["", "abc", "nan", "inf", "-inf", "1e400", "1e200", "3,5", "٣٫٥"])
def test_what_is_not_a_number_counts_as_minus_one(name: str, rubbish: str) -> None:
    golds = ["0.0", "1.2", "5.0", "3.4"]
    outputs = ["0.2", "1.0", "4.8", rubbish]
    assert ours(name, outputs, golds) == ours(name, [*outputs[:3], "-1"], golds)


@pytest.mark.parametrize("name", ["pearson", "spearman"])
@given(
    constant=st.sampled_from([*GRID, "0.1", "0.3", "rubbish"]),
    golds=st.lists(st.sampled_from(GRID), min_size=1),
)
@settings(max_examples=50)
def test_constant_outputs_have_no_correlation(name: str, constant: str, golds: list[str]) -> None:
    assert ours(name, [constant] * len(golds), golds) == 0
    assert ours(name, golds, [constant if constant != "rubbish" else "1.0"] * len(golds)) == 0


@pytest.mark.parametrize("metric", [PEARSON, SPEARMAN])
def test_samples_with_constant_values_have_no_correlation(metric: Metric) -> None:
    # rows with equal outputs only: their variance from sums is rounding noise, not exactly 0
    outputs = ["3.3", "3.3", "0.1", "0.7", "4.9", "2.2"]
    golds = ["1.2", "4.4", "0.2", "0.6", "5.0", "2.4"]
    forwards = metric.statistics(outputs, [(gold,) for gold in golds], None)
    backwards = metric.statistics(golds, [(output,) for output in outputs], None)
    for times in range(1, 400):
        counts = np.array([times, 7, 0, 0, 0, 0])
        assert metric.value(counts @ forwards) == 0
        assert metric.value(counts @ backwards) == 0


def test_golden_values() -> None:
    assert ours("pearson", ["1", "2", "3", "4"], ["1.0", "2.0", "3.0", "5.0"]) == pytest.approx(98.2707629824)
    assert ours("spearman", ["1", "2", "2", "4"], ["1.0", "2.0", "3.0", "5.0"]) == pytest.approx(94.8683298051)
    assert ours("pearson", ["5", "0"], ["0.0", "5.0"]) == pytest.approx(-100)


def test_one_huge_output_does_not_overflow() -> None:
    golds = ["0.0", "1.0", "2.0", "3.0"]
    assert ours("pearson", ["0", "1", "2", "1e100"], golds) == pytest.approx(77.4596669241)


def test_gold_must_be_a_number() -> None:
    with pytest.raises(DataError, match="example 1 is 'x'"):
        ours("pearson", ["1", "2"], ["1.0", "x"])


def test_numbers_may_have_white_space() -> None:
    assert parse_number(" 3.8\n") == 3.8
    assert parse_number("3.8 points") is None
