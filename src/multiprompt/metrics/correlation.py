"""Pearson and Spearman correlation of predicted numbers with gold numbers (STS-B)."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from multiprompt.errors import DataError
from multiprompt.metrics.base import (
    METRICS,
    Labels,
    Metric,
    Predictions,
    References,
    Values,
    first_references,
    ratio,
)

UNPARSABLE = -1.0
"""What a prediction that is not a number counts as: below every gold score (as in T5 and ATTEMPT)."""

LARGEST = 1e100
"""Numbers beyond this count as unparsable, like infinities: their squares would leave the range of floats."""

CONSTANT = 1e-12
"""A variance that is at most this part of the mean square is rounding noise: the values count as constant."""


def parse_number(text: str) -> float | None:
    """The finite number that a text says, or ``None``."""
    try:
        number = float(text.strip())
    except ValueError:
        return None
    return number if math.isfinite(number) and abs(number) <= LARGEST else None


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def _numbers(predictions: Predictions, references: References) -> tuple[np.ndarray, np.ndarray]:
    golds = first_references(references)
    gold_numbers = [parse_number(gold) for gold in golds]
    for position, number in enumerate(gold_numbers):
        if number is None:
            raise DataError(f"the reference of example {position} is {golds[position]!r}; expected a number")
    parsed = [parse_number(prediction) for prediction in predictions]
    outputs = [UNPARSABLE if number is None else number for number in parsed]
    return np.array(outputs, dtype=float), np.array(gold_numbers, dtype=float)


def _moments(outputs: np.ndarray, golds: np.ndarray) -> Float[np.ndarray, "n 6"]:
    # A correlation does not change when a constant is taken away. Taking the median away keeps the sums of
    # squares small, does not depend on the order of examples, and leaves exact zeros where all values are
    # equal.
    x = outputs - np.median(outputs) if len(outputs) else outputs
    y = golds - np.median(golds) if len(golds) else golds
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)


def pearson_statistics(
    predictions: Predictions, references: References, labels: Labels = None
) -> Float[np.ndarray, "n 6"]:
    """Moments of output x and gold y, each less its median over the set: 1, x, y, xx, yy, xy."""
    return _moments(*_numbers(predictions, references))


def spearman_statistics(
    predictions: Predictions, references: References, labels: Labels = None
) -> Float[np.ndarray, "n 6"]:
    """The same moments of average ranks, which are computed once over the whole set."""
    outputs, golds = _numbers(predictions, references)
    return _moments(average_ranks(outputs), average_ranks(golds))


def correlation_value(sums: np.ndarray) -> Values:
    """Pearson correlation from summed moments; 0 when outputs or golds are constant."""
    count, x, y, xx, yy, xy = (sums[..., column] for column in range(6))
    x_spread = count * xx - x * x
    y_spread = count * yy - y * y
    x_spread = np.where(x_spread > CONSTANT * count * xx, x_spread, 0.0)
    y_spread = np.where(y_spread > CONSTANT * count * yy, y_spread, 0.0)
    # one root for each, not one of the product, which could overflow
    return 100 * np.clip(ratio(count * xy - x * y, np.sqrt(x_spread) * np.sqrt(y_spread)), -1, 1)


_TREATMENT = (
    "an output that is not a finite number counts as -1; 0 when outputs or golds are constant; golds are the "
    "rounded target texts"
)

PEARSON = METRICS.add(
    "pearson",
    Metric(
        name="pearson",
        definition="Pearson correlation of the numbers read from outputs and golds; "
        f"{_TREATMENT} (GLUE for STS-B; invalid outputs as in T5 and ATTEMPT).",
        range=(-100.0, 100.0),
        statistics=pearson_statistics,
        value=correlation_value,
    ),
)

SPEARMAN = METRICS.add(
    "spearman",
    Metric(
        name="spearman",
        definition="Pearson correlation of the average ranks of the numbers read from outputs and golds; "
        "ranks are computed once over the whole set, also for its bootstrap samples; "
        f"{_TREATMENT} (GLUE for STS-B; invalid outputs as in T5 and ATTEMPT).",
        range=(-100.0, 100.0),
        statistics=spearman_statistics,
        value=correlation_value,
    ),
)
