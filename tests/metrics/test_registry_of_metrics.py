"""Laws that every metric keeps, and what all of them share."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multiprompt.errors import ConfigError, DataError, UnknownNameError
from multiprompt.metrics import METRICS, majority_baseline, majority_target, score

LABELS = ("0", "1", "2")
BINARY = ("f1", "matthews")
CORRELATIONS = ("pearson", "spearman")
NAMES = list(METRICS)


def labels_of(name: str) -> tuple[str, ...]:
    return LABELS[:2] if name in BINARY else LABELS


def outputs(name: str) -> st.SearchStrategy[str]:
    return st.sampled_from([*labels_of(name), f" {labels_of(name)[0]} ", "the 1", "", "nan", "2.5", "-7"])


def samples(name: str) -> st.SearchStrategy[list[tuple[str, str]]]:
    return st.lists(st.tuples(outputs(name), st.sampled_from(labels_of(name))), min_size=1, max_size=30)


def value(name: str, pairs: list[tuple[str, str]]) -> float:
    predictions, golds = zip(*pairs, strict=True)
    return score(name, predictions, [(gold,) for gold in golds], labels_of(name))


def test_all_metrics_are_there() -> None:
    expected = {"accuracy", "f1", "macro_f1", "matthews", "pearson", "spearman", "exact_match", "qa_f1"}
    assert expected | {"exact_match_first", "qa_f1_first"} == set(NAMES)
    assert all(METRICS[name].name == name and METRICS[name].definition.endswith(".") for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data(), seed=st.integers(0, 5))
@settings(max_examples=40)
def test_range_order_and_bootstrap(name: str, data: st.DataObject, seed: int) -> None:
    pairs = data.draw(samples(name))
    metric = METRICS[name]
    whole = value(name, pairs)
    low, high = metric.range
    assert low <= whole <= high
    shuffled = random.Random(seed).sample(pairs, len(pairs))
    assert value(name, shuffled) == pytest.approx(whole, abs=1e-6)

    # the value of many samples at once is one matrix product; each equals the value of the rows written out
    predictions, golds = zip(*pairs, strict=True)
    statistics = metric.statistics(predictions, [(gold,) for gold in golds], labels_of(name))
    drawn = np.random.default_rng(seed).integers(len(pairs), size=(3, len(pairs)))
    counts = np.stack([np.bincount(row, minlength=len(pairs)) for row in drawn])
    values = metric.value(counts @ statistics)
    assert values.shape == (3,)
    assert np.isfinite(values).all()
    if name != "spearman":  # its ranks are those of the whole set, by definition
        written_out = [value(name, [pairs[row] for row in rows]) for rows in drawn]
        np.testing.assert_allclose(values, written_out, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=30)
def test_perfect_outputs_score_100(name: str, data: st.DataObject) -> None:
    words = labels_of(name)
    # every label once, so that no class and no variance is missing
    golds = [*words, *data.draw(st.lists(st.sampled_from(words), max_size=20))]
    assert value(name, [(f" {gold}\n", gold) for gold in golds]) == pytest.approx(100)


@pytest.mark.parametrize("name", NAMES)
def test_sums_of_no_examples_have_a_value(name: str) -> None:
    width = METRICS[name].statistics(["1", "0"], [("1",), ("0",)], labels_of(name)).shape[1]
    assert METRICS[name].value(np.zeros((4, 2, width))).tolist() == [[0, 0]] * 4


@pytest.mark.parametrize("name", NAMES)
def test_wrong_use_is_an_error(name: str) -> None:
    with pytest.raises(DataError, match="2 predictions but 1"):
        score(name, ["1", "1"], [("1",)], labels_of(name))
    with pytest.raises(DataError, match="no examples"):
        score(name, [], [], labels_of(name))
    if name != "accuracy":
        with pytest.raises(DataError, match="example 1 has no reference"):
            score(name, ["1", "1"], [("1",), ()], labels_of(name))


def test_unknown_metric_names_the_closest() -> None:
    with pytest.raises(UnknownNameError, match="'matthews'"):
        score("mathews", ["1"], [("1",)])


@pytest.mark.parametrize("name", ["f1", "matthews", "macro_f1"])
def test_label_words_are_needed(name: str) -> None:
    with pytest.raises(ConfigError, match="needs label words"):
        score(name, ["1"], [("1",)])
    with pytest.raises(DataError, match="example 0 is 'yes'"):
        score(name, ["1"], [("yes",)], labels_of(name))


def test_majority() -> None:
    assert majority_target(["b", "a", "b", "a", "c"]) == "a"  # of equally frequent ones the first
    with pytest.raises(DataError, match="no examples"):
        majority_target([])
    golds = [("1",), ("0",), ("1",), ("1",)]
    train = ["0", "1", "1"]
    assert majority_baseline("accuracy", train, golds, ("0", "1")) == 75
    assert majority_baseline("f1", train, golds, ("0", "1")) == pytest.approx(100 * 6 / 7)
    assert majority_baseline("matthews", train, golds, ("0", "1")) == 0
    assert majority_baseline("macro_f1", train, golds, ("0", "1")) == pytest.approx(100 * 3 / 7)
    scores = [("0.2",), ("3.4",), ("5.0",)]
    assert majority_baseline("pearson", ["3.4", "3.4", "1.0"], scores) == 0
    assert majority_baseline("spearman", ["3.4", "3.4", "1.0"], scores) == 0
    answers = [("the cat", "cat"), ("a dog",)]
    assert majority_baseline("exact_match", ["cat", "cat", "sun"], answers) == 50
    assert majority_baseline("qa_f1", ["cat", "cat", "sun"], answers) == 50


@pytest.mark.parametrize(("ones", "rows", "expected"), [(35, 52, 67.3), (139, 204, 68.1), (76, 139, 54.7)])
def test_constant_outputs_of_the_study(ones: int, rows: int, expected: float) -> None:
    # printed accuracies of degenerate prompts are those of constant outputs: WSC, MRPC, RTE
    golds = [("1",)] * ones + [("0",)] * (rows - ones)
    assert majority_baseline("accuracy", ["1"], golds, ("0", "1")) == pytest.approx(expected, abs=0.05)


def test_no_torch() -> None:
    code = "import sys, multiprompt.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
