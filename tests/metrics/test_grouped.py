"""Exact match of whole questions, against a loop over the groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multiprompt.errors import ConfigError, DataError
from multiprompt.metrics import QUESTION_EXACT_MATCH, score, statistics_of

EXAMPLES = st.lists(
    st.tuples(st.sampled_from(["0", "1", "", " 1"]), st.sampled_from("01"), st.sampled_from("abcd")), min_size=1
)
LABELS = ("0", "1")


def value(examples: list[tuple[str, str, str]]) -> float:
    outputs, golds, groups = zip(*examples, strict=True)
    return score("question_exact_match", outputs, [(gold,) for gold in golds], LABELS, groups)


@given(examples=EXAMPLES)
def test_equal_to_a_loop_over_the_groups(examples: list[tuple[str, str, str]]) -> None:
    right: dict[str, bool] = {}
    for output, gold, group in examples:
        right[group] = right.get(group, True) and output.strip() == gold
    assert value(examples) == pytest.approx(100 * sum(right.values()) / len(right))


@given(examples=EXAMPLES)
def test_groups_of_one_are_accuracy(examples: list[tuple[str, str, str]]) -> None:
    alone = [(output, gold, str(row)) for row, (output, gold, _) in enumerate(examples)]
    outputs, golds, _ = zip(*examples, strict=True)
    assert value(alone) == pytest.approx(score("accuracy", outputs, [(gold,) for gold in golds], LABELS))
    assert value(examples) <= 100


@given(examples=EXAMPLES, seed=st.integers(0, 3))
def test_samples_draw_whole_groups(examples: list[tuple[str, str, str]], seed: int) -> None:
    outputs, golds, groups = zip(*examples, strict=True)
    rows = statistics_of("question_exact_match", outputs, [(gold,) for gold in golds], LABELS, groups)
    names = list(dict.fromkeys(groups))
    times = dict(zip(names, np.random.default_rng(seed).integers(0, 3, size=len(names)), strict=True))
    weights = np.array([times[group] for group in groups])
    written_out = [(o, g, f"{name} {copy}") for o, g, name in examples for copy in range(times[name])]
    expected = value(written_out) if written_out else 0
    assert QUESTION_EXACT_MATCH.value(weights @ rows) == pytest.approx(expected)


def test_values_by_hand() -> None:
    assert value([("1", "1", "q1"), ("0", "0", "q2"), ("0", "1", "q1")]) == 50
    assert value([("1", "1", "q1"), ("yes", "1", "q2")]) == 50  # what is no label word is wrong


def test_groups_are_needed() -> None:
    with pytest.raises(ConfigError, match="'question_exact_match' judges groups of examples and needs the group of"):
        score("question_exact_match", ["1"], [("1",)], LABELS)
    with pytest.raises(DataError, match="2 predictions but 1 groups"):
        score("question_exact_match", ["1", "1"], [("1",), ("1",)], LABELS, ["q"])
