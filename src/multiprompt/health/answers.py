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

BLEU_WORDS = 4
"""Longest word sequence that BLEU counts."""

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


def constant_predictions(where: str, answers: Answers, prompt: bool = True) -> Finding | None:
    """All answers, or nearly all, are the same although the references differ.

    Args:
        where: the task, if the stage has several.
        answers: to the test examples.
        prompt: whether a prompt was trained, for which there are other starts.
    """
    answer, share = answers.top
    if share <= CONSTANT_SHARE or _top(answers.references)[1] > CONSTANT_SHARE:
        return None
    if answer in answers.known:
        advice = (
            "The training has found one answer for all: try a higher learning rate if the loss hardly moves, a lower "
            "one if it jumps, or more steps"
            + (", or a start from a prompt that was trained on a related task." if prompt else ".")
        )
    else:
        advice = (
            "It is no reference of any example: look at a few test sources and label words with multiprompt show, "
            "then try a lower learning rate (what is trained may have left the range that the model understands)."
        )
    return Finding(Rule.CONSTANT, where, f"{percent(share)} of the answers are {shown(answer)}", advice)


def no_better_than_constant(
    where: str,
    answers: Answers | None,
    metric: str,
    value: float,
    interval: tuple[float, float],
    constant: float,
    prompt: bool = True,
) -> Finding | None:
    """The interval of the value is not all above what a constant answer gets: just what tables mark.

    Args:
        where: the task, if the stage has several.
        answers: to the test examples, if they are at hand.
        metric: name of the reported metric.
        value: of the metric.
        interval: 95 % interval of the value.
        constant: value of the constant answer that is best on the training rows.
        prompt: whether a prompt was trained, for which there are other starts.
    """
    low, high = interval
    if low > constant:
        return None
    what = f"{metric} {value:.1f} ({low:.1f} to {high:.1f}) is not safely above the {constant:.1f} of a constant answer"
    answer, share = answers.top if answers else ("", 0.0)
    if answers:
        what += f"; {percent(share)} of the answers are {shown(answer)}"
    if share >= MOSTLY:
        advice = (
            f"It answers without reading: try another learning rate, more steps{', or another start' * prompt}. With "
            "few or uneven training examples, draw as many of every label (targets.balanced)."
        )
    elif value > constant:
        advice = "The difference may be chance: more test rows (data.max_test), more seeds or more steps can tell."
    else:
        advice = (
            "The answers vary, but not with the sources: check with multiprompt show that targets and label words are "
            "right, try more steps, then a lower learning rate"
            + (" or a start from a source prompt." if prompt else ".")
        )
    return Finding(Rule.BASELINE, where, what, advice)


def unended_answers(where: str, unended: float | None) -> Finding | None:
    """Many outputs have no end-of-sequence token.

    Args:
        where: the task, if the stage has several.
        unended: share (0 to 1) of such outputs; None if it is not known.
    """
    if unended is None or unended <= INVALID_LIMIT:
        return None
    return Finding(
        Rule.UNENDED,
        where,
        f"{percent(unended)} of the outputs ended at the generation limit, without an end-of-sequence token",
        "If references are as long as the limit, raise generation_length of the task; if not, the training has not "
        "taught where an answer ends: try more steps or a higher learning rate.",
    )


def short_answers(where: str, metric: str, value: float, answers: Answers) -> Finding | None:
    """BLEU is 0 because no answer has a sequence of words that it counts.

    Args:
        where: the task, if the stage has several.
        metric: name of the reported metric.
        value: of the metric.
        answers: to the test examples.
    """
    longest = max(len(answer.split()) for answer in answers.predictions)
    if not metric.startswith("bleu") or value > 0 or longest >= BLEU_WORDS:
        return None
    return Finding(
        Rule.SHORT,
        where,
        f"no answer has more than {longest} words; {metric} counts sequences of {BLEU_WORDS} words and is 0 without "
        "any",
        "If the references are as short, report another metric, such as rouge_l or exact_match; if not, try more "
        "steps, and look at a few answers (predictions-TASK.jsonl).",
    )


def invalid_answers(where: str, invalid: float, answers: Answers | None, prompt: bool = True) -> Finding | None:
    """Many outputs are no answer of the task.

    Args:
        where: the task, if the stage has several.
        invalid: share (0 to 1) of such outputs.
        answers: for an example of them, if they are at hand.
        prompt: whether a prompt was trained, for which there are other starts.
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
            "The training has not taught the form of an answer: try more steps or a higher learning rate, and check "
            "that the label words are texts that the model can write (multiprompt show)."
        )
    else:
        start = ", or a start from the label words (prompt.start: text)," if prompt else ""
        advice = f"Try more steps{start} before comparing the value."
    return Finding(Rule.INVALID, where, what, advice)
