"""Extractive question answering: SQuAD 1.1, and the four target tasks of MRQA 2019 in the same form."""

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
    256,  # as a source task; with padded punctuation one context in four loses its end
    {"train": 87_599, "validation": 10_570},
)

# The contexts of MRQA hold the marks [PAR], [TLE] and [DOC]; they stay as they are, as text.
_LONG = 512

NATURAL_QUESTIONS = _extractive(
    "naturalquestions",
    HubDataset("lucadiliello/naturalquestionsshortqa"),
    _LONG,
    {"train": 104_071, "validation": 12_836},
)

HOTPOTQA = _extractive("hotpotqa", HubDataset("lucadiliello/hotpotqa"), _LONG, {"train": 72_928, "validation": 5_901})

SEARCHQA = _extractive(
    "searchqa",
    HubDataset("lucadiliello/searchqa", revision="c1a979068ba118d85467179b704031d113d689cc"),
    _LONG,
    {"train": 117_384, "validation": 16_980},
)

NEWSQA = _extractive("newsqa", HubDataset("lucadiliello/newsqa"), _LONG, {"train": 74_160, "validation": 4_212})
