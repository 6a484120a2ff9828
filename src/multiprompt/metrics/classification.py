"""Metrics of tasks whose answers are label words: accuracy, binary F1, macro F1, Matthews correlation."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from multiprompt.metrics.base import (
    METRICS,
    Labels,
    Metric,
    Predictions,
    References,
    Values,
    first_references,
    need_labels,
    ratio,
)


def accuracy_statistics(
    predictions: Predictions, references: References, labels: Labels = None
) -> Float[np.ndarray, "n 2"]:
    """One row ``(right, 1)`` per example."""
    right = [
        prediction.strip() in {text.strip() for text in texts}
        for prediction, texts in zip(predictions, references, strict=True)
    ]
    return np.stack([np.array(right, dtype=float), np.ones(len(right))], axis=1)


def mean_value(sums: np.ndarray) -> Values:
    """100 times the mean, from sums ``(total, count)``; 0 for no examples."""
    return 100 * ratio(sums[..., 0], sums[..., 1])


def confusion_statistics(
    metric: str, predictions: Predictions, references: References, labels: Labels
) -> Float[np.ndarray, "n 4"]:
    """One row per example: true positive, false positive, false negative, true negative.

    The second label word is the positive class. An output that is not a label word becomes the opposite of
    the gold label, so it always counts as wrong. (Leaving it out would reward a model that writes rubbish.)
    """
    golds = first_references(references)
    negative, positive = need_labels(metric, labels, golds, count=2)
    opposite = {negative: positive, positive: negative}
    cells = np.zeros((len(predictions), 4))
    for row, (prediction, gold) in enumerate(zip(predictions, golds, strict=True)):
        stripped = prediction.strip()
        output = stripped if stripped in opposite else opposite[gold]
        if output == positive:
            cells[row, 0 if gold == positive else 1] = 1
        else:
            cells[row, 2 if gold == positive else 3] = 1
    return cells


def f1_statistics(predictions: Predictions, references: References, labels: Labels) -> Float[np.ndarray, "n 4"]:
    """Cells of the confusion table, see ``confusion_statistics``."""
    return confusion_statistics("f1", predictions, references, labels)


def f1_value(sums: np.ndarray) -> Values:
    """Binary F1, 0 when there is no positive gold and no positive output."""
    true_positive, false_positive, false_negative = sums[..., 0], sums[..., 1], sums[..., 2]
    return 100 * ratio(2 * true_positive, 2 * true_positive + false_positive + false_negative)


def matthews_statistics(predictions: Predictions, references: References, labels: Labels) -> Float[np.ndarray, "n 4"]:
    """Cells of the confusion table, see ``confusion_statistics``."""
    return confusion_statistics("matthews", predictions, references, labels)


def matthews_value(sums: np.ndarray) -> Values:
    """Matthews correlation, 0 when all outputs or all golds are of one class."""
    tp, fp, fn, tn = (sums[..., cell] for cell in range(4))
    # the square root of each factor on its own: their product may leave the range in which floats are exact
    denominator = np.sqrt(tp + fp) * np.sqrt(tp + fn) * np.sqrt(tn + fp) * np.sqrt(tn + fn)
    return 100 * np.clip(ratio(tp * tn - fp * fn, denominator), -1, 1)


def macro_f1_statistics(predictions: Predictions, references: References, labels: Labels) -> Float[np.ndarray, "n m"]:
    """For each class in turn three columns: true positive, false positive, false negative.

    An output that is not a label word is a false negative of the gold class and a false positive of none.
    """
    golds = first_references(references)
    words = need_labels("macro_f1", labels, golds)
    cells = np.zeros((len(predictions), len(words), 3))
    for row, (prediction, gold) in enumerate(zip(predictions, golds, strict=True)):
        output = prediction.strip()
        if output == gold:
            cells[row, words.index(gold), 0] = 1
        else:
            if output in words:
                cells[row, words.index(output), 1] = 1
            cells[row, words.index(gold), 2] = 1
    return cells.reshape(len(predictions), -1)


def macro_f1_value(sums: np.ndarray) -> Values:
    """The mean of the F1 values of all classes; a class with neither golds nor outputs counts as 0."""
    by_class = sums.reshape(*sums.shape[:-1], -1, 3)
    return f1_value(by_class).mean(axis=-1)


ACCURACY = METRICS.add(
    "accuracy",
    Metric(
        name="accuracy",
        definition="Share of outputs that equal a reference after both are stripped of outer white space; an "
        "output that is not a label word is wrong (GLUE, SuperGLUE).",
        range=(0.0, 100.0),
        statistics=accuracy_statistics,
        value=mean_value,
    ),
)

F1 = METRICS.add(
    "f1",
    Metric(
        name="f1",
        definition="F1 of the second label word, pooled over all examples; an output that is not a label "
        "word is replaced by the opposite of the gold label; 0 when there is neither a positive gold nor a "
        "positive output (GLUE for MRPC and QQP; F1a of SuperGLUE for MultiRC; invalid outputs as in T5 and "
        "ATTEMPT).",
        range=(0.0, 100.0),
        statistics=f1_statistics,
        value=f1_value,
    ),
)

MATTHEWS = METRICS.add(
    "matthews",
    Metric(
        name="matthews",
        definition="Matthews correlation between outputs and golds of two classes; an output that is not a "
        "label word is replaced by the opposite of the gold label; 0 when all outputs or all golds are of "
        "one class (GLUE for CoLA).",
        range=(-100.0, 100.0),
        statistics=matthews_statistics,
        value=matthews_value,
    ),
)

MACRO_F1 = METRICS.add(
    "macro_f1",
    Metric(
        name="macro_f1",
        definition="Unweighted mean over all label words of the F1 of that class; an output that is not a "
        "label word is a miss of the gold class; a class with neither golds nor outputs counts as 0 "
        "(SuperGLUE for CB).",
        range=(0.0, 100.0),
        statistics=macro_f1_statistics,
        value=macro_f1_value,
    ),
)
