"""CIDEr and its words against the caption-evaluation programs, and CIDEr against a slow loop by the definition."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.golden_values import OUTPUTS, REFERENCES, VALUES
from multiprompt.metrics import score, statistics_of
from multiprompt.metrics.caption_words import DROPPED, caption_words

WORDS = ["the", "cat", "sat", "mat", "on", "near", "cats"]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)
EXAMPLES = st.lists(st.tuples(TEXTS, st.lists(TEXTS, min_size=1, max_size=3)), min_size=1, max_size=6)


def test_golden_words_of_every_text() -> None:
    assert [" ".join(caption_words(text)) for text in OUTPUTS] == VALUES["caption_words"]["outputs"]
    ours = [[" ".join(caption_words(text)) for text in texts] for texts in REFERENCES]
    assert ours == VALUES["caption_words"]["references"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        # seen in references of E2E, words by the Java program
        ("a price of £20-25, i.e. cheap.", "a price of # 20-25 i.e. cheap"),
        ("You can find it at the riverside.......Or not........", "you can find it at the riverside or not"),
        ("It isn't (really) cheap -- it's dear...", "it is n't -lrb- really -rrb- cheap it 's dear"),
    ],
)
def test_words_of_one_text(text: str, words: str) -> None:
    assert " ".join(caption_words(text)) == words


@given(text=st.text())
def test_words_of_any_text(text: str) -> None:
    words = caption_words(text)
    assert not DROPPED.intersection(words)
    assert all(word and word == "".join(word.split()) for word in words)


def test_golden_values_of_every_segment() -> None:
    assert statistics_of("cider", OUTPUTS, REFERENCES)[:, 0] == pytest.approx(VALUES["cider"], abs=1e-9)
    assert score("cider", OUTPUTS, REFERENCES) == pytest.approx(sum(VALUES["cider"]) / len(OUTPUTS))


def slow_cider(outputs: list[str], references: list[list[str]]) -> float:
    """Vedantam et al. 2015, CIDEr-D, words as they are."""

    def counts(text: str, n: int) -> Counter[tuple[str, ...]]:
        words = text.split()
        return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))

    values = []
    for output, texts in zip(outputs, references, strict=True):
        by_reference = []
        for text in texts:
            total = 0.0
            for n in range(1, 5):
                seen = [set().union(*(counts(other, n) for other in others)) for others in references]
                weight = {
                    s: math.log(len(references) / max(1, sum(s in group for group in seen)))
                    for s in counts(output, n) | counts(text, n)
                }
                x = {s: count * weight[s] for s, count in counts(output, n).items()}
                y = {s: count * weight[s] for s, count in counts(text, n).items()}
                norm = math.hypot(*x.values()) * math.hypot(*y.values())
                if norm:
                    total += sum(min(x[s], y[s]) * y[s] for s in x.keys() & y.keys()) / norm
            # lengths are compared in pairs of words: a text of one word has none, like an empty one
            gap = max(0, len(output.split()) - 1) - max(0, len(text.split()) - 1)
            by_reference.append(total / 4 * math.exp(-(gap**2) / (2 * 6**2)))
        values.append(10 * sum(by_reference) / len(by_reference))
    return sum(values) / len(values)


@given(examples=EXAMPLES)
@settings(max_examples=100)
def test_equal_to_the_definition(examples: list[tuple[str, list[str]]]) -> None:
    outputs, references = map(list, zip(*examples, strict=True))
    assert score("cider", outputs, references) == pytest.approx(slow_cider(outputs, references), abs=1e-9)


def test_words_that_all_examples_have_count_nothing() -> None:
    assert score("cider", ["a cat sat down"], [["a cat sat down"]]) == 0
    outputs = ["a cat sat down", "the sun is bright"]
    assert score("cider", outputs, [[text] for text in outputs]) == pytest.approx(10)
