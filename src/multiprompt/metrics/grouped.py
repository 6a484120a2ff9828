"""Metrics of groups of examples: a question of MultiRC with all its answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from multiprompt.metrics.base import METRICS, Labels, Metric, Predictions, References
from multiprompt.metrics.classification import accuracy_statistics, mean_value


def question_exact_match_statistics(
    predictions: Predictions, references: References, labels: Labels, groups: Sequence[str]
) -> Float[np.ndarray, "n 2"]:
    """``(all members right, 1)`` in the row of the first member of each group, zeros in the rows of the others."""
    first: dict[str, int] = {}
    members = np.array([first.setdefault(group, row) for row, group in enumerate(groups)], dtype=int)
    right = accuracy_statistics(predictions, references, labels)[:, 0]
    rows = np.zeros((len(groups), 2))
    rows[members] = 1
    np.minimum.at(rows[:, 0], members, right)
    return rows


QUESTION_EXACT_MATCH = METRICS.add(
    "question_exact_match",
    Metric(
        name="question_exact_match",
        definition="Share of groups (MultiRC: one question about one paragraph) whose outputs all equal their "
        "references after both are stripped of outer white space; an output that is not a label word is wrong. "
        "A group that a split has cut counts with the members that are left (SuperGLUE for MultiRC, EM).",
        range=(0.0, 100.0),
        statistics=question_exact_match_statistics,
        value=mean_value,
        grouped=True,
    ),
)
