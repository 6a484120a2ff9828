"""Exact match and token F1 of extractive question answering, as in the SQuAD 1.1 scorer."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from multiprompt.metrics.base import METRICS, Labels, Metric, Predictions, References, first_references
from multiprompt.metrics.classification import mean_value

_DELETE_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalise_answer(text: str) -> str:
    """Lower case, without ASCII punctuation, without the words a, an, the, single spaces.

    Punctuation is deleted without a space in its place: "U.S." becomes "us" and "U . S ." becomes "u s". So
    references must be written the same way as targets.
    """
    without_punctuation = text.lower().translate(_DELETE_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", without_punctuation).split())


def exact_match(prediction: str, reference: str) -> float:
    """1.0 when both are equal after ``normalise_answer`` (also when nothing is left of either), else 0.0."""
    return float(normalise_answer(prediction) == normalise_answer(reference))


def token_f1(prediction: str, reference: str) -> float:
    """F1 of the two multisets of normalised tokens; 0.0 without overlap, also when both are empty."""
    output, gold = normalise_answer(prediction).split(), normalise_answer(reference).split()
    overlap = sum((Counter(output) & Counter(gold)).values())
    # 2 * overlap / (|output| + |gold|) is the harmonic mean of precision and recall
    return 2 * overlap / (len(output) + len(gold)) if overlap else 0.0


def _best(
    pair: Callable[[str, str], float], predictions: Predictions, references: References
) -> Float[np.ndarray, "n 2"]:
    first_references(references)  # raises when an example has none
    values = [
        max(pair(prediction, text) for text in texts) for prediction, texts in zip(predictions, references, strict=True)
    ]
    return np.stack([np.array(values, dtype=float), np.ones(len(values))], axis=1)


def exact_match_statistics(
    predictions: Predictions, references: References, labels: Labels = None
) -> Float[np.ndarray, "n 2"]:
    """One row ``(best exact match over all references, 1)`` per example."""
    return _best(exact_match, predictions, references)


def qa_f1_statistics(
    predictions: Predictions, references: References, labels: Labels = None
) -> Float[np.ndarray, "n 2"]:
    """One row ``(best token F1 over all references, 1)`` per example."""
    return _best(token_f1, predictions, references)


def exact_match_first_statistics(
    predictions: Predictions, references: References, labels: Labels = None
) -> Float[np.ndarray, "n 2"]:
    """One row ``(exact match with the first reference, 1)`` per example."""
    return _best(exact_match, predictions, [(text,) for text in first_references(references)])


def qa_f1_first_statistics(
    predictions: Predictions, references: References, labels: Labels = None
) -> Float[np.ndarray, "n 2"]:
    """One row ``(token F1 with the first reference, 1)`` per example."""
    return _best(token_f1, predictions, [(text,) for text in first_references(references)])


_NORMALISED = "both lower-cased and without ASCII punctuation, the words a, an, the and spare white space"
_MEASURES = {
    "exact_match": f"equality of output and reference, {_NORMALISED}",
    "qa_f1": f"F1 of the multisets of tokens of output and reference, {_NORMALISED}, 0 when no token is "
    "shared (so also when both are empty)",
}
_ANSWERS = {
    "": "the best over all references counts (SQuAD 1.1 and MRQA scorers)",
    "_first": "only the first reference counts (as in the study's code family; lower than the official way)",
}
_STATISTICS = {
    "exact_match": exact_match_statistics,
    "qa_f1": qa_f1_statistics,
    "exact_match_first": exact_match_first_statistics,
    "qa_f1_first": qa_f1_first_statistics,
}

for _measure, _what in _MEASURES.items():
    for _suffix, _which in _ANSWERS.items():
        METRICS.add(
            _measure + _suffix,
            Metric(
                name=_measure + _suffix,
                definition=f"Mean over examples of {_what}; {_which}; an empty output is scored like any other.",
                range=(0.0, 100.0),
                statistics=_STATISTICS[_measure + _suffix],
                value=mean_value,
            ),
        )
