"""What stored answers say of a difference: from files as a run leaves them to intervals and verdicts."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from multiprompt.errors import CheckpointError
from multiprompt.evaluation.differences import compare, paired_difference
from multiprompt.evaluation.results import AnswerFile, Score
from multiprompt.evaluation.rows import row_effects
from multiprompt.files import write_text
from reports.fake_runs import fake_score


def stored(path: Path, right: np.ndarray, clusters: list[str] | None = None, key: str = "cluster", **changes) -> Score:
    """A score whose file of answers has these rows right."""
    names = clusters or [None] * len(right)
    rows = [
        {"row": f"test:{n}"}
        | ({} if name is None else {key: name})
        | {"prediction": "1" if each else "0", "references": ["1"]}
        for n, (each, name) in enumerate(zip(right, names, strict=True))
    ]
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
    return fake_score(value=100 * float(np.mean(right)), n=len(right), answers=AnswerFile(path, ("0", "1")), **changes)


def both(folder: Path, ours: np.ndarray, theirs: np.ndarray, clusters: list[str] | None = None, key: str = "cluster"):
    """Scores of two methods, a seed a row."""
    return [
        stored(folder / f"{method}-{seed}.jsonl", rows, clusters, key, method=method, seed=seed)
        for method, right in (("mpt", ours), ("spot", theirs))
        for seed, rows in enumerate(right)
    ]


def test_a_difference_covers_seeds_and_rows(tmp_path):
    """Against the mean squares of a crossed analysis of variance, computed here."""
    generator = np.random.default_rng(1)
    ours, theirs = generator.random((3, 60)) < np.linspace(0.2, 1, 60), generator.random((3, 60)) < 0.5
    (found,) = compare(both(tmp_path, ours, theirs), "mpt")
    gaps = 100 * (ours.astype(float) - theirs)
    by_seed, by_row, mean = gaps.mean(1), gaps.mean(0), gaps.mean()
    rest = gaps - by_seed[:, None] - by_row + mean
    of_rest = (rest**2).sum() / (2 * 59)
    variance = (60 * by_seed.var(ddof=1) + 3 * by_row.var(ddof=1) - of_rest) / 180
    assert found.difference.mean == pytest.approx(mean)
    assert found.difference.covers_rows
    assert found.difference.spread.variance == pytest.approx(variance)
    assert found.difference.over == "3 seeds, rows"


def test_seeds_without_spread_give_no_verdict_of_their_own(tmp_path):
    """Three seeds with the same two rows more: once "holds" with an interval of no width."""
    theirs = np.tile(np.arange(28) < 20, (3, 1))
    ours = np.tile(np.arange(28) < 22, (3, 1))
    (found,) = compare(both(tmp_path, ours, theirs), "mpt")
    gaps = (ours[0].astype(float) - theirs[0]) * 100
    half = stats.t.ppf(0.975, 27) * stats.sem(gaps)
    assert found.difference.interval == pytest.approx((gaps.mean() - half, gaps.mean() + half))
    assert found.difference.verdict == "not shown"
    without = [replace(score, answers=None) for score in both(tmp_path, ours, theirs)]
    (found,) = compare(without, "mpt")
    assert (found.difference.interval, found.difference.verdict) == (None, "not shown")
    assert found.difference.over == "3 seeds alone"


def test_two_methods_that_answer_alike_are_not_shown_to_be_equal_by_28_rows(tmp_path):
    for count, equal in ((28, False), (1000, True)):
        alike = np.tile(np.arange(count) % 3 > 0, (3, 1))
        folder = tmp_path / str(count)
        (found,) = compare(both(folder, alike, alike), "mpt")
        half = stats.t.ppf(0.975, count - 1) * 100 / (count + 2)
        assert found.difference.interval == pytest.approx((-half, half))
        assert found.difference.leaves_open == pytest.approx(half)
        assert found.difference.verdict == "not shown"
        assert found.difference.equal == equal


@pytest.mark.parametrize("key", ["cluster", "group"])
def test_rows_of_one_passage_are_one(tmp_path, key):
    """Ten passages with five rows each that are right or wrong together say what ten rows say."""
    generator = np.random.default_rng(2)
    ours, theirs = generator.random((2, 3, 10)) < 0.6
    (once,) = compare(both(tmp_path / "once", ours, theirs), "mpt")
    passages = [f"p{n // 5}" for n in range(50)]
    five = [np.repeat(side, 5, axis=1) for side in (ours, theirs)]
    (together,) = compare(both(tmp_path / "together", *five, passages, key), "mpt")
    assert together.difference.interval == pytest.approx(once.difference.interval)
    (apart,) = compare(both(tmp_path / "apart", *five), "mpt")
    assert apart.difference.spread.variance < once.difference.spread.variance


def test_draws_of_a_seed_are_averaged_row_by_row(tmp_path):
    generator = np.random.default_rng(5)
    right = generator.random((2, 2, 3, 40)) < 0.7  # methods, seeds, draws
    scores = {
        method: {
            "a": {
                (seed, draw): stored(
                    tmp_path / f"{method}{seed}{draw}", right[method, seed, draw], seed=seed, draw=draw
                )
                for seed in range(2)
                for draw in range(3)
            }
        }
        for method in range(2)
    }
    found = paired_difference(scores[0], scores[1])
    gaps = 100 * (right[0].astype(float) - right[1]).mean(axis=1)
    covariance = np.cov(gaps)[0, 1] / 40
    assert found.spread.variance == pytest.approx(gaps.mean(1).var(ddof=1) / 2 + max(covariance, 0))


def test_tasks_add_up(tmp_path):
    generator = np.random.default_rng(7)
    right = [generator.random((2, 3, count)) < 0.5 + 0.4 * generator.random(count) for count in (50, 80)]
    sides = [
        {
            f"task {t}": {
                (seed, 0): stored(tmp_path / f"{side}{t}{seed}", rows[side, seed], seed=seed) for seed in range(3)
            }
            for t, rows in enumerate(right)
        }
        for side in range(2)
    ]
    found = paired_difference(*sides)
    gaps = [100 * (rows[0].astype(float) - rows[1]) for rows in right]
    means = np.mean([each.mean(1) for each in gaps], axis=0)
    shared = 0.0
    for each in gaps:
        matrix = np.cov(each) / each.shape[1]
        shared += (matrix.sum() - np.trace(matrix)) / 6 / 4
    assert found.spread.variance == pytest.approx(means.var(ddof=1) / 3 + max(shared, 0))


def test_answers_to_other_rows_are_not_paired(tmp_path):
    one = {"a": {(s, 0): stored(tmp_path / f"one{s}", np.arange(9) > s, seed=s) for s in range(2)}}
    other = {"a": {(s, 0): stored(tmp_path / f"two{s}", np.arange(8) > 2 * s, seed=s) for s in range(2)}}
    assert not paired_difference(one, other).covers_rows


def test_scores_without_their_own_answers_have_no_effects(tmp_path):
    score = stored(tmp_path / "answers.jsonl", np.arange(10) > 2)
    assert np.sum(row_effects(score).deviations ** 2) == pytest.approx((100 * stats.sem(np.arange(10) > 2)) ** 2)
    assert row_effects(replace(score, value=score.value + 1)) is None, "of another training"
    assert row_effects(replace(score, metric="a metric of one's own")) is None
    assert row_effects(replace(score, answers=AnswerFile(tmp_path / "none.jsonl", None))) is None
    write_text(tmp_path / "answers.jsonl", '{"row": "test:0"}\n')
    with pytest.raises(CheckpointError, match=r"answers\.jsonl is damaged"):
        row_effects(score)


def test_a_value_of_all_rows_right_has_an_interval(tmp_path):
    from multiprompt.studies.cells import measure
    from multiprompt.studies.study_definition import Choice

    scores = [stored(tmp_path / f"{seed}", np.ones(28), seed=seed, task="a") for seed in range(3)]
    ours = measure({"run": scores}, Choice("run", "mpt", "all", ("a",)))
    low, high = ours.interval
    assert high == 100
    assert low == pytest.approx(100 - stats.t.ppf(0.975, 27) * 100 * 1.96 / (28 + 1.96**2), abs=0.01)
    assert math.isclose(ours.mean, 100)
