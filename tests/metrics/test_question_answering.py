"""Question answering against the published SQuAD 1.1 scorer, written out here, and against values by hand."""

from __future__ import annotations

import re
import string
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multiprompt.metrics import normalise_answer, score

WORDS = ["the", "a", "an", "U.S.", "U . S .", "cat", "Cat!", "dog", "3.5", "—", "naïve", "", "another"]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=5).map(" ".join)


def scorer_normalise(text: str) -> str:
    lowered = text.lower()
    no_punctuation = "".join(ch for ch in lowered if ch not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", no_punctuation).split())


def scorer_f1(prediction: str, ground_truth: str) -> float:
    prediction_tokens, truth_tokens = (
        scorer_normalise(prediction).split(),
        scorer_normalise(ground_truth).split(),
    )
    num_same = sum((Counter(prediction_tokens) & Counter(truth_tokens)).values())
    if num_same == 0:
        return 0
    precision, recall = num_same / len(prediction_tokens), num_same / len(truth_tokens)
    return (2 * precision * recall) / (precision + recall)


@given(examples=st.lists(st.tuples(TEXTS, st.lists(TEXTS, min_size=1, max_size=3)), min_size=1, max_size=10))
@settings(max_examples=150)
def test_equal_to_the_published_scorer(examples: list[tuple[str, list[str]]]) -> None:
    predictions, references = zip(*examples, strict=True)
    count = len(examples)
    f1 = sum(max(scorer_f1(output, text) for text in texts) for output, texts in examples) / count
    match = sum(max(scorer_normalise(output) == scorer_normalise(text) for text in texts) for output, texts in examples)
    assert score("qa_f1", predictions, references) == pytest.approx(100 * f1)
    assert score("exact_match", predictions, references) == pytest.approx(100 * match / count)
    firsts = [texts[:1] for texts in references]
    for name in ("qa_f1", "exact_match"):
        first_only = score(f"{name}_first", predictions, references)
        assert first_only == score(name, predictions, firsts)
        assert first_only <= score(name, predictions, references)


@given(text=st.text())
def test_normalising_never_raises_and_is_stable(text: str) -> None:
    once = normalise_answer(text)
    assert "  " not in once
    assert once == once.strip()


def test_golden_values() -> None:
    assert normalise_answer("The U.S.,  a   dream!") == "us dream"
    assert normalise_answer("U . S .") == "u s"  # padded and plain forms differ: references are padded like targets
    assert score("qa_f1", ["the red cat"], [("a cat", "red dogs here")]) == pytest.approx(100 * 2 / 3)
    assert score("qa_f1", ["cat cat dog"], [("cat dog dog",)]) == pytest.approx(100 * 2 / 3)  # a multiset
    assert score("exact_match", ["Cat."], [("the cat",)]) == 100


def test_two_empty_texts() -> None:
    assert score("exact_match", ["the"], [("!",)]) == 100
    assert score("qa_f1", ["the"], [("!",)]) == 0
