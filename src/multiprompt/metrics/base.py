"""What a metric is: a function of sums of per-example statistics.

A metric computes one row of numbers for every example, and its value from the sum of those rows. So the value
of a whole test set, of a part of it, and of ten thousand bootstrap samples of it come from the same few
lines: the sums of all bootstrap samples are one matrix product (counts of each example in each sample times
the statistics).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from multiprompt.errors import ConfigError, DataError, refuse_one_text
from multiprompt.registry import Registry

Predictions = Sequence[str]
References = Sequence[Sequence[str]]
Labels = tuple[str, ...] | None
Groups = Sequence[str] | None
Values = np.ndarray | np.floating
"""An array, or NumPy's number where an array would have no axes."""


def _no_statistics(*_: Any) -> Any:
    raise TypeError("a metric that is a function of all examples has no statistics of each")


@dataclass(frozen=True)
class Metric:
    """A score on the scale of the study: times 100, except METEOR, NIST and CIDEr (see ``range``).

    Attributes:
        name: the registered name.
        definition: one exact sentence: what counts, what an invalid output counts as, and the source.
        range: the lowest and the highest possible value.
        statistics: from predictions, the references of each example and the label words (``None`` for open
            answers) to one row of statistics per example. Predictions are stripped before they are compared. A
            grouped metric takes the group of each example as a fourth argument; ``statistics_of`` hands it over.
        value: from sums of those rows over examples (any leading axes) to values; 0/0 has a stated result,
            never NaN.
        function: of a metric of the user's own, in place of the two: from predictions and references to the value.
        grouped: whether examples are judged in groups, such as all the answers to one question.
        higher_is_better: false for rates of errors.
    """

    name: str
    definition: str
    range: tuple[float, float]
    statistics: Callable[..., Float[np.ndarray, "n m"]] = _no_statistics
    value: Callable[[np.ndarray], Values] = _no_statistics
    function: Callable[[Predictions, References], float] | None = None
    grouped: bool = False
    higher_is_better: bool = True


METRICS: Registry[Metric] = Registry("metric")
"""Every metric by name."""


def statistics_of(
    metric: Metric | str,
    predictions: Predictions,
    references: References,
    labels: Labels = None,
    groups: Groups = None,
) -> Float[np.ndarray, "n m"]:
    """The statistics of a metric, grouped or not: one row per example, for sums over any part of the examples.

    Args:
        metric: a metric or its registered name.
        predictions: one decoded text per example.
        references: for each example the texts that count as right; one text stands for a list of one.
        labels: the label words of the task, ``None`` for open answers.
        groups: for each example the name of its group; only grouped metrics look at it.

    Raises:
        DataError: there are no examples, or not one list of references (or one group) for each prediction.
        ConfigError: the metric needs label words or groups and there are none, or one text is given where a list is
            expected.
    """
    chosen = METRICS[metric] if isinstance(metric, str) else metric
    _check_examples(chosen, predictions, references)
    references = [(texts,) if isinstance(texts, str) else texts for texts in references]
    for what, given in (("labels", labels), ("groups", groups)):
        refuse_one_text(given, what)
    if not chosen.grouped:
        return chosen.statistics(predictions, references, labels)
    if groups is None:
        raise ConfigError(
            f"the metric {chosen.name!r} judges groups of examples and needs the group of each; this task has none"
        )
    if len(groups) != len(predictions):
        raise DataError(f"{len(predictions)} predictions but {len(groups)} groups; expected one each")
    return chosen.statistics(predictions, references, labels, groups)


def _check_examples(metric: Metric, predictions: Predictions, references: References) -> None:
    for what, given in (("predictions", predictions), ("references", references)):
        refuse_one_text(given, what)
    if len(predictions) != len(references):
        raise DataError(f"{len(predictions)} predictions but {len(references)} sets of references; expected one each")
    if not len(predictions):
        raise DataError(f"{metric.name} of no examples is not defined; give at least one prediction")


def score(
    metric: Metric | str,
    predictions: Predictions,
    references: References,
    labels: Labels = None,
    groups: Groups = None,
) -> float:
    """The value of a metric over a whole set of examples; arguments and errors as in ``statistics_of``."""
    chosen = METRICS[metric] if isinstance(metric, str) else metric
    if chosen.function is not None:
        _check_examples(chosen, predictions, references)
        return chosen.function(predictions, [(texts,) if isinstance(texts, str) else texts for texts in references])
    rows = statistics_of(chosen, predictions, references, labels, groups)
    return float(chosen.value(rows.sum(axis=0)))


def constant_answer(
    metric: Metric | str, train_targets: Sequence[str], labels: Labels = None, groups: Groups = None
) -> str:
    """The answer that a baseline gives to every example, chosen on training rows.

    With label words it is the one that the metric values most when it is given to all the training rows: for accuracy
    the most frequent one, for F1 that of the positive class. For open answers it is the most frequent target; numbers
    have no better one, since the correlation with a constant is 0. Ties go to the more frequent answer, then to the
    first in the order of characters.

    Args:
        metric: a metric or its registered name.
        train_targets: targets of the training rows.
        labels: the label words of the task, ``None`` for open answers.
        groups: of the training rows; where there are none, a grouped metric judges every row by itself.

    Raises:
        DataError: there are no targets.
        ConfigError: the targets are one text, or the metric does not fit the labels.
    """
    refuse_one_text(train_targets, "the training targets")
    if not train_targets:
        raise DataError("the constant answer of no training examples is not defined; give at least one")
    counts = Counter(train_targets)
    if labels is None:
        return min(counts, key=lambda answer: (-counts[answer], answer))
    references = [(target,) for target in train_targets]
    judged = groups or [str(position) for position in range(len(references))]
    values = {label: score(metric, [label] * len(references), references, labels, judged) for label in labels}
    return min(labels, key=lambda label: (-values[label], -counts[label], label))


def first_references(references: References) -> list[str]:
    """The first reference of each example, stripped.

    Raises:
        DataError: an example has no reference.
    """
    for position, texts in enumerate(references):
        if not texts:
            raise DataError(f"example {position} has no reference; expected at least one")
    return [texts[0].strip() for texts in references]


def need_labels(metric: str, labels: Labels, golds: Sequence[str], count: int | None = None) -> tuple[str, ...]:
    """The label words, checked: they are there, as many as needed, and every gold is one of them.

    Raises:
        ConfigError: no label words, or not ``count`` of them.
        DataError: a gold answer that is not a label word.
    """
    if labels is None:
        raise ConfigError(f"the metric {metric!r} needs label words; this task has open answers")
    if count is not None and len(labels) != count:
        raise ConfigError(f"the metric {metric!r} needs {count} label words; the task has {len(labels)}")
    for position, gold in enumerate(golds):
        if gold not in labels:
            raise DataError(f"the reference of example {position} is {gold!r}; expected one of {labels}")
    return labels


def ratio(numerator: Values, denominator: Values) -> Values:
    """``numerator / denominator``, and 0 where the denominator is 0."""
    nonzero = denominator != 0
    return np.where(nonzero, numerator / np.where(nonzero, denominator, 1.0), 0.0)
