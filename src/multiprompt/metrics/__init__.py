"""Scores of decoded texts against references: pure functions of strings, without torch.

Every metric is a function of sums of per-example statistics (see ``multiprompt.metrics.base``) and is on the
scale of the study: accuracy, F1 and exact match from 0 to 100, correlations from -100 to 100.
"""

from __future__ import annotations

from multiprompt.metrics.base import METRICS, Metric, majority_baseline, majority_target, score
from multiprompt.metrics.classification import ACCURACY, F1, MACRO_F1, MATTHEWS
from multiprompt.metrics.correlation import PEARSON, SPEARMAN, parse_number
from multiprompt.metrics.question_answering import normalise_answer
from multiprompt.metrics.validity import AnswerKind, invalid_share, is_valid

__all__ = [
    "ACCURACY",
    "F1",
    "MACRO_F1",
    "MATTHEWS",
    "METRICS",
    "PEARSON",
    "SPEARMAN",
    "AnswerKind",
    "Metric",
    "invalid_share",
    "is_valid",
    "majority_baseline",
    "majority_target",
    "normalise_answer",
    "parse_number",
    "score",
]
