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
from multiprompt.metrics import METRICS, Metric, constant_answer, score, statistics_of

LABELS = ("0", "1", "2")
SENTENCES = (
    "The Blue Lamp is a cheap pub by the river.",
    "It isn't a family-friendly coffee shop at all.",
    "Aarhus airport has a runway of 2,776.0 metres.",
)
BINARY = ("f1", "matthews")
CORRELATIONS = ("pearson", "spearman")
GENERATED = (
    *("bleu", "bleu_e2e", "bleu_webnlg", "ter", "nist", "cider"),
    *("meteor", "meteor_e2e", "rouge_l", "rouge_l_f1"),
)
"""Metrics of generated text."""

COUNTED_ONCE = ("spearman", "nist", "cider")
"""Ranks, or in how many references words occur, are those of the whole set, by definition also for its samples."""

HIGHEST = {"meteor": 1, "meteor_e2e": 1, "cider": 10, "ter": 0}
"""What perfect outputs score where it is not 100."""

NAMES = list(METRICS)


def labels_of(name: str) -> tuple[str, ...]:
    """The label words of the task; for generated text the references."""
    if name in GENERATED:
        return SENTENCES
    return LABELS[:2] if name in BINARY else LABELS


def outputs(name: str) -> st.SearchStrategy[str]:
    words = labels_of(name)
    return st.sampled_from(
        [*words, f" {words[0]} ", "the 1", "", "nan", "2.5", "-7", "The river is by the pub, isn't it"]
    )


def samples(name: str) -> st.SearchStrategy[list[tuple[str, str, str]]]:
    """An output, a gold answer and a group for each example."""
    return st.lists(
        st.tuples(outputs(name), st.sampled_from(labels_of(name)), st.sampled_from("abc")), min_size=1, max_size=30
    )


def rows_of(name: str, examples: list[tuple[str, str, str]]) -> np.ndarray:
    predictions, golds, groups = zip(*examples, strict=True)
    return statistics_of(name, predictions, [(gold,) for gold in golds], labels_of(name), groups)


def value(name: str, examples: list[tuple[str, str, str]]) -> float:
    predictions, golds, groups = zip(*examples, strict=True)
    return score(name, predictions, [(gold,) for gold in golds], labels_of(name), groups)


def within(metric: Metric, number: float) -> bool:
    low, high = metric.range
    # a mean of cosines, or of logarithms, may be a rounding above the largest
    slack = 1 + 1e-12 if metric.name.startswith(("cider", "bleu")) else 1
    return low <= number <= high * slack


def test_all_metrics_are_there() -> None:
    expected = {"accuracy", "f1", "macro_f1", "matthews", "pearson", "spearman", "exact_match", "qa_f1"}
    expected |= {"exact_match_first", "qa_f1_first", "question_exact_match", *GENERATED}
    assert expected == set(NAMES)
    assert all(METRICS[name].name == name and METRICS[name].definition.endswith(".") for name in NAMES)
    assert [name for name in NAMES if not METRICS[name].higher_is_better] == ["ter"]
    assert [name for name in NAMES if METRICS[name].grouped] == ["question_exact_match"]


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data(), seed=st.integers(0, 5))
@settings(max_examples=40)
def test_range_order_and_bootstrap(name: str, data: st.DataObject, seed: int) -> None:
    examples = data.draw(samples(name))
    metric = METRICS[name]
    whole = value(name, examples)
    assert within(metric, whole)
    shuffled = random.Random(seed).sample(examples, len(examples))
    assert value(name, shuffled) == pytest.approx(whole, abs=1e-6)

    # the value of many samples at once is one matrix product; each equals the value of the rows written out
    statistics = rows_of(name, examples)
    drawn = np.random.default_rng(seed).integers(len(examples), size=(3, len(examples)))
    counts = np.stack([np.bincount(row, minlength=len(examples)) for row in drawn])
    values = metric.value(counts @ statistics)
    assert values.shape == (3,)
    assert np.isfinite(values).all()
    # drawing rows of a grouped metric draws whole groups: see its own tests
    if name not in COUNTED_ONCE and not metric.grouped:
        written_out = [value(name, [examples[row] for row in rows]) for rows in drawn]
        np.testing.assert_allclose(values, written_out, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "nist"])  # which has no highest value
@given(data=st.data())
@settings(max_examples=30)
def test_perfect_outputs_score_the_highest(name: str, data: st.DataObject) -> None:
    words = labels_of(name)
    # every label once, so that no class and no variance is missing
    golds = [*words, *data.draw(st.lists(st.sampled_from(words), max_size=20))]
    best = HIGHEST.get(name, 100)
    assert value(name, [(f" {gold}\n", gold, gold) for gold in golds]) == pytest.approx(best)
    assert best == METRICS[name].range[0 if name == "ter" else 1]


@pytest.mark.parametrize("name", GENERATED)
@given(
    examples=st.lists(st.tuples(st.text(), st.lists(st.text(), min_size=1, max_size=3)), min_size=1, max_size=4),
)
@settings(max_examples=40)
def test_any_text_has_a_score(name: str, examples: list[tuple[str, list[str]]]) -> None:
    predictions, references = zip(*examples, strict=True)
    whole = score(name, predictions, references)
    assert np.isfinite(whole)
    assert within(METRICS[name], whole)


@pytest.mark.parametrize("name", GENERATED)
def test_empty_outputs_match_nothing(name: str) -> None:
    worst = 100 if name == "ter" else 0
    assert score(name, ["", " \n"], [SENTENCES[:1], SENTENCES[1:2]]) == pytest.approx(worst)
    # one example, or one of nothing but marks
    assert np.isfinite(score(name, ["?!"], [("...",)]))


@pytest.mark.parametrize("name", NAMES)
def test_sums_of_no_examples_have_a_value(name: str) -> None:
    width = rows_of(name, [("1", labels_of(name)[1], "a"), ("0", labels_of(name)[0], "b")]).shape[1]
    assert METRICS[name].value(np.zeros((4, 2, width))).tolist() == [[0, 0]] * 4


@pytest.mark.parametrize("name", NAMES)
def test_wrong_use_is_an_error(name: str) -> None:
    with pytest.raises(DataError, match="2 predictions but 1"):
        score(name, ["1", "1"], [("1",)], labels_of(name), ["a", "a"])
    with pytest.raises(DataError, match="no examples"):
        score(name, [], [], labels_of(name), [])
    if name not in ("accuracy", "question_exact_match"):
        with pytest.raises(DataError, match="example 1 has no reference"):
            score(name, ["1", "1"], [("1",), ()], labels_of(name), ["a", "a"])


@pytest.mark.parametrize("name", NAMES)
def test_one_text_is_one_reference_and_no_list(name: str) -> None:
    golds, groups = [*labels_of(name), labels_of(name)[0]], ["a"] * (len(labels_of(name)) + 1)
    outputs = golds[1:] + golds[:1]
    expected = score(name, outputs, [(gold,) for gold in golds], labels_of(name), groups)
    assert score(name, outputs, golds, labels_of(name), groups) == expected
    assert score("bleu", ["a b c d"], ["a b c d"]) == pytest.approx(100)
    with pytest.raises(ConfigError, match=r"^predictions: expected a list, not the text 'ab'; put it into a list"):
        score(name, "ab", ["a", "b"], labels_of(name), groups)
    with pytest.raises(ConfigError, match=r"^references: expected a list, not the text 'ab'"):
        score(name, ["a", "b"], "ab", labels_of(name), groups)
    with pytest.raises(ConfigError, match=r"^labels: expected a list, not the text '01'"):
        score(name, ["0"], ["1"], "01", ["a"])  # type: ignore[arg-type]


def test_unknown_metric_names_the_closest() -> None:
    with pytest.raises(UnknownNameError, match="'matthews'"):
        score("mathews", ["1"], [("1",)])


@pytest.mark.parametrize("name", ["f1", "matthews", "macro_f1"])
def test_label_words_are_needed(name: str) -> None:
    with pytest.raises(ConfigError, match="needs label words"):
        score(name, ["1"], [("1",)])
    with pytest.raises(DataError, match="example 0 is 'yes'"):
        score(name, ["1"], [("yes",)], labels_of(name))


def test_the_constant_answer_is_the_best_one_under_the_metric() -> None:
    two, three = ("0", "1"), ("0", "1", "2")
    mostly_zero = ["0", "0", "0", "1"]
    assert constant_answer("accuracy", mostly_zero, two) == "0"  # 75 against 25
    assert constant_answer("f1", mostly_zero, two) == "1"  # 2 * 1 / (2 * 1 + 3) = 40 against 0
    assert constant_answer("matthews", mostly_zero, two) == "0"  # both 0: the more frequent one
    assert constant_answer("accuracy", ["1", "0", "1", "0"], two) == "0"  # a tie: the first
    assert constant_answer("macro_f1", ["2", "0", "2", "1"], three) == "2"
    assert constant_answer("pearson", ["3.4", "3.4", "1.0"]) == "3.4"
    assert score("pearson", ["3.4"] * 3, ["0.2", "3.4", "5.0"]) == score("spearman", ["3.4"] * 3, list("135")) == 0
    assert constant_answer("qa_f1", ["b", "a", "b", "a", "c"]) == "a"  # open answers: the most frequent one
    # whole questions: 0 is right for none of three, 1 for one, though 0 is more frequent
    answers, groups = ["1", "0", "0", "0", "1", "1"], ["a", "a", "a", "a", "b", "b"]
    assert constant_answer("question_exact_match", answers, two, groups) == "1"
    assert constant_answer("question_exact_match", mostly_zero, two) == "0"  # training rows without groups
    with pytest.raises(DataError, match="no training examples"):
        constant_answer("accuracy", [], two)
    with pytest.raises(ConfigError, match="the training targets: expected a list"):
        constant_answer("accuracy", "0101", two)


@pytest.mark.parametrize(("ones", "rows", "expected"), [(35, 52, 67.3), (139, 204, 68.1), (76, 139, 54.7)])
def test_constant_outputs_of_the_study(ones: int, rows: int, expected: float) -> None:
    # printed accuracies of degenerate prompts are those of constant outputs: WSC, MRPC, RTE
    golds = [("1",)] * ones + [("0",)] * (rows - ones)
    assert score("accuracy", ["1"] * rows, golds, ("0", "1")) == pytest.approx(expected, abs=0.05)


def test_no_torch() -> None:
    code = "import sys, multiprompt.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
