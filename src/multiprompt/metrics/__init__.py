"""Scores of decoded texts against references: pure functions of strings, without torch.

Every metric is a function of sums of per-example statistics (see ``multiprompt.metrics.base``) and is on the
scale of the study: accuracy, F1, exact match, BLEU, ROUGE-L and TER times 100, correlations from -100 to 100, METEOR
from 0 to 1, CIDEr from 0 to 10, NIST as it is. docs/metrics.md has the table of all.
"""

from __future__ import annotations

from multiprompt.metrics.base import METRICS, Metric, constant_answer, score, statistics_of
from multiprompt.metrics.bleu import BLEU, BLEU_E2E, BLEU_WEBNLG
from multiprompt.metrics.cider import CIDER
from multiprompt.metrics.classification import ACCURACY, F1, MACRO_F1, MATTHEWS
from multiprompt.metrics.correlation import PEARSON, SPEARMAN, parse_number
from multiprompt.metrics.grouped import QUESTION_EXACT_MATCH
from multiprompt.metrics.meteor import METEOR, METEOR_E2E, meteor_metric
from multiprompt.metrics.meteor_words import MeteorTables, read_tables
from multiprompt.metrics.nist import NIST
from multiprompt.metrics.own import OwnFunction, own_metric
from multiprompt.metrics.question_answering import normalise_answer
from multiprompt.metrics.rouge import ROUGE_L, ROUGE_L_F1
from multiprompt.metrics.ter import TER
from multiprompt.metrics.validity import AnswerKind, invalid_share, is_valid

__all__ = [
    "ACCURACY",
    "BLEU",
    "BLEU_E2E",
    "BLEU_WEBNLG",
    "CIDER",
    "F1",
    "MACRO_F1",
    "MATTHEWS",
    "METEOR",
    "METEOR_E2E",
    "METRICS",
    "NIST",
    "PEARSON",
    "QUESTION_EXACT_MATCH",
    "ROUGE_L",
    "ROUGE_L_F1",
    "SPEARMAN",
    "TER",
    "AnswerKind",
    "MeteorTables",
    "Metric",
    "OwnFunction",
    "constant_answer",
    "invalid_share",
    "is_valid",
    "meteor_metric",
    "normalise_answer",
    "own_metric",
    "parse_number",
    "read_tables",
    "score",
    "statistics_of",
]
