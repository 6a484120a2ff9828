"""Tasks of SuperGLUE (Wang et al., NeurIPS 2019)."""

from __future__ import annotations

from collections.abc import Mapping

from multiprompt.tasks.answers import AnswerRule, LabelAnswer
from multiprompt.tasks.base import SMALL, HubDataset, SplitRule, Task, register
from multiprompt.tasks.text import SourceRule, Template

REVISION = "3de24cf8022e94f4ee4b9d55a6f539891524d646"


def _superglue(
    name: str,
    source: SourceRule,
    answer: AnswerRule,
    metrics: tuple[str, ...],
    split_rule: SplitRule,
    official_rows: Mapping[str, int],
) -> Task:
    return register(
        Task(
            name=name,
            family="superglue",
            folder=f"super_glue/{name}",
            source=source,
            answer=answer,
            metrics=metrics,
            reported=metrics[0],
            split_rule=split_rule,
            prefix=f"superglue-{name}",
            hub=HubDataset("aps/super_glue", name, REVISION),
            official_rows=official_rows,
        )
    )


CB = _superglue(
    "cb",
    Template("premise: {premise} hypothesis: {hypothesis}"),
    LabelAnswer(("0", "1", "2")),  # 0 entailment, 1 contradiction, 2 neutral: not the order of MNLI
    ("accuracy", "macro_f1"),
    SMALL,
    {"train": 250, "validation": 56},
)

BOOLQ = _superglue(
    "boolq",
    Template("question: {question} passage: {passage}"),
    LabelAnswer(),  # 0 no, 1 yes
    ("accuracy",),
    SMALL,
    {"train": 9_427, "validation": 3_270},
)
