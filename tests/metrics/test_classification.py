"""Classification metrics against scikit-learn, and their treatment of invalid outputs."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from multiprompt.metrics import score

BINARY = ("0", "1")
THREE = ("0", "1", "2")


def pairs_of(words: tuple[str, ...], outputs: tuple[str, ...]) -> st.SearchStrategy[list[tuple[str, str]]]:
    return st.lists(st.tuples(st.sampled_from(outputs), st.sampled_from(words)), min_size=1, max_size=60)


def ours(name: str, pairs: list[tuple[str, str]], words: tuple[str, ...]) -> float:
    return score(name, [output for output, _ in pairs], [(gold,) for _, gold in pairs], words)


@given(pairs=pairs_of(BINARY, BINARY))
@settings(max_examples=150)
def test_binary_metrics_equal_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    outputs, golds = (np.array([int(text) for text in texts]) for texts in zip(*pairs, strict=True))
    assert ours("accuracy", pairs, BINARY) == pytest.approx(100 * reference.accuracy_score(golds, outputs))
    f1 = reference.f1_score(golds, outputs, zero_division=0)
    assert ours("f1", pairs, BINARY) == pytest.approx(100 * f1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns when there is one class only
        matthews = reference.matthews_corrcoef(golds, outputs)
    assert ours("matthews", pairs, BINARY) == pytest.approx(100 * matthews)


@given(pairs=pairs_of(BINARY, ("0", "1", "", "2", "yes")))
@settings(max_examples=100)
def test_invalid_outputs_count_as_the_opposite_class(pairs: list[tuple[str, str]]) -> None:
    flip = {"0": "1", "1": "0"}
    flipped = [(output if output in BINARY else flip[gold], gold) for output, gold in pairs]
    for name in ("f1", "matthews"):
        assert ours(name, pairs, BINARY) == ours(name, flipped, BINARY)
    assert ours("accuracy", pairs, BINARY) == ours("accuracy", flipped, BINARY)


@given(pairs=pairs_of(THREE, ("0", "1", "2", "", "3")))
@settings(max_examples=150)
def test_macro_f1_equals_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    outputs, golds = zip(*pairs, strict=True)
    expected = reference.f1_score(golds, outputs, labels=list(THREE), average="macro", zero_division=0)
    assert ours("macro_f1", pairs, THREE) == pytest.approx(100 * expected)


def test_golden_values() -> None:
    # 3 true positives, 1 false positive, 2 false negatives (one of them an invalid output), 4 true negatives
    pairs = [("1", "1")] * 3 + [("1", "0")] + [("0", "1"), ("no idea", "1")] + [("0", "0")] * 4
    assert ours("accuracy", pairs, BINARY) == pytest.approx(70)
    assert ours("f1", pairs, BINARY) == pytest.approx(100 * 6 / 9)
    assert ours("matthews", pairs, BINARY) == pytest.approx(100 * (3 * 4 - 1 * 2) / np.sqrt(4 * 5 * 5 * 6))
    three = [("0", "0"), ("0", "1"), ("1", "1"), ("x", "2")]
    assert ours("macro_f1", three, THREE) == pytest.approx(100 * (2 / 3 + 2 / 3 + 0) / 3)


def test_label_words_need_not_be_digits() -> None:
    pairs = [("yes", "yes"), ("yes", "no"), ("no", "no"), ("maybe", "no")]
    assert ours("f1", pairs, ("no", "yes")) == pytest.approx(100 * 2 / (2 + 2))


def test_labels_are_compared_whole() -> None:
    # "10" begins with the label "1", and 1.0 is the number 1: neither is the label
    assert ours("accuracy", [("10", "1"), ("1.0", "1"), ("1", "1"), (" 1 ", "1")], BINARY) == 50


def test_matthews_of_a_large_set_does_not_overflow() -> None:
    from multiprompt.metrics import MATTHEWS

    assert MATTHEWS.value(np.array([4e100, 1e100, 1e100, 4e100])) == pytest.approx(60)
