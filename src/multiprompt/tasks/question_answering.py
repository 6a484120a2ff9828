"""Extractive question answering: SQuAD 1.1, in the form of the MRQA 2019 tasks."""

from __future__ import annotations

from collections.abc import Mapping

from multiprompt.tasks.answers import TextAnswer
from multiprompt.tasks.base import LARGE, HubDataset, Task, register
from multiprompt.tasks.text import Template, pad_punctuation


def _extractive(name: str, hub: HubDataset, max_source_length: int, official_rows: Mapping[str, int]) -> Task:
    return register(
        Task(
            name=name,
            family="mrqa",
            folder=f"mrqa/{name}",
            source=Template("question: {question} context: {context}", clean=pad_punctuation),
            answer=TextAnswer("answers", clean=pad_punctuation),
            # the study's code family trains on and scores against the first answer only, so that is
            # comparable; the official way, the best over all answers, is computed beside it
            metrics=("qa_f1_first", "exact_match_first", "qa_f1", "exact_match"),
            reported="qa_f1_first",
            split_rule=LARGE,
            prefix=name,
            hub=hub,
            official_rows=official_rows,
            max_source_length=max_source_length,
            max_target_length=128,
            generation_length=128,
        )
    )


SQUAD = _extractive(
    "squad",
    HubDataset("rajpurkar/squad", "plain_text", "7b6d24c440a36b6815f21b70d25016731768db1f"),
    256,  # as a source task; about one context in twenty loses its end
    {"train": 87_599, "validation": 10_570},
)
