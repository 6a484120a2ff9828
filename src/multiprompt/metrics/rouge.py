"""ROUGE-L: longest common subsequence of words, as in caption evaluation and as in the rouge-score package."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from multiprompt.metrics.base import METRICS, Labels, Metric, Predictions, References
from multiprompt.metrics.caption_words import caption_words
from multiprompt.metrics.classification import mean_value
from multiprompt.metrics.words import one_line, rouge_words, stripped_references

RECALL_WEIGHT = 1.2
"""The beta of F in caption evaluation: recall counts a little more than precision."""


def common_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence.

    Every bit of one integer stands for a word of ``first``; a cleared bit is a step of the common subsequence, and
    one addition does a whole row of the usual table (Allison and Dix 1986; Hyyrö 2004).
    """
    places: dict[str, int] = {}
    for position, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << position
    every = (1 << len(first)) - 1
    open_bits = every
    for word in second:
        matched = open_bits & places.get(word, 0)
        open_bits = (open_bits + matched | open_bits - matched) & every
    return len(first) - open_bits.bit_count()


def _caption_f(output: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    common = [common_length(output, words) for words in references]
    # the original splits an empty text into one empty word, so its length is 1 and it equals another empty text
    if not output:
        return float(any(not words for words in references))
    precision = max(common) / len(output)
    recall = max(length / max(1, len(words)) for length, words in zip(common, references, strict=True))
    if not precision:
        return 0.0
    return (1 + RECALL_WEIGHT**2) * precision * recall / (recall + RECALL_WEIGHT**2 * precision)


def rouge_l_statistics(
    predictions: Predictions, references: References, labels: Labels = None
) -> Float[np.ndarray, "n 2"]:
    """One row ``(F from the best precision and the best recall over all references, 1)`` per example."""
    values = [
        _caption_f(caption_words(prediction), [caption_words(text) for text in texts])
        for prediction, texts in zip(one_line(predictions), stripped_references(references), strict=True)
    ]
    return np.stack([np.array(values, dtype=float), np.ones(len(values))], axis=1)


def _f1(output: Sequence[str], reference: Sequence[str]) -> float:
    common = common_length(output, reference)
    return 2 * common / (len(output) + len(reference)) if common else 0.0


def rouge_l_f1_statistics(
    predictions: Predictions, references: References, labels: Labels = None
) -> Float[np.ndarray, "n 2"]:
    """One row ``(best F1 over all references, 1)`` per example."""
    values = [
        max(_f1(rouge_words(prediction), rouge_words(text)) for text in texts)
        for prediction, texts in zip(one_line(predictions), stripped_references(references), strict=True)
    ]
    return np.stack([np.array(values, dtype=float), np.ones(len(values))], axis=1)


ROUGE_L = METRICS.add(
    "rouge_l",
    Metric(
        name="rouge_l",
        definition="Mean over examples, in points, of F with beta 1.2 from the longest common subsequence of words: "
        "the best precision and the best recall, each over all references; words of the caption tokeniser (caption "
        "evaluation, as in the E2E challenge's scorer).",
        range=(0.0, 100.0),
        statistics=rouge_l_statistics,
        value=mean_value,
    ),
)

ROUGE_L_F1 = METRICS.add(
    "rouge_l_f1",
    Metric(
        name="rouge_l_f1",
        definition="Mean over examples, in points, of the best F1 over all references from the longest common "
        "subsequence of words; words are lower-cased runs of ASCII letters and digits, not stemmed (rougeL of the "
        "rouge-score package without its stemmer).",
        range=(0.0, 100.0),
        statistics=rouge_l_f1_statistics,
        value=mean_value,
    ),
)
