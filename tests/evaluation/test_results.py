from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from multiprompt.config import build_experiment
from multiprompt.errors import CheckpointError
from multiprompt.evaluation.results import (
    Score,
    bootstrap_interval,
    read_results,
    with_selection,
    write_results,
)
from multiprompt.files import write_json
from multiprompt.metrics import ACCURACY, MATTHEWS, METRICS


def score(**changes) -> Score:
    values = {
        "task": "rte",
        "method": "mpt",
        "seed": 1,
        "shots": "all",
        "metric": "accuracy",
        "value": 70.0,
        "metrics": {"accuracy": 70.0},
        "n": 100,
        "majority": 55.0,
        "invalid": 0.01,
        "interval": (60.0, 79.0),
        "parameters": 77_000,
        "steps": 100,
        "best_step": 50,
        "dev_value": None,
        "seconds": 1.5,
        "examples_per_second": 99.5,
        "truncated": 0.0,
        "task_version": 1,
        "fingerprint": "f",
        "notes": ("one",),
    }
    return Score(**(values | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"shots": 16, "dev_value": 61.5, "notes": (), "draw": 3},
        {"selection": "full-dev"},
        {"intervals": {"f1": (1.0, 2.5)}},
    ],
)
def test_a_score_survives_json(changes):
    before = score(**changes)
    assert Score.from_json(json.loads(json.dumps(before.to_json()))) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 99}, "version 99"),
        ({"value": "70"}, "value is '70'"),
        ({"seed": True}, "seed is True"),
        ({"shots": "some"}, "shots is 'some'"),
        ({"interval": [1.0]}, "interval is"),
        ({"interval": []}, "interval is"),
        ({"metrics": {"accuracy": None}}, "metrics is"),
        ({"notes": [3]}, "notes is"),
        ({"surprise": 1}, "unknown surprise"),
        ({"draw": "3"}, "draw is '3'"),
        ({"selection": "best"}, "selection is 'best'"),
        ({"intervals": {"f1": [1.0]}}, "intervals is"),
        ({"intervals": [1.0, 2.0]}, "intervals is"),
    ],
)
def test_a_damaged_score_is_refused(changes, message):
    with pytest.raises(CheckpointError, match=message):
        Score.from_json(score().to_json() | changes)


LATER = ("draw", "selection", "intervals", "unended", "shortcut")
"""Fields that records of earlier releases lack."""


@pytest.mark.parametrize("name", [name for name in score().to_json() if name not in LATER])
def test_no_field_may_be_missing(name):
    record = score().to_json()
    del record[name]
    with pytest.raises(CheckpointError, match=name):
        Score.from_json(record)


def test_a_record_from_before_there_were_draws_is_that_of_the_first_draw():
    record = score(shots=16, draw=2, selection="full-dev").to_json()
    del record["draw"], record["selection"], record["intervals"]
    old = Score.from_json(record)
    assert (old.draw, old.selection, old.intervals) == (0, None, {})


@pytest.mark.parametrize(
    ("changes", "selection"),
    [
        ({"shots": 16}, "full-dev"),
        ({"shots": "all"}, "last-step"),
        ({"method": "teacher"}, "last-step"),
        ({"method": "student"}, "full-dev"),
        ({"shots": 16, "selection": "last-step"}, "last-step"),
    ],
)
def test_how_the_tensors_of_an_old_record_were_chosen_is_known_from_the_options(changes, selection):
    often = {"steps": 100, "evaluate_every": 10}
    experiment = build_experiment(
        {
            "name": "x",
            "teachers": {"training": often | {"select": "last"}},
            "source": {"tasks": ["mnli", "sst2"], "training": often},
            "targets": {
                "tasks": ["rte"],
                "methods": {"bitfit": {}},
                "training": {"steps": 100},
                "few_shot_training": often,
            },
        }
    )
    assert with_selection(score(**changes), experiment).selection == selection
    assert with_selection(score(method="student"), replace(experiment, source=None)).selection is None


def test_results_survive_the_disk(tmp_path):
    scores = [score(seed=s) for s in (1, 2)]
    write_results(tmp_path / "results.json", "an experiment", scores)
    assert read_results(tmp_path / "results.json") == ("an experiment", scores)


@pytest.mark.parametrize(
    "content", [[], {"version": 2}, {"version": 1, "experiment": "x"}, {"version": 1, "scores": []}]
)
def test_damaged_results_are_refused(tmp_path, content):
    write_json(tmp_path / "results.json", content)
    with pytest.raises(CheckpointError, match=r"results\.json"):
        read_results(tmp_path / "results.json")


def test_missing_results_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        read_results(tmp_path / "results.json")


def statistics_of(metric, rows=120, seed=0, right=0.7):
    generator = np.random.default_rng(seed)
    gold = generator.choice(["0", "1"], size=rows)
    wrong = generator.random(rows) > right
    predicted = [("1" if g == "0" else "0") if w else g for g, w in zip(gold, wrong, strict=True)]
    return metric.statistics(predicted, [(g,) for g in gold], ("0", "1"))


@pytest.mark.parametrize("name", ["accuracy", "f1", "macro_f1", "matthews"])
def test_the_interval_holds_the_value_and_stays_in_range(name):
    metric = METRICS[name]
    rows = statistics_of(metric)
    low, high = bootstrap_interval(metric, rows)
    assert metric.range[0] <= low < float(metric.value(rows.sum(axis=0))) < high <= metric.range[1]


def test_the_interval_is_the_same_every_time_and_moves_with_the_seed():
    rows = statistics_of(MATTHEWS)
    assert bootstrap_interval(MATTHEWS, rows) == bootstrap_interval(MATTHEWS, rows)
    assert bootstrap_interval(MATTHEWS, rows) != bootstrap_interval(MATTHEWS, rows, seed=1)


def test_the_interval_does_not_depend_on_chunks(monkeypatch):
    rows = statistics_of(ACCURACY)
    whole = bootstrap_interval(ACCURACY, rows)
    monkeypatch.setattr("multiprompt.evaluation.results._WEIGHTS_IN_MEMORY", 7 * len(rows))
    assert bootstrap_interval(ACCURACY, rows) == pytest.approx(whole)


def test_the_interval_of_accuracy_agrees_with_the_normal_approximation():
    rows = statistics_of(ACCURACY, rows=2000)
    share = float(ACCURACY.value(rows.sum(axis=0))) / 100
    half = 196 * (share * (1 - share) / 2000) ** 0.5
    low, high = bootstrap_interval(ACCURACY, rows, draws=4000)
    assert low == pytest.approx(100 * share - half, abs=0.25)
    assert high == pytest.approx(100 * share + half, abs=0.25)


def test_an_interval_of_equal_rows_is_a_point():
    rows = statistics_of(ACCURACY, rows=30, right=1.1)
    assert bootstrap_interval(ACCURACY, rows) == (100.0, 100.0)
