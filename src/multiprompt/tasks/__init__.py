"""Tasks: how the rows of a dataset become text, and how decoded text becomes an answer. No torch here.

A task is one value (``Task``) made of small rules: a source rule (``Template``), an answer rule
(``LabelAnswer``, ``ScoreAnswer``, ``TextAnswer``), a split rule, and names of metrics. A new dataset is a few
lines; see ``glue.py``.
"""

from __future__ import annotations

from multiprompt.tasks import (
    generation,
    glue,
    mini,
    multiple_choice,
    others,
    question_answering,
    superglue,
)  # fill TASKS
from multiprompt.tasks.answers import AnswerRule, LabelAnswer, ScoreAnswer, TextAnswer
from multiprompt.tasks.base import (
    GENERATED,
    GENERATED_SIZES,
    LARGE,
    MNLI_SPLITS,
    OFFICIAL,
    PARQUET_BRANCH,
    SMALL,
    SPLIT_RULES,
    TASKS,
    TRAIN_ONLY,
    HubDataset,
    SplitRule,
    Task,
    register,
)
from multiprompt.tasks.compat import compat_variant
from multiprompt.tasks.own import OWN, make_task, own_metric_problems, problems_of
from multiprompt.tasks.text import FieldError, Row, SourceRule, Template, pad_punctuation

__all__ = [
    "GENERATED",
    "GENERATED_SIZES",
    "LARGE",
    "MNLI_SPLITS",
    "OFFICIAL",
    "OWN",
    "PARQUET_BRANCH",
    "SMALL",
    "SPLIT_RULES",
    "TASKS",
    "TRAIN_ONLY",
    "AnswerRule",
    "FieldError",
    "HubDataset",
    "LabelAnswer",
    "Row",
    "ScoreAnswer",
    "SourceRule",
    "SplitRule",
    "Task",
    "Template",
    "TextAnswer",
    "compat_variant",
    "generation",
    "glue",
    "make_task",
    "mini",
    "multiple_choice",
    "others",
    "own_metric_problems",
    "pad_punctuation",
    "problems_of",
    "question_answering",
    "register",
    "superglue",
]
