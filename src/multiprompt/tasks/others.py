"""The tasks outside GLUE, SuperGLUE and MRQA: WinoGrande, Yelp-2, SciTail, PAWS-Wiki, AG News, ANLI."""

from __future__ import annotations

from collections.abc import Mapping

from multiprompt.tasks.answers import AnswerRule, LabelAnswer
from multiprompt.tasks.base import (
    ANLI_SPLITS,
    LARGE,
    LARGE_WITH_TEST,
    OFFICIAL,
    YELP_SPLITS,
    HubDataset,
    SplitRule,
    Task,
    register,
)
from multiprompt.tasks.text import Template


def _other(
    name: str,
    folder: str,
    template: str,
    answer: AnswerRule,
    split_rule: SplitRule,
    hub: HubDataset,
    official_rows: Mapping[str, int],
) -> Task:
    return register(
        Task(
            name=name,
            family="others",
            folder=f"others/{folder}",
            source=Template(template),
            answer=answer,
            metrics=("accuracy",),
            reported="accuracy",
            split_rule=split_rule,
            prefix=name,
            hub=hub,
            official_rows=official_rows,
        )
    )


WINOGRANDE = _other(
    "winogrande",
    "winogrande",
    # Code of the same family puts option1 into both places; the numbers of tables that quote it come from that.
    "sentence: {sentence} option0: {option1} option1: {option2}",
    LabelAnswer(("0", "1"), "answer", ("1", "2")),
    LARGE,
    HubDataset("allenai/winogrande", "winogrande_xl"),
    {"train": 40_398, "validation": 1_267},
)

YELP = _other(
    "yelp_polarity",
    "yelp_polarity",
    "sentence: {text}",
    LabelAnswer(),  # 0 negative, 1 positive
    YELP_SPLITS,
    HubDataset("fancyzhx/yelp_polarity"),
    {"train": 560_000, "test": 38_000},
)

SCITAIL = _other(
    "scitail",
    "scitail",
    "sentence1: {sentence1} sentence2: {sentence2}",
    LabelAnswer(("0", "1"), "gold_label", ("entailment", "neutral")),
    # The official test set has labels; the code family halves the dev set all the same. See docs/tasks.md.
    OFFICIAL,
    HubDataset("allenai/scitail", "snli_format"),
    {"train": 23_596, "validation": 1_304, "test": 2_126},
)

PAWS = _other(
    "paws",
    "paws",
    "sentence1: {sentence1} sentence2: {sentence2}",
    LabelAnswer(),  # 0 different meaning, 1 paraphrase
    OFFICIAL,
    HubDataset("google-research-datasets/paws", "labeled_final"),
    {"train": 49_401, "validation": 8_000, "test": 8_000},
)

AG_NEWS = _other(
    "ag_news",
    "ag_news",
    "sentence: {text}",
    LabelAnswer(("0", "1", "2", "3")),  # 0 world, 1 sports, 2 business, 3 science and technology
    LARGE_WITH_TEST,
    HubDataset("fancyzhx/ag_news"),
    {"train": 120_000, "test": 7_600},
)

ANLI = _other(
    "anli",
    "anli",
    "premise: {premise} hypothesis: {hypothesis}",
    LabelAnswer(("0", "1", "2")),  # 0 entailment, 1 neutral, 2 contradiction
    ANLI_SPLITS,
    HubDataset("facebook/anli"),
    {"train_r3": 100_459, "dev_r3": 1_200},
)
