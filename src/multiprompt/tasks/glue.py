"""The tasks of GLUE (Wang et al., ICLR 2019), without WNLI."""

from __future__ import annotations

from collections.abc import Mapping

from multiprompt.tasks.answers import AnswerRule, LabelAnswer, ScoreAnswer
from multiprompt.tasks.base import LARGE, MNLI_SPLITS, SMALL, HubDataset, SplitRule, Task, register
from multiprompt.tasks.text import Template

REVISION = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"


def _glue(
    name: str,
    template: str,
    answer: AnswerRule,
    metrics: tuple[str, ...],
    split_rule: SplitRule,
    official_rows: Mapping[str, int],
) -> Task:
    return register(
        Task(
            name=name,
            family="glue",
            folder=f"glue/{name}",
            source=Template(template),
            answer=answer,
            metrics=metrics,
            reported=metrics[0],
            split_rule=split_rule,
            prefix=name,
            hub=HubDataset("nyu-mll/glue", name, REVISION),
            official_rows=official_rows,
        )
    )


SST2 = _glue(
    "sst2",
    "sentence: {sentence}",
    LabelAnswer(),  # 0 negative, 1 positive
    ("accuracy",),
    LARGE,
    {"train": 67_349, "validation": 872},
)

COLA = _glue(
    "cola",
    "sentence: {sentence}",
    LabelAnswer(),  # 0 unacceptable, 1 acceptable
    ("matthews", "accuracy"),
    SMALL,
    {"train": 8_551, "validation": 1_043},
)

MRPC = _glue(
    "mrpc",
    "sentence1: {sentence1} sentence2: {sentence2}",
    LabelAnswer(),  # 0 different, 1 equivalent
    ("accuracy", "f1"),
    SMALL,
    {"train": 3_668, "validation": 408},
)

QQP = _glue(
    "qqp",
    "question1: {question1} question2: {question2}",
    LabelAnswer(),  # 0 different, 1 duplicate
    ("accuracy", "f1"),
    LARGE,
    {"train": 363_846, "validation": 40_430},
)

QNLI = _glue(
    "qnli",
    "question: {question} sentence: {sentence}",
    LabelAnswer(),  # 0 entailment, 1 not
    ("accuracy",),
    LARGE,
    {"train": 104_743, "validation": 5_463},
)

MNLI = _glue(
    "mnli",
    "premise: {premise} hypothesis: {hypothesis}",
    LabelAnswer(("0", "1", "2")),  # 0 entailment, 1 neutral, 2 contradiction
    ("accuracy",),
    MNLI_SPLITS,
    {"train": 392_702, "validation_mismatched": 9_832, "validation_matched": 9_815},
)

RTE = _glue(
    "rte",
    "sentence1: {sentence1} sentence2: {sentence2}",
    LabelAnswer(),  # 0 entailment, 1 not
    ("accuracy",),
    SMALL,
    {"train": 2_490, "validation": 277},
)

STSB = _glue(
    "stsb",
    "sentence1: {sentence1} sentence2: {sentence2}",
    ScoreAnswer(),
    ("pearson", "spearman"),
    SMALL,
    {"train": 5_749, "validation": 1_500},
)
