"""BLEU against sacrebleu's score of the whole set, the E2E challenge's scorer, and a slow loop by the definition."""

from __future__ import annotations

import math
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU

from metrics.golden_values import OUTPUTS, REFERENCES, VALUES
from multiprompt.metrics import score

WORDS = ["the", "The", "a", "cat", "sat", "mat,", "on", "3.5", "it's", "(so)", "café"]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)
EXAMPLES = st.lists(st.tuples(TEXTS, st.lists(TEXTS, min_size=2, max_size=2)), min_size=1, max_size=8)


def columns(references: list[list[str]]) -> list[list[str]]:
    return [list(column) for column in zip(*references, strict=True)]


def test_golden_values() -> None:
    assert score("bleu", OUTPUTS, REFERENCES) == pytest.approx(VALUES["bleu"], abs=1e-9)
    assert score("bleu_webnlg", OUTPUTS, REFERENCES) == pytest.approx(VALUES["bleu_webnlg"], abs=1e-9)


def test_golden_value_of_multi_bleu() -> None:
    several = [i for i, texts in enumerate(REFERENCES) if len(texts) >= 2]
    value = score("bleu_webnlg", [OUTPUTS[i] for i in several], [REFERENCES[i][:2] for i in several])
    assert value == pytest.approx(VALUES["multi_bleu"], abs=0.00501)  # it prints two digits after the point


def test_golden_values_of_the_e2e_scorers() -> None:
    # pymteval takes something off for outputs shorter than the longest sequence, which mteval-v13a does not
    long = VALUES["long"]
    value = score("bleu_e2e", [OUTPUTS[i] for i in long], [REFERENCES[i] for i in long])
    assert value == pytest.approx(VALUES["pymteval"]["BLEU"], abs=1e-9)
    several = [i for i, texts in enumerate(REFERENCES) if len(texts) >= 2]
    value = score("bleu_e2e", [OUTPUTS[i] for i in several], [REFERENCES[i][:2] for i in several])
    assert value == pytest.approx(100 * VALUES["mteval"]["BLEU"], abs=0.00501)  # it prints four digits


@given(examples=EXAMPLES)
@settings(max_examples=100)
def test_equal_to_sacrebleu_on_the_whole_set(examples: list[tuple[str, list[str]]]) -> None:
    outputs, references = map(list, zip(*examples, strict=True))
    for name, lowercase in (("bleu", False), ("bleu_e2e", True)):
        expected = BLEU(lowercase=lowercase).corpus_score(outputs, columns(references)).score
        assert score(name, outputs, references) == pytest.approx(expected, abs=1e-9)


def slow_bleu(outputs: list[str], references: list[list[str]]) -> float:
    """Papineni et al. 2002, without smoothing."""

    def words(text: str) -> list[str]:
        return re.sub(r"(\W)", r" \1 ", text.lower()).split()

    def sequences(text: list[str], n: int) -> Counter[tuple[str, ...]]:
        return Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1))

    right, total, output_length, reference_length = [0] * 4, [0] * 4, 0, 0
    for output, texts in zip(map(words, outputs), [[words(t) for t in texts] for texts in references], strict=True):
        output_length += len(output)
        reference_length += min((abs(len(text) - len(output)), len(text)) for text in texts)[1]
        for n in range(1, 5):
            for sequence, count in sequences(output, n).items():
                right[n - 1] += min(count, max(sequences(text, n)[sequence] for text in texts))
                total[n - 1] += count
    if 0 in right:
        return 0.0
    mean = math.exp(sum(math.log(r / t) for r, t in zip(right, total, strict=True)) / 4)
    return 100 * mean * min(1.0, math.exp(1 - reference_length / output_length))


@given(examples=EXAMPLES)
@settings(max_examples=100)
def test_webnlg_form_equals_the_definition(examples: list[tuple[str, list[str]]]) -> None:
    outputs, references = map(list, zip(*examples, strict=True))
    assert score("bleu_webnlg", outputs, references) == pytest.approx(slow_bleu(outputs, references), abs=1e-9)


def test_webnlg_form_of_the_golden_texts_equals_the_definition() -> None:
    assert score("bleu_webnlg", OUTPUTS, REFERENCES) == pytest.approx(slow_bleu(OUTPUTS, REFERENCES), abs=1e-9)


def test_words_and_case_differ_between_the_forms() -> None:
    output, reference = ["The low-priced pub is by the river."], [["the low-priced pub is by the river."]]
    assert score("bleu", output, reference) < 100
    assert score("bleu_e2e", output, reference) == pytest.approx(100)
    # a hyphen is a word of its own in WebNLG's form only
    output = ["the low - priced pub is by the river ."]
    assert score("bleu_webnlg", output, reference) == pytest.approx(100)
    assert score("bleu_e2e", output, reference) < 100


def test_short_texts() -> None:
    # one word has no sequence of two: sacrebleu and multi-bleu call that 0
    assert score("bleu", ["cat"], [["cat"]]) == 0
    assert score("bleu_webnlg", ["cat"], [["cat"]]) == 0
