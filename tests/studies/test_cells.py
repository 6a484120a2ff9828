"""What scores say together: against independent computations."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from multiprompt.evaluation.results import Score
from multiprompt.studies.cells import Measured, Published, difference, measure, verdict
from multiprompt.studies.study_definition import Choice

SCORE = Score(
    task="a",
    method="mpt",
    seed=0,
    shots="all",
    metric="accuracy",
    value=70.0,
    metrics={"accuracy": 70.0},
    n=1000,
    majority=50.0,
    invalid=0.0,
    interval=(67.0, 73.0),
    parameters=2036,
    steps=10,
    best_step=10,
    dev_value=None,
    seconds=1.0,
    examples_per_second=1.0,
    truncated=0.0,
    task_version=1,
    fingerprint="f",
)
BOTH = Choice("run", "mpt", "all", ("a", "b"))


def scores_of(values: dict[tuple[str, int, int], float], method: str = "mpt", shots: int | str = "all") -> list[Score]:
    return [
        replace(SCORE, task=task, seed=seed, draw=draw, value=value, method=method, shots=shots)
        for (task, seed, draw), value in values.items()
    ]


def test_a_mean_over_tasks_and_seeds():
    values = {
        ("a", 0, 0): 60.0,
        ("b", 0, 0): 80.0,
        ("a", 1, 0): 66.0,
        ("b", 1, 0): 78.0,
        ("a", 2, 0): 61.0,
        ("b", 2, 0): 85.0,
    }
    ours = measure({"run": scores_of(values)}, BOTH)
    assert ours is not None
    seeds = [70.0, 72.0, 73.0]
    assert ours.values == dict(enumerate(seeds))
    assert ours.mean == pytest.approx(np.mean(seeds))
    assert ours.deviation == pytest.approx(np.std(seeds, ddof=1))
    by_seed, by_task = np.var(seeds, ddof=1) / 3, (3 / stats.norm.ppf(0.975) / 2) ** 2  # each task 3 points either way
    freedom = (by_seed + 2 * by_task) ** 2 / (by_seed**2 / 2 + 2 * by_task**2 / 999)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(by_seed + 2 * by_task)
    alone = stats.t.ppf(0.975, 2) * math.sqrt(by_seed)
    assert half < alone, "two degrees of freedom: never narrower than the seeds alone"
    half = alone
    assert ours.interval == pytest.approx((np.mean(seeds) - half, np.mean(seeds) + half))
    assert (ours.n, ours.repeats, ours.majority, ours.parameters) == (2000, 3, 50.0, 2036)


def test_the_interval_is_not_narrower_than_the_test_sets_allow():
    same = {(task, seed, 0): 70.0 for task in "ab" for seed in range(3)}
    ours = measure({"run": scores_of(same)}, BOTH)
    assert ours is not None
    assert ours.interval == pytest.approx((70 - math.hypot(3, 3) / 2, 70 + math.hypot(3, 3) / 2), rel=1e-3)


def test_draws_of_a_seed_are_one_repeat_of_it():
    values = {("a", seed, draw): 50.0 + 10 * seed + draw for seed in range(2) for draw in range(4)}
    few = scores_of(values, shots=4)
    ours = measure({"run": few}, Choice("run", "mpt", 4, ("a",)))
    assert ours is not None
    assert ours.values == {0: 51.5, 1: 61.5}
    assert ours.repeats == 8
    one = measure({"run": [s for s in few if s.seed == 0]}, Choice("run", "mpt", 4, ("a",)))
    assert one is not None
    assert one.deviation == pytest.approx(statistics.stdev([50, 51, 52, 53]))


def test_a_cell_needs_all_of_its_scores():
    complete = {("a", 0, 0): 1.0, ("b", 0, 0): 2.0}
    assert measure({}, BOTH) is None
    assert measure({"run": scores_of({("a", 0, 0): 1.0})}, BOTH) is None
    assert measure({"run": scores_of(complete | {("a", 1, 0): 1.0})}, BOTH) is None  # seed 1 has no b yet
    assert measure({"run": scores_of(complete, method="spot")}, BOTH) is None
    assert measure({"run": scores_of(complete, shots=4)}, BOTH) is None


@given(
    st.lists(st.floats(-20, 20), min_size=2, max_size=12),
    st.lists(st.floats(0, 100), min_size=12, max_size=12),
)
def test_differences_are_paired(gaps, levels):
    """Whatever the levels of the seeds, only the gaps count: mean and interval are those of a paired t test."""
    worse = {("a", seed, 0): level for seed, level in zip(range(len(gaps)), levels, strict=False)}
    better = {key: value + gap for (key, value), gap in zip(worse.items(), gaps, strict=True)}
    scores = {"run": scores_of(worse, "prompt_tuning") + scores_of(better)}
    found = difference(scores, Choice("run", "mpt", "all", ("a",)), Choice("run", "prompt_tuning", "all", ("a",)))
    assert found is not None
    assert found.mean == pytest.approx(np.mean(gaps), abs=1e-9)
    if stats.sem(found.values) <= 1e-9:
        assert (found.interval, found.verdict) == (None, "not shown")
        return
    assert found.interval is not None
    half = stats.t.ppf(0.975, len(gaps) - 1) * np.std(gaps, ddof=1) / math.sqrt(len(gaps))
    assert (found.interval[1] - found.interval[0]) / 2 == pytest.approx(half, rel=1e-3, abs=1e-9)
    low, high = found.interval
    assert found.verdict == ("holds" if low > 0 else "reversed" if high < 0 else "not shown")


def test_a_difference_of_one_seed_is_over_its_draws_or_open():
    def found(draws: int) -> tuple[str, str]:
        worse = scores_of({("a", 0, draw): 50.0 + draw for draw in range(draws)}, "spot", 4)
        better = scores_of({("a", 0, draw): 60.0 + draw + draw % 2 for draw in range(draws)}, "mpt", 4)
        result = difference({"run": worse + better}, Choice("run", "mpt", 4, ("a",)), Choice("run", "spot", 4, ("a",)))
        assert result is not None
        return result.what, result.verdict

    assert found(5) == ("draws", "holds")
    assert found(1) == ("draws", "not shown")


def test_another_metric_of_a_task_has_its_own_interval_and_no_baseline():
    scores = [
        replace(score, metrics={"bleu": score.value, "ter": 100 - score.value}, intervals={"ter": (20.0, 44.0)})
        for score in scores_of({("a", 0, 0): 68.0, ("a", 1, 0): 70.0})
    ]
    ours = measure({"run": scores}, Choice("run", "mpt", "all", ("a",), "ter"))
    assert ours is not None
    assert (ours.mean, ours.metrics, ours.majority) == (31.0, ("ter",), None)
    rows = (12 / stats.norm.ppf(0.975)) ** 2
    satterthwaite = stats.t.ppf(0.975, (1 + rows) ** 2 / (1 + rows**2 / 999)) * math.sqrt(1 + rows)
    half = max(satterthwaite, stats.t.ppf(0.975, 1))  # the seeds have 30 and 32, so their variance is 1
    assert ours.interval == pytest.approx((31 - half, 31 + half))
    student = stats.t.ppf(0.975, 1)
    # a record of an earlier release says nothing of the test rows: the seeds remain
    old = [replace(score, intervals={}) for score in scores]
    ours = measure({"run": old}, Choice("run", "mpt", "all", ("a",), "ter"))
    assert ours is not None
    assert ours.interval == pytest.approx((31 - student, 31 + student), rel=1e-3)
    assert measure({"run": scores}, Choice("run", "mpt", "all", ("a",), "nist")) is None
    reported = measure({"run": scores_of({("a", 0, 0): 68.0})}, Choice("run", "mpt", "all", ("a",), "accuracy"))
    assert reported is not None
    assert (reported.mean, reported.majority) == (68.0, 50.0)


def test_of_errors_less_is_better():
    def with_errors(values: dict[int, float], method: str) -> list[Score]:
        scores = scores_of({("a", seed, 0): 100 - value for seed, value in values.items()}, method)
        return [replace(score, metrics={"ter": 100 - score.value}) for score in scores]

    scores = {"run": with_errors({0: 40.0, 1: 41.0}, "mpt") + with_errors({0: 45.0, 1: 46.5}, "spot")}
    better, worse = (Choice("run", method, "all", ("a",), "ter") for method in ("mpt", "spot"))
    found = difference(scores, better, worse)
    assert found is not None
    assert found.values == (5.0, 5.5)


def test_no_difference_without_common_repeats():
    scores = {"run": scores_of({("a", 0, 0): 1.0}) + scores_of({("a", 1, 0): 1.0}, "spot")}
    assert difference(scores, Choice("run", "mpt", "all", ("a",)), Choice("run", "spot", "all", ("a",))) is None


def cell(values: tuple[float, ...], half: float) -> Measured:
    """Of three seeds; the test rows leave so much open to each side."""
    scores = scores_of({("a", seed, 0): value for seed, value in enumerate(values)})
    scores = [replace(score, interval=(score.value - half, score.value + half)) for score in scores]
    ours = measure({"run": scores}, Choice("run", "mpt", "all", ("a",)))
    assert ours is not None
    return ours


def test_verdicts():
    sharp = cell((69.9, 70.0, 70.1), 0.5)
    assert verdict(sharp, Published(70.5, 0.1), None) == "equal"
    assert verdict(sharp, Published(71.5, 0.1), None) == "differs"
    assert verdict(sharp, Published(70.0, None), "other data") == "not comparable"
    good = cell((69.8, 70.0, 70.2), 1.5)  # a variance of 0.6, nearly all of it the rows': 1.6 to each side
    assert verdict(good, Published(71.4, 0.2), None) == "compatible"


def test_a_wide_interval_is_no_reproduction():
    """Three seeds and 28 rows used to make anything reproduced."""
    wide = cell((60.0, 70.0, 80.0), 15.0)
    assert verdict(wide, Published(75.0, 1.0), None) == "too imprecise"
    assert verdict(cell((70.0,), 0.5), Published(70.0, 0.1), None) == "too imprecise", "one training"
    assert verdict(wide, Published(170.0, 1.0), None) == "differs", "wide intervals still leave something out"


def test_a_deviation_that_is_not_printed_is_not_zero():
    """Ours stands in for it."""
    ours = cell((69.5, 70.5) * 5, 0.01)
    alone = stats.t.ppf(0.975, 9) * ours.deviation / math.sqrt(10)
    of_three = stats.t.ppf(0.975, 2) * ours.deviation / math.sqrt(3)
    assert alone < 0.8 < of_three
    assert verdict(ours, Published(70.8, 0.0), None) == "differs"
    assert verdict(ours, Published(70.8, None), None) == verdict(ours, Published(70.8, ours.deviation), None) == "equal"
