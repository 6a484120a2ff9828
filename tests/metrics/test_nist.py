"""NIST against the E2E challenge's two scorers and a slow loop by the definition."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.golden_values import OUTPUTS, REFERENCES, VALUES
from multiprompt.metrics import NIST, score, statistics_of
from multiprompt.metrics.words import mteval_words

WORDS = ["the", "a", "cat", "sat", "mat", "on", "near"]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)
EXAMPLES = st.lists(st.tuples(TEXTS, st.lists(TEXTS, min_size=1, max_size=3)), min_size=1, max_size=6)


def test_golden_values() -> None:
    # pymteval takes something off for outputs shorter than the longest sequence, which mteval-v13a does not
    long = VALUES["long"]
    value = score("nist", [OUTPUTS[i] for i in long], [REFERENCES[i] for i in long])
    assert value == pytest.approx(VALUES["pymteval"]["NIST"], abs=1e-9)
    several = [i for i, texts in enumerate(REFERENCES) if len(texts) >= 2]
    value = score("nist", [OUTPUTS[i] for i in several], [REFERENCES[i][:2] for i in several])
    assert value == pytest.approx(VALUES["mteval"]["NIST"], abs=0.0000501)  # it prints four digits


def slow_nist(outputs: list[str], references: list[list[str]]) -> float:
    """Doddington 2002."""

    def sequences(text: str, n: int) -> list[tuple[str, ...]]:
        words = text.split()
        return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]

    every = [text for texts in references for text in texts]
    counts: Counter[tuple[str, ...]] = Counter(s for text in every for n in range(1, 6) for s in sequences(text, n))
    counts[()] = sum(len(text.split()) for text in every)
    value = 0.0
    for n in range(1, 6):
        told = 0.0
        for output, texts in zip(outputs, references, strict=True):
            for sequence, count in Counter(sequences(output, n)).items():
                most = max(sequences(text, n).count(sequence) for text in texts)
                if most:
                    told += min(count, most) * math.log2(counts[sequence[:-1]] / counts[sequence])
        made = sum(len(sequences(output, n)) for output in outputs)
        value += told / made if made else 0.0
    mean = sum(sum(len(text.split()) for text in texts) / len(texts) for texts in references)
    length = sum(len(output.split()) for output in outputs)
    if not length or not mean:
        return 0.0
    # half the value at two thirds of the length
    return value * math.exp(math.log(0.5) / math.log(1.5) ** 2 * math.log(min(1.0, length / mean)) ** 2)


@given(examples=EXAMPLES)
@settings(max_examples=100)
def test_equal_to_the_definition(examples: list[tuple[str, list[str]]]) -> None:
    outputs, references = map(list, zip(*examples, strict=True))
    assert score("nist", outputs, references) == pytest.approx(slow_nist(outputs, references), abs=1e-9)


def test_values_by_hand() -> None:
    # four words, each once: 2 bits; each is followed by one word only, so longer sequences tell nothing
    assert score("nist", ["a b c d"], [["a b c d"]]) == pytest.approx(2)
    assert score("nist", ["a b"], [["a b c"]]) == pytest.approx(math.log2(3) / 2)
    assert score("nist", ["x"], [["a"]]) == 0


def test_samples_use_the_counts_of_the_whole_set() -> None:
    outputs, references = ["a b", "a c"], [["a b"], ["a d"]]
    rows = statistics_of("nist", outputs, references)
    # in the whole set "a" is two of four words (1 bit) and "b" one of four (2 bits), and after "a" one of two (1 bit)
    assert NIST.value(rows[0]) == pytest.approx((1 + 2) / 2 + 1)
    assert NIST.value(np.stack([2 * rows[0], rows.sum(axis=0)])).shape == (2,)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A café, 1,250.50 pounds!", ["a", "café", ",", "1,250.50", "pounds", "!"]),
        ("It's 20-25 - a low-priced pub.", ["it's", "20", "-", "25", "-", "a", "low-priced", "pub", "."]),
        ("&quot;Yes&quot; &amp; no", ['"', "yes", '"', "&", "no"]),
        ("(a/b) [c]", ["(", "a", "/", "b", ")", "[", "c", "]"]),
        ("", []),
    ],
)
def test_words_of_mteval(text: str, words: list[str]) -> None:
    assert list(mteval_words(text)) == words
