"""Two methods on the same repeats: against scipy's paired t test."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from multiprompt.evaluation.differences import compare, paired_difference
from reports.fake_runs import fake_score


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=3, max_size=20))
def test_draws_of_one_seed_are_paired(pairs):
    one, other = ({"a": {(7, d): fake_score(value=pair[side]) for d, pair in enumerate(pairs)}} for side in (0, 1))
    found = paired_difference(one, other)
    assert found.what == "draws"
    gaps = np.subtract(*np.array(pairs).T)
    assert found.mean == pytest.approx(gaps.mean(), abs=1e-9)
    assert not found.covers_rows, "no answers are stored"
    half = stats.t.ppf(0.975, len(pairs) - 1) * stats.sem(gaps)
    if stats.sem(gaps) <= 1e-9:
        assert (found.interval, found.verdict) == (None, "not shown"), "no verdict from no variance"
    else:
        assert found.interval == pytest.approx(
            (gaps.mean() - half, gaps.mean() + half), rel=1e-6, abs=1e-9 * (1 + half)
        )


def few(method: str, values: dict[tuple[str, int, int], float], shots=16):
    return [
        fake_score(method=method, task=task, seed=seed, draw=draw, value=value, shots=shots)
        for (task, seed, draw), value in values.items()
    ]


def test_draws_of_several_seeds_are_averaged_before_the_seeds_are_compared():
    generator = np.random.default_rng(0)
    ours, theirs = generator.uniform(50, 90, size=(2, 2, 3, 4))  # tasks, seeds, draws
    keys = [(task, seed, draw) for task in range(2) for seed in range(3) for draw in range(4)]
    scores = [
        score
        for method, values in (("mpt", ours), ("spot", theirs))
        for score in few(method, {(f"task {t}", s, d): values[t, s, d] for t, s, d in keys})
    ]
    (found,) = compare(scores, "mpt")
    test = stats.ttest_rel(ours.mean(axis=(0, 2)), theirs.mean(axis=(0, 2)))
    assert found.difference.what == "seeds"
    assert found.difference.interval == pytest.approx(tuple(test.confidence_interval()), rel=1e-3)
    assert (found.mean, found.other_mean) == pytest.approx((ours.mean(), theirs.mean()))
    assert found.mean - found.other_mean == pytest.approx(found.difference.mean)
    assert (found.tasks, len(found.repeats)) == (("task 0", "task 1"), 12)


def test_only_what_both_methods_have_is_compared():
    ours = {("a", 1, 0): 70.0, ("a", 1, 1): 80.0, ("a", 2, 0): 10.0, ("b", 1, 0): 60.0, ("b", 1, 1): 62.0}
    theirs = {("a", 1, 0): 65.0, ("a", 1, 1): 66.0, ("b", 1, 0): 50.0, ("b", 1, 1): 51.0, ("c", 1, 0): 99.0}
    scores = [*few("mpt", ours), *few("spot", theirs), fake_score(method="teacher", task="a", shots=16)]
    (found,) = compare(scores, "mpt")
    assert (found.tasks, found.repeats) == (("a", "b"), ((1, 0), (1, 1))), "neither task c nor the lone seed 2"
    assert found.difference.values == pytest.approx((7.5, 12.5))
    assert found.difference.mean == pytest.approx(statistics.fmean((7.5, 12.5)))
    assert [each.other for each in compare(scores, "spot")] == ["mpt"]
    assert compare(scores, "bitfit") == []


def test_methods_with_other_examples_tasks_or_draws_are_not_compared():
    ours = few("mpt", {("a", 1, 0): 70.0})
    assert compare([*ours, *few("spot", {("a", 1, 0): 60.0}, shots=4)], "mpt") == []
    assert compare([*ours, *few("spot", {("b", 1, 0): 60.0})], "mpt") == []
    assert compare([*ours, *few("spot", {("a", 1, 1): 60.0})], "mpt") == []
    assert compare([*ours, *few("spot", {("a", 2, 0): 60.0})], "mpt") == []
    (single,) = compare([*ours, *few("spot", {("a", 1, 0): 60.0})], "mpt")
    assert (single.difference.mean, single.difference.interval, single.difference.verdict) == (10.0, None, "not shown")
