"""Which outputs are answers at all: the share of invalid outputs is reported beside every score."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from multiprompt.errors import ConfigError, refuse_one_text
from multiprompt.metrics.base import Labels
from multiprompt.metrics.correlation import parse_number


class AnswerKind(StrEnum):
    """What the answers of a task look like."""

    LABEL = "label"
    """One of a few label words."""
    NUMBER = "number"
    """A number from 0 to 5 (STS-B)."""
    TEXT = "text"
    """Any text."""


LOWEST_SCORE, HIGHEST_SCORE = 0.0, 5.0


def is_valid(prediction: str, labels: Labels, kind: AnswerKind | str) -> bool:
    """Whether an output is an answer of the kind the task asks for, right or wrong.

    Args:
        prediction: the decoded text; outer white space does not matter.
        labels: the label words, only used for the kind ``label``.
        kind: ``label``: the output is a label word; ``number``: it is a number from 0 to 5; ``text``: not
            empty.

    Raises:
        ConfigError: the kind is ``label`` and there are no label words.
    """
    refuse_one_text(labels, "labels")
    output = prediction.strip()
    match AnswerKind(kind):
        case AnswerKind.LABEL:
            if labels is None:
                raise ConfigError("answers of the kind 'label' need label words; none were given")
            return output in labels
        case AnswerKind.NUMBER:
            number = parse_number(output)
            return number is not None and LOWEST_SCORE <= number <= HIGHEST_SCORE
        case AnswerKind.TEXT:
            return output != ""


def invalid_share(predictions: Sequence[str], labels: Labels, kind: AnswerKind | str) -> float:
    """100 times the share of outputs that are not valid; 0 for no outputs.

    Raises:
        ConfigError: as ``is_valid``, or the predictions are one text.
    """
    refuse_one_text(predictions, "predictions")
    invalid = sum(not is_valid(prediction, labels, kind) for prediction in predictions)
    return 100 * invalid / len(predictions) if predictions else 0.0
