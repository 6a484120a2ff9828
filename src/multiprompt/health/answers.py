"""Rules about the answers of a finished stage: is there more in them than one answer for all?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from multiprompt.health.finding import Finding, Rule, percent

CONSTANT_SHARE = 0.99
"""Share of equal answers beyond which they count as constant: a few odd sources move even a dead prompt."""

MOSTLY = 0.9
"""Share of equal answers from which the advice is about a collapse rather than about answers that are only poor."""

INVALID_LIMIT = 0.05
"""Share of outputs that are no answer beyond which a value is marked: about what the interval of a few hundred test
examples leaves open, so less of it cannot decide a comparison."""

_SHOWN = 40
"""Characters of an answer that a line shows."""


@dataclass(frozen=True)
class Answers:
    """How often every answer was given, and was right.

    Attributes:
        predictions: answer -> times given.
        references: first reference -> times it is one.
        known: all references, the further ones too.
    """

    predictions: Mapping[str, int]
    references: Mapping[str, int]
    known: frozenset[str]

    @staticmethod
    def of(pairs: Iterable[tuple[str, Sequence[str]]]) -> Answers:
        """Count predictions and their references, without outer white space."""
        predictions: Counter[str] = Counter()
        references: Counter[str] = Counter()
        known: set[str] = set()
        for prediction, texts in pairs:
            predictions[prediction.strip()] += 1
            references[texts[0].strip() if texts else ""] += 1
            known.update(text.strip() for text in texts)
        return Answers(predictions, references, frozenset(known))

    @property
    def top(self) -> tuple[str, float]:
        """The most frequent answer and its share."""
        return _top(self.predictions)

    @property
    def unknown(self) -> str | None:
        """The most frequent answer that is no reference; None if all are one."""
        others = {answer: count for answer, count in self.predictions.items() if answer not in self.known}
        return _top(others)[0] if others else None


def _top(counts: Mapping[str, int]) -> tuple[str, float]:
    answer = max(counts, key=lambda text: (counts[text], text))
    return answer, counts[answer] / sum(counts.values())


def shown(answer: str) -> str:
    """An answer within a sentence."""
    if not answer:
        return "empty"
    return f"“{answer}”" if len(answer) <= _SHOWN else f"“{answer[:_SHOWN]}…”"


def constant_predictions(where: str, answers: Answers) -> Finding | None:
    """All answers, or nearly all, are the same although the references differ."""
    answer, share = answers.top
    if share <= CONSTANT_SHARE or _top(answers.references)[1] > CONSTANT_SHARE:
        return None
    if answer in answers.known:
        advice = (
            "The training has found one answer for all: try a higher learning rate if the loss hardly moves, a lower "
            "one if it jumps, more steps, or a start from a prompt that was trained on a related task."
        )
    else:
        advice = (
            "It is no reference of any example: look at a few test sources and label words with multiprompt show, "
            "then try a lower learning rate (the prompt may have left the range that the model understands)."
        )
    return Finding(Rule.CONSTANT, where, f"{percent(share)} of the answers are {shown(answer)}", advice)


def majority_collapse(where: str, answers: Answers, metric: str, value: float, majority: float) -> Finding | None:
    """The value is not above what a constant gets, and the answers look like such a constant.

    The majority answer is taken from the test references, which is what the files of a run tell.

    Args:
        where: the task, if the stage has several.
        answers: to the test examples.
        metric: name of the reported metric.
        value: of the metric.
        majority: value of the most frequent training answer.
    """
    answer, share = answers.top
    common = max(answers.references.values())
    if value > majority or not (answers.references.get(answer) == common or share > CONSTANT_SHARE):
        return None
    what = (
        f"{metric} {value:.1f} is not above the {majority:.1f} of the most frequent training answer; "
        f"{percent(share)} of the answers are {shown(answer)}"
    )
    if share >= MOSTLY:
        advice = (
            "It answers without reading: try another learning rate, more steps, or another start. With few or uneven "
            "training examples, draw as many of every label (targets.balanced)."
        )
    else:
        advice = (
            "The answers vary, but not with the sources: try more steps first, then a lower learning rate or a start "
            "from a source prompt."
        )
    return Finding(Rule.MAJORITY, where, what, advice)


def invalid_answers(where: str, invalid: float, answers: Answers | None) -> Finding | None:
    """Many outputs are no answer of the task.

    Args:
        where: the task, if the stage has several.
        invalid: share (0 to 1) of such outputs.
        answers: for an example of them, if they are at hand.
    """
    if invalid <= INVALID_LIMIT:
        return None
    what = f"{percent(invalid)} of the outputs are no answer of the task"
    example = answers.unknown if answers else None
    if example is not None:
        what += f"; the most frequent that no example has for a reference is {shown(example)}"
    if example == "":
        advice = "The model ends its answer at once: try more steps, or label words that it knows."
    elif invalid > 0.5:
        advice = (
            "The prompt has not taught the form of an answer: try more steps or a higher learning rate, and check that "
            "the label words are texts that the model can write (multiprompt show)."
        )
    else:
        advice = "Try more steps, or a start from the label words (prompt.start: text), before comparing the value."
    return Finding(Rule.INVALID, where, what, advice)
