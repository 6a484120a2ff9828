"""Every rule about answers: on a case that it is for, and on one that just is not."""

from __future__ import annotations

import pytest

from multiprompt.evaluation.health import finished_findings
from multiprompt.health import Answers, Rule, constant_predictions, invalid_answers, majority_collapse
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
    ("counts", "value", "told"),
    [
        (((50, "yes", "yes"), (45, "yes", "no"), (5, "no", "no")), 55.0, "without reading"),
        (((40, "yes", "yes"), (25, "yes", "no"), (20, "no", "yes"), (15, "no", "no")), 55.0, "not with the sources"),
        (((50, "yes", "yes"), (45, "yes", "no"), (5, "no", "no")), 55.1, None),
        (((60, "no", "yes"), (40, "yes", "no")), 0.0, None),  # worse than constant, and no collapse
        (((60, "maybe", "yes"), (40, "maybe", "no")), 0.0, "without reading"),
    ],
)
def test_no_better_than_the_majority(counts, value, told):
    finding = majority_collapse("", answers(*counts), "accuracy", value, 55.0)
    assert (finding is not None) == (told is not None)
    if finding:
        assert finding.rule is Rule.MAJORITY
        assert told in finding.advice
        assert "is not above the 55.0" in finding.what


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
        Rule.MAJORITY,
        Rule.INVALID,
        Rule.DEAD,
    ]
    assert [finding.rule for finding in finished_findings([lost], {}, flat)] == [Rule.INVALID, Rule.DEAD]
    good = fake_score(task="mini-cola")
    both = finished_findings([lost, good], {"mini-rte": bad}, flat)
    assert {finding.where for finding in both if finding.rule is not Rule.DEAD} == {"mini-rte"}
    assert finished_findings([good], {"mini-cola": answers((50, "1", "1"), (50, "0", "0"))}, flat) == []
