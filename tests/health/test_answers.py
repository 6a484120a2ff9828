"""Every rule about answers: on a case that it is for, and on one that just is not."""

from __future__ import annotations

import pytest

from multiprompt.evaluation.finished_findings import finished_findings
from multiprompt.health import (
    Answers,
    Rule,
    constant_predictions,
    invalid_answers,
    no_better_than_constant,
    short_answers,
    unended_answers,
)
from reports.fake_runs import fake_score


def answers(*counts: tuple[int, str, str]) -> Answers:
    return Answers.of((given, (reference,)) for count, given, reference in counts for _ in range(count))


def test_answers_are_counted_without_outer_white_space():
    counted = Answers.of([(" yes ", ("yes", "yeah")), ("yeah", (" no",)), ("oui", ("yes",)), ("yes", ("yes",))])
    assert counted.predictions == {"yes": 2, "yeah": 1, "oui": 1}
    assert counted.references == {"yes": 3, "no": 1}
    assert counted.top == ("yes", 0.5)
    assert counted.unknown == "oui"


def test_constant_predictions():
    half = (500, "yes", "yes"), (492, "yes", "no")
    finding = constant_predictions("boolq", answers(*half, (8, "no", "no")))
    assert finding is not None
    assert (finding.rule, finding.where) == (Rule.CONSTANT, "boolq")
    assert finding.what == "99.2 % of the answers are “yes”"
    assert "higher learning rate" in finding.advice
    assert constant_predictions("", answers((500, "yes", "yes"), (490, "yes", "no"), (10, "no", "no"))) is None
    assert constant_predictions("", answers((995, "yes", "yes"), (5, "yes", "no"))) is None, (
        "the references are as equal"
    )
    rubbish = constant_predictions("", answers((5, "<extra>", "yes"), (5, "<extra>", "no")))
    assert rubbish is not None
    assert "lower learning rate" in rubbish.advice


@pytest.mark.parametrize(
    ("counts", "low", "told"),
    [
        (((50, "yes", "yes"), (45, "yes", "no"), (5, "no", "no")), 55.0, "without reading"),
        (((40, "yes", "yes"), (25, "yes", "no"), (20, "no", "yes"), (15, "no", "no")), 55.0, "not with the sources"),
        (((50, "yes", "yes"), (45, "yes", "no"), (5, "no", "no")), 55.1, None),
        (((50, "yes", "yes"), (30, "yes", "no"), (20, "no", "no")), 54.9, "may be chance"),
        (((60, "no", "yes"), (40, "yes", "no")), 0.0, "label words are right"),  # worse than constant, and no collapse
        (((60, "maybe", "yes"), (40, "maybe", "no")), 0.0, "without reading"),
    ],
)
def test_no_better_than_a_constant_answer(counts, low, told):
    """The interval decides, not the value."""
    right = sum(count for count, given, wanted in counts if given == wanted)
    finding = no_better_than_constant("", answers(*counts), "accuracy", right, (low, 90.0), 55.0)
    assert (finding is not None) == (told is not None)
    if finding:
        assert finding.rule is Rule.BASELINE
        assert told in finding.advice
        assert "is not safely above the 55.0 of a constant answer" in finding.what


def test_invalid_answers():
    assert invalid_answers("", 0.05, None) is None
    few = invalid_answers("", 0.051, answers((9, "yes", "yes"), (1, "wednesday", "no")))
    assert few is not None
    assert few.rule is Rule.INVALID
    assert "5.1 % of the outputs" in few.what
    assert "“wednesday”" in few.what
    many = invalid_answers("", 0.9, None)
    empty = invalid_answers("", 0.9, answers((9, "", "yes"), (1, "no", "no")))
    assert many is not None
    assert empty is not None
    assert len({few.advice, many.advice, empty.advice}) == 3, "advice for what was seen"


def test_a_value_is_compared_with_a_constant_answer_without_answers_too():
    finding = no_better_than_constant("rte", None, "accuracy", 51.0, (48.0, 54.0), 50.0)
    assert finding is not None
    assert finding.what == "accuracy 51.0 (48.0 to 54.0) is not safely above the 50.0 of a constant answer"


def test_answers_that_end_at_the_limit():
    assert unended_answers("", None) is unended_answers("", 0.05) is None
    finding = unended_answers("rte", 0.3)
    assert finding is not None
    assert (finding.rule, finding.where) == (Rule.UNENDED, "rte")
    assert "30 % of the outputs ended at the generation limit" in finding.what
    assert "generation_length" in finding.advice


def test_answers_that_are_too_short_for_bleu():
    few = answers((9, "a short one", "x"), (1, "one", "x"))
    finding = short_answers("", "bleu_e2e", 0.0, few)
    assert finding is not None
    assert finding.rule is Rule.SHORT
    assert "no answer has more than 3 words; bleu_e2e counts sequences of 4" in finding.what
    assert short_answers("", "rouge_l", 0.0, few) is None
    assert short_answers("", "bleu", 0.1, few) is None
    assert short_answers("", "bleu", 0.0, answers((1, "a b c d", "x"))) is None


def test_advice_about_prompts_is_for_methods_that_have_one():
    collapse = answers((50, "yes", "yes"), (50, "yes", "no"))
    varied = answers((50, "yes", "no"), (50, "no", "yes"))
    flat = [{"step": step, "loss": 0.7} for step in range(20)]
    said = {}
    for method in ("prompt_tuning", "lora"):
        lost = fake_score(method=method, value=40.0, majority=50.0, interval=(35.0, 45.0), invalid=0.06)
        much = fake_score(method=method, value=40.0, majority=50.0, interval=(35.0, 45.0), invalid=0.6)
        cases = ((lost, collapse), (lost, varied), (much, varied))
        findings = [f for score, own in cases for f in finished_findings([score], {"mini-rte": own}, flat)]
        said[method] = " ".join(f"{finding.rule} {finding.what} {finding.advice}" for finding in findings)
    assert "prompt.start" in said["prompt_tuning"]
    assert "source prompt" in said["prompt_tuning"]
    assert "prompt" not in said["lora"].replace("multiprompt show", "")
    assert "has not taught the form of an answer" in said["lora"]


def test_long_answers_are_cut():
    finding = constant_predictions("", answers((9, "word " * 40, "a"), (9, "word " * 40, "b")))
    assert finding is not None
    assert len(finding.what) < 100


def test_a_finished_stage():
    bad = answers((50, "1", "1"), (50, "1", "0"))
    flat = [{"step": step, "loss": 0.7} for step in range(20)]
    lost = fake_score(value=50.0, majority=50.0, interval=(45.0, 55.0), invalid=0.2)
    assert [finding.rule for finding in finished_findings([lost], {"mini-rte": bad}, flat)] == [
        Rule.CONSTANT,
        Rule.BASELINE,
        Rule.INVALID,
        Rule.DEAD,
    ]
    assert [finding.rule for finding in finished_findings([lost], {}, flat)] == [Rule.BASELINE, Rule.INVALID, Rule.DEAD]
    good = fake_score(task="mini-cola")
    both = finished_findings([lost, good], {"mini-rte": bad}, flat)
    assert {finding.where for finding in both if finding.rule is not Rule.DEAD} == {"mini-rte"}
    assert finished_findings([good], {"mini-cola": answers((50, "1", "1"), (50, "0", "0"))}, flat) == []
