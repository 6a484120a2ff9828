"""Every rule about logs: on a case that it is for, and on one that just is not."""

from __future__ import annotations

import pytest

from multiprompt.health import Rule, example_shares, flat_loss, gradient_shares, loss_shares, percent, running_findings
from multiprompt.health.logs import FEWEST_FOR_FALL, FEWEST_LINES, LEAST_MOVED, SMALL_GRADIENT, UNSEEN_LINES, WINDOW

TOTAL = 400


def log(lines: int = 40, **fields):
    """Lines every ten steps; a field is a value, or a function of the line's number from 0."""
    return [
        {"step": 10 * (number + 1), "loss": 1.0, "gradient_norm": 0.5}
        | {name: value(number) if callable(value) else value for name, value in fields.items()}
        for number in range(lines)
    ]


def rules(records, total: int | None = TOTAL) -> list[Rule]:
    return [finding.rule for finding in running_findings(records, total)]


def test_a_log_as_it_should_be_and_one_of_an_earlier_release():
    assert rules(log()) == []
    assert rules(log(), None) == []
    assert rules([]) == []
    assert rules([{"step": 1, "loss": 0.5}]) == []
    healthy = log(
        gradients={"a": 1.0, "b": 0.5},
        examples=lambda i: {"a": 10 * (i + 1), "b": 12 * (i + 1)},
        terms={"task": 0.5, "logits": 0.5 / 0.9},
        moved=0.2,
    )
    healthy[0]["mixing"] = {"a": 0.5, "b": 0.5}
    assert rules(healthy) == []


def test_a_gradient_that_stays_at_zero():
    small = SMALL_GRADIENT * 0.9
    assert rules(log(FEWEST_LINES, gradient_norm=small)) == [Rule.DEAD]
    assert rules(log(FEWEST_LINES - 1, gradient_norm=small)) == []
    assert rules(log(gradient_norm=SMALL_GRADIENT)) == []
    assert rules(log(gradient_norm=lambda i: small if i else 0.1)) == [], "a training that is done has no gradient left"


def test_a_loss_of_exactly_zero():
    nothing = log(FEWEST_LINES, loss=0.0, gradient_norm=0.0)
    (finding,) = running_findings(nothing, TOTAL)
    assert finding.rule is Rule.NOTHING, "and not a dead training, whose advice would not help"
    assert "exactly 0 in all of 5 logged lines" in finding.what
    assert "max_target_length" in finding.advice
    assert rules(nothing[:-1]) == []
    assert rules(nothing[:1], total=10) == [Rule.NOTHING], "a short training is asked at its end"
    assert rules(log(loss=lambda i: 0.0 if i else 0.1, gradient_norm=0.0)) == [Rule.DEAD], "it was learned"


def test_advice_about_a_gradient_fits_the_method():
    (finding,) = running_findings(log(gradient_norm=0.0), TOTAL, prompt=False)
    assert "prompt" not in finding.advice
    assert "rank" in finding.advice


def test_tensors_that_have_not_moved():
    records = log()
    records[-1]["moved"] = LEAST_MOVED * 0.9
    (finding,) = running_findings(records, TOTAL)
    assert finding.rule is Rule.DEAD
    assert "0.09 %" in finding.what
    assert "learning rate" in finding.advice
    records[-1]["moved"] = LEAST_MOVED
    assert rules(records) == []


def noisy(first: float, last: float, lines: int = 40):
    """A straight line with a noise of about 0.1."""
    return log(lines, loss=lambda i: first + (last - first) * i / (lines - 1) + (0.05 if i % 2 else -0.05))


def test_a_loss_that_has_not_fallen():
    finding = flat_loss(noisy(1.0, 1.0), learned=False)
    assert finding is not None
    assert finding.rule is Rule.DEAD
    assert "has not fallen" in finding.what
    assert "Raise the learning rate" in finding.advice
    rising = flat_loss(noisy(1.0, 2.0), learned=False)
    assert rising is not None
    assert "Lower the learning rate" in rising.advice
    jumping = noisy(1.0, 1.0)
    jumping[-1]["moved"] = 30.0
    too_far = flat_loss(jumping, learned=False)
    assert too_far is not None
    assert "30 times its size" in too_far.what
    assert too_far.advice == rising.advice
    assert flat_loss(noisy(1.0, 0.93), learned=False), "within the noise"
    assert flat_loss(noisy(1.0, 0.8), learned=False) is None
    assert flat_loss(noisy(1.0, 1.0), learned=True) is None, "a good start needs no fall"
    assert flat_loss(noisy(1.0, 1.0, FEWEST_FOR_FALL - 1), learned=False) is None


def test_a_steep_beginning_is_no_noise():
    assert flat_loss(log(15, loss=lambda i: 0.5 ** (2 * i)), learned=False) is None


def test_a_task_that_is_not_drawn():
    mixing = {"large": 0.99, "small": 0.01}
    records = log(UNSEEN_LINES, examples=lambda i: {"large": 320 * (i + 1), "small": 0})
    records[0]["mixing"] = mixing
    (finding,) = running_findings(records, 100_000)
    assert finding.rule is Rule.STARVED
    assert "small: not drawn" in finding.what
    assert "size_cap" in finding.advice
    assert rules(records[:-1], 100_000) == []
    records[-1]["examples"]["small"] = 1
    assert rules(records, 100_000) == []


@pytest.mark.parametrize(("seen", "starved"), [(24, True), (26, False)])
def test_a_task_that_has_a_quarter_of_its_share(seen, starved):
    records = log(20, examples=lambda i: {"a": (i + 1) * (1000 - seen), "b": (i + 1) * seen})
    records[0]["mixing"] = {"a": 0.9, "b": 0.1}
    assert rules(records, 200) == [Rule.STARVED] * starved
    assert rules(records, 400) == [Rule.STARVED] * starved, "at the middle of the training"
    assert rules(records, 402) == [], "before it"
    assert rules(records, None) == [], "of a training whose length is not known"
    assert example_shares(records) == pytest.approx({"a": 1 - seen / 1000, "b": seen / 1000})


def of_terms(weight: float = 0.9, **terms: float):
    named = {name.replace("_", " "): value for name, value in terms.items()}
    return {"terms": named, "loss": terms["task"] + weight * (sum(terms.values()) - terms["task"])}


def test_shares_of_the_terms_count_their_weights():
    record = of_terms(0.5, task=1.0, logits=2.0, decoder_states=4.0)
    assert loss_shares(record) == pytest.approx({"task": 0.25, "logits": 0.25, "decoder states": 0.5})
    assert loss_shares(of_terms(task=1.0)) == {}
    assert loss_shares({"loss": 1.0}) == {}


@pytest.mark.parametrize(
    ("states", "logits", "what"),
    [
        (91, 5, "decoder states is 91 % of the loss"),
        (89, 5, None),
        (50, 0.09, "logits is 0.09 % of the loss"),
        (50, 0.11, None),
    ],
)
def test_a_term_that_is_all_of_the_loss_or_nothing_of_it(states, logits, what):
    terms = {"task": 100 - states - logits, "logits": logits / 0.9, "decoder_states": states / 0.9}
    records = [line | of_terms(**terms) for line in log()]
    findings = running_findings(records, TOTAL)
    assert [finding.rule for finding in findings] == [Rule.LOSS_SHARES] * (what is not None)
    if what:
        assert what in findings[0].what
        assert "weight" in findings[0].advice
    assert rules(records[: 20 + FEWEST_LINES - 1]) == [], "too few lines of the second half"
    assert rules(records, None) == []
    balanced = of_terms(task=1.0, logits=1.0, decoder_states=1.0)
    assert rules([*records[:30], records[30] | balanced, *records[31:]]) == [], "once was not so"
    assert bool(rules([records[0] | balanced, *records[1:]])) == (what is not None), "in the first half it may be so"


def test_a_weight_of_zero_is_a_wish():
    assert rules([line | of_terms(0.0, task=1.0, logits=1.0) for line in log()]) == []


@pytest.mark.parametrize(
    ("gradients", "what"),
    [
        ({"a": 92.0, "b": 4.0, "c": 4.0}, "the factors of a get 92 %"),
        ({"a": 88.0, "b": 6.0, "c": 6.0}, None),
        ({"a": 50.0, "b": 48.5, "c": 1.5}, "c get 1.5 %"),
        ({"a": 50.0, "b": 48.0, "c": 2.0}, None),
        ({"a": 1.0}, None),
        ({"a": 0.0, "b": 0.0}, None),
    ],
)
def test_shares_of_the_gradient(gradients, what):
    findings = running_findings(log(gradients=gradients), TOTAL)
    assert [finding.rule for finding in findings] == [Rule.GRADIENT_SHARES] * (what is not None)
    assert not what or what in findings[0].what


def test_a_task_that_is_rarely_drawn_is_not_taken_for_one_that_hardly_learns():
    records = log(WINDOW + 10, gradients=lambda i: {"a": 1.0} | ({"b": 1.0} if i % 10 == 0 else {}))
    assert gradient_shares(records) == {"a": 0.5, "b": 0.5}
    assert rules(records[: 4 * 10]) == [], "too few lines of the other task"


def test_known_rules_are_not_checked():
    assert running_findings(log(gradient_norm=0.0), TOTAL, [Rule.DEAD]) == []


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0 %"), (0.000123, "0.012 %"), (0.053, "5.3 %"), (0.5, "50 %"), (0.994, "99.4 %"), (1.0, "100 %")],
)
def test_percent(share, text):
    assert percent(share) == text
