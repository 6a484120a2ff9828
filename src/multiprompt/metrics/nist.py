"""NIST: precision of word sequences weighted by how much each of them tells (mteval, E2E challenge)."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
from jaxtyping import Float

from multiprompt.metrics.base import METRICS, Labels, Metric, Predictions, References, Values, ratio
from multiprompt.metrics.words import NGram, mteval_words, ngrams, one_line, stripped_references

ORDER = 5
"""Longest word sequence that NIST counts."""

SHORTNESS = -math.log(0.5) / math.log(1.5) ** 2
"""Makes the penalty 1/2 for outputs that have two thirds of the length of the references."""


def _information(counts: Counter[NGram]) -> dict[NGram, float]:
    """Bits that the last word of each sequence tells after the words before it, over all references."""
    words = sum(count for sequence, count in counts.items() if len(sequence) == 1)
    return {
        sequence: math.log2((counts[sequence[:-1]] if len(sequence) > 1 else words) / count)
        for sequence, count in counts.items()
    }


def nist_statistics(
    predictions: Predictions, references: References, labels: Labels = None
) -> Float[np.ndarray, "n 11"]:
    """One row per example: information of matches of 1 to 5 words, sequences of 1 to 5 words, mean reference length.

    Information is counted once over all references of the set.
    """
    texts = [[mteval_words(text) for text in group] for group in stripped_references(references)]
    counted = [[ngrams(words, ORDER) for words in group] for group in texts]
    totals: Counter[NGram] = Counter()
    for group in counted:
        for counts in group:
            totals.update(counts)
    information = _information(totals)
    rows = np.zeros((len(predictions), 2 * ORDER + 1))
    for row, (prediction, group) in enumerate(zip(one_line(predictions), counted, strict=True)):
        output = mteval_words(prediction)
        for sequence, count in ngrams(output, ORDER).items():
            matches = min(count, max(counts[sequence] for counts in group))
            if matches:
                rows[row, len(sequence) - 1] += matches * information[sequence]
        rows[row, ORDER : 2 * ORDER] = [max(0, len(output) - length) for length in range(ORDER)]
        rows[row, -1] = sum(len(words) for words in texts[row]) / len(texts[row])
    return rows


def nist_value(sums: np.ndarray) -> Values:
    """Sum over lengths of information per sequence, times the penalty for outputs shorter than the references."""
    information, sequences, reference = sums[..., :ORDER], sums[..., ORDER : 2 * ORDER], sums[..., -1]
    share = np.minimum(1.0, ratio(sequences[..., 0], reference))
    penalty = np.where(share > 0, np.exp(-SHORTNESS * np.log(np.where(share > 0, share, 1.0)) ** 2), 0.0)
    return penalty * ratio(information, sequences).sum(axis=-1)


NIST = METRICS.add(
    "nist",
    Metric(
        name="nist",
        definition="Sum over lengths of 1 to 5 words of the information (in bits, from the counts in all references "
        "of the set, also for its bootstrap samples) of matched sequences over the number of output sequences, times "
        "a penalty for outputs shorter than the mean reference; mteval 13a words, lower-cased; not scaled (NIST "
        "2002, mteval-v13a as in the E2E challenge's scorer).",
        range=(0.0, float("inf")),
        statistics=nist_statistics,
        value=nist_value,
    ),
)
