"""TER against the sacrebleu package, which searches for shifts with tables of edit distances."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import TER

from metrics.golden_values import OUTPUTS, REFERENCES, VALUES
from multiprompt.metrics import score, statistics_of
from multiprompt.metrics.ter import ter_edits

WORDS = [*"abcdefgh", "The", "the"]


@st.composite
def pairs(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """Texts of few different words, or one that is the other with blocks moved and words changed."""
    seed, longest = draw(st.integers(0, 10**9)), draw(st.sampled_from([3, 8, 20]))
    source = random.Random(seed)
    known = source.sample(WORDS, source.randint(2, len(WORDS)))
    reference = [source.choice(known) for _ in range(source.randint(0, longest))]
    if draw(st.booleans()):
        return [source.choice(known) for _ in range(source.randint(0, longest))], reference
    cut = sorted(source.randint(0, len(reference)) for _ in range(2))
    blocks = [reference[: cut[0]], reference[cut[0] : cut[1]], reference[cut[1] :]]
    source.shuffle(blocks)
    output = [word for block in blocks for word in block]
    return [source.choice(known) if source.random() < 0.15 else word for word in output], reference


def sacrebleu_edits(output: list[str], reference: list[str]) -> float:
    return TER(case_sensitive=True).sentence_score(" ".join(output), [" ".join(reference)]).num_edits


@given(pair=pairs())
@settings(max_examples=200)
def test_edits_equal_sacrebleu(pair: tuple[list[str], list[str]]) -> None:
    assert ter_edits(*pair) == sacrebleu_edits(*pair)


@pytest.mark.parametrize(("output", "reference"), [(40, 40), (30, 50), (1, 60), (60, 2), (3, 40), (0, 5), (5, 0)])
def test_long_and_lopsided_texts_equal_sacrebleu(output: int, reference: int) -> None:
    source = random.Random(output + reference)
    texts = [[source.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(size)] for size in (output, reference)]
    assert ter_edits(*texts) == sacrebleu_edits(*texts)


def test_the_limit_of_shifts_equals_sacrebleu() -> None:
    # with two different words nearly every run occurs in the reference, so the search stops at its limit
    source = random.Random(3)
    for size in (20, 30):
        texts = [[source.choice("ab") for _ in range(size)] for _ in range(2)]
        assert ter_edits(*texts) == sacrebleu_edits(*texts)


@given(examples=st.lists(st.tuples(pairs(), pairs()), min_size=1, max_size=5))
@settings(max_examples=30)
def test_sets_equal_sacrebleu(examples: list) -> None:
    outputs = [" ".join(output) for (output, _), _ in examples]
    references = [[" ".join(first), " ".join(second)] for (_, first), (_, second) in examples]
    columns = [list(column) for column in zip(*references, strict=True)]
    assert score("ter", outputs, references) == pytest.approx(TER().corpus_score(outputs, columns).score)


def test_golden_value() -> None:
    assert score("ter", OUTPUTS, REFERENCES) == pytest.approx(VALUES["ter"], abs=1e-9)


def test_values_by_hand() -> None:
    assert score("ter", ["a b c d"], [["c d a b"]]) == 25  # one shift, four words
    assert score("ter", ["A b"], [["a b"]]) == 0
    assert score("ter", ["a b c d e"], [["a"]]) == 400  # no upper bound
    assert score("ter", ["a"], [[""]]) == 100
    assert score("ter", [""], [[""]]) == 0
    # the fewest edits to any reference over the mean length of both
    assert statistics_of("ter", ["a b"], [["a b", "a b c d"]]).tolist() == [[0, 3]]
