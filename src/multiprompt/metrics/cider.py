"""CIDEr as the caption-evaluation code computes it (E2E challenge)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from multiprompt.metrics.base import METRICS, Labels, Metric, Predictions, References, Values, ratio
from multiprompt.metrics.caption_words import caption_words
from multiprompt.metrics.words import NGram, ngrams, one_line, stripped_references

ORDER = 4
"""Longest word sequence that CIDEr counts."""

WIDTH = 6.0
"""Standard deviation of the penalty for a different length, in word pairs."""


@dataclass(frozen=True)
class _Vector:
    weights: dict[NGram, float]
    norms: list[float]  # one for each length of sequences
    pairs: int


def _vector(counts: Counter[NGram], informative: Mapping[NGram, float], unseen: float) -> _Vector:
    weights = {sequence: count * informative.get(sequence, unseen) for sequence, count in counts.items()}
    squares = [0.0] * ORDER
    for sequence, weight in weights.items():
        squares[len(sequence) - 1] += weight * weight
    pairs = sum(count for sequence, count in counts.items() if len(sequence) == 2)
    return _Vector(weights, [math.sqrt(square) for square in squares], pairs)


def _similarity(output: _Vector, reference: _Vector) -> float:
    """Mean over lengths of the cosine with clipped weights, times the penalty for a different length."""
    products = [0.0] * ORDER
    for sequence, weight in output.weights.items():
        other = reference.weights.get(sequence)
        if other is not None:
            products[len(sequence) - 1] += min(weight, other) * other
    cosines = (
        product / (norm * other_norm) if norm and other_norm else product
        for product, norm, other_norm in zip(products, output.norms, reference.norms, strict=True)
    )
    return sum(cosines) / ORDER * math.exp(-((output.pairs - reference.pairs) ** 2) / (2 * WIDTH**2))


def cider_statistics(
    predictions: Predictions, references: References, labels: Labels = None
) -> Float[np.ndarray, "n 2"]:
    """One row ``(10 x mean similarity to the references, 1)`` per example.

    In how many examples a sequence occurs is counted once over the references of the whole set.
    """
    counted = [[ngrams(caption_words(text), ORDER) for text in texts] for texts in stripped_references(references)]
    occurs = Counter(sequence for group in counted for sequence in set().union(*group))
    unseen = math.log(len(counted))
    informative = {sequence: unseen - math.log(count) for sequence, count in occurs.items()}
    values = []
    for prediction, group in zip(one_line(predictions), counted, strict=True):
        output = _vector(ngrams(caption_words(prediction), ORDER), informative, unseen)
        similarities = [_similarity(output, _vector(counts, informative, unseen)) for counts in group]
        values.append(10 * sum(similarities) / len(similarities))
    return np.stack([np.array(values, dtype=float), np.ones(len(values))], axis=1)


def cider_value(sums: np.ndarray) -> Values:
    """The mean, from sums ``(total, count)``; 0 for no examples."""
    return ratio(sums[..., 0], sums[..., 1])


CIDER = METRICS.add(
    "cider",
    Metric(
        name="cider",
        definition="Mean over examples of 10 times the mean similarity to the references: cosine of the weights "
        "(count times the logarithm of the number of examples over the number of examples whose references have "
        "it, counted over the whole set, also for its bootstrap samples) of sequences of 1 to 4 words, the output's "
        "weight clipped to the reference's, times a Gaussian penalty (sigma 6) of the difference in word pairs. So "
        "what the caption-evaluation code prints as CIDEr is CIDEr-D without stemming; words of the caption "
        "tokeniser (as in the E2E challenge's scorer).",
        range=(0.0, 10.0),
        statistics=cider_statistics,
        value=cider_value,
    ),
)
