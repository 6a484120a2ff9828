"""ROUGE-L in both forms against the original programs, and the subsequence against the usual table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.golden_values import OUTPUTS, REFERENCES, VALUES
from multiprompt.metrics import score, statistics_of
from multiprompt.metrics.rouge import common_length

WORDS = st.lists(st.sampled_from("abcde"), max_size=80)


def test_golden_values_of_every_segment() -> None:
    ours = 100 * statistics_of("rouge_l", OUTPUTS, REFERENCES)[:, 0]
    assert ours == pytest.approx(VALUES["rouge_l"], abs=1e-9)
    assert score("rouge_l", OUTPUTS, REFERENCES) == pytest.approx(sum(VALUES["rouge_l"]) / len(OUTPUTS))
    ours = 100 * statistics_of("rouge_l_f1", OUTPUTS, REFERENCES)[:, 0]
    assert ours == pytest.approx(VALUES["rouge_l_f1"], abs=1e-9)
    assert score("rouge_l_f1", OUTPUTS, REFERENCES) == pytest.approx(sum(VALUES["rouge_l_f1"]) / len(OUTPUTS))


@given(first=WORDS, second=WORDS)
def test_common_length_equals_the_usual_table(first: list[str], second: list[str]) -> None:
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, word in enumerate(first):
        for j, other in enumerate(second):
            table[i + 1][j + 1] = table[i][j] + 1 if word == other else max(table[i][j + 1], table[i + 1][j])
    assert common_length(first, second) == table[-1][-1] == common_length(second, first)


def test_values_by_hand() -> None:
    # 3 of 4 words in common with the first reference, of 6 there: F1 is 2 x 3 / 10
    assert score("rouge_l_f1", ["the cat sat down"], [["the cat then sat over there", "no"]]) == pytest.approx(60)
    # precision 2/2 and recall 2/4 from one reference, recall 1/1 from the other: each side takes its best
    assert score("rouge_l", ["a b"], [["a b c d", "b"]]) == pytest.approx(100)
    precision, recall, square = 2 / 3, 2 / 4, 1.2**2
    expected = 100 * (1 + square) * precision * recall / (recall + square * precision)
    assert score("rouge_l", ["a x b"], [["a b c d"]]) == pytest.approx(expected)


@given(texts=st.lists(st.text("ab c", max_size=12), min_size=2, max_size=4))
def test_further_references_never_cost(texts: list[str]) -> None:
    for name in ("rouge_l", "rouge_l_f1"):
        assert score(name, texts[:1], [texts[1:]]) >= score(name, texts[:1], [texts[1:2]]) - 1e-9
