"""Tasks of SuperGLUE (Wang et al., NeurIPS 2019)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from multiprompt.tasks.answers import AnswerRule, LabelAnswer, TextAnswer
from multiprompt.tasks.base import LARGE, SMALL, HubDataset, SplitRule, Task, register
from multiprompt.tasks.text import ClozeSource, FieldError, Row, SourceRule, Template

REVISION = "3de24cf8022e94f4ee4b9d55a6f539891524d646"


def _superglue(
    name: str,
    source: SourceRule,
    answer: AnswerRule,
    metrics: tuple[str, ...],
    split_rule: SplitRule,
    official_rows: Mapping[str, int],
    *,
    config: str | None = None,
    max_source_length: int = 256,
    group: SourceRule | None = None,
) -> Task:
    return register(
        Task(
            name=name,
            family="superglue",
            folder=f"super_glue/{(config or name).replace('.', '_')}",
            source=source,
            answer=answer,
            metrics=metrics,
            reported=metrics[0],
            split_rule=split_rule,
            prefix=f"superglue-{config or name}",
            hub=HubDataset("aps/super_glue", config or name, REVISION),
            official_rows=official_rows,
            max_source_length=max_source_length,
            group=group,
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

WIC = _superglue(
    "wic",
    Template("sentence1: {sentence1} sentence2: {sentence2} word: {word}"),
    LabelAnswer(),  # 0 another sense, 1 the same
    ("accuracy",),
    SMALL,
    {"train": 5_428, "validation": 638},
)


@dataclass(frozen=True)
class MarkedSpans:
    """``text: ..`` with ``* .. *`` around the noun and ``# .. #`` around the pronoun.

    The columns hold each span's text and the number of its first word, counted from 0 and parted by white space.
    """

    columns = ("text", "span1_text", "span2_text", "span1_index", "span2_index")
    structured = ("span1_index", "span2_index")

    def __call__(self, row: Row) -> str:
        """The marked text.

        Raises:
            FieldError: a text is none, an index is no number from 0, or the span does not begin at its word.
        """
        for column in ("text", "span1_text", "span2_text"):
            if not isinstance(row[column], str):
                raise FieldError(column, row[column], "a text")
        for column in ("span1_index", "span2_index"):
            if type(row[column]) is not int or row[column] < 0:
                raise FieldError(column, row[column], "the number of a word, from 0")
        noun, pronoun = _find(row, "span1"), _find(row, "span2")
        # Found in the unmarked text, so that no mark counts as a word; put in from the end, the inner span first.
        marks = [(noun.end(), 1, " *"), (noun.start(), 0, "* "), (pronoun.end(), 0, " #"), (pronoun.start(), 1, "# ")]
        text: str = row["text"]
        for position, _, mark in sorted(marks, reverse=True):
            text = text[:position] + mark + text[position:]
        return f"text: {text}"


def _find(row: Row, name: str) -> re.Match[str]:
    """Where a span is. It is written as it stands in the text, but for capital letters and line ends."""
    text, span, index = row["text"], row[f"{name}_text"], row[f"{name}_index"]
    start = re.match(rf"\s*(?:\S+\s+){{{index}}}", text)
    words = re.compile(r"\s+".join(map(re.escape, span.split())), re.IGNORECASE)
    found = words.match(text, start.end()) if start and span.strip() else None
    if found is None:
        raise FieldError(f"{name}_index", index, f"the number of the word at which {span!r} begins in {text!r}")
    return found


WSC = _superglue(
    "wsc",
    MarkedSpans(),
    LabelAnswer(),  # 0 the pronoun means something else, 1 it means the noun
    ("accuracy",),
    SMALL,
    {"train": 554, "validation": 104},
    config="wsc.fixed",
)


def remove_tags(text: str) -> str:
    """Line breaks of MultiRC become spaces, its bold marks go.

    >>> remove_tags("<b>Sent 1: </b>A cat.<br>A dog.")
    'Sent 1: A cat. A dog.'
    """
    return text.replace("<br>", " ").replace("<b>", "").replace("</b>", "")


@dataclass(frozen=True)
class QuestionKey:
    """Names the question that a row of MultiRC is an answer to: the numbers of the paragraph and of the question."""

    columns = ("idx",)
    structured = ("idx",)

    def __call__(self, row: Row) -> str:
        """The two numbers.

        Raises:
            FieldError: ``idx`` does not hold them.
        """
        idx = row["idx"]
        numbers = [idx.get(part) for part in ("paragraph", "question")] if isinstance(idx, Mapping) else []
        if [type(number) for number in numbers] != [int, int]:
            raise FieldError("idx", idx, "an object with the numbers 'paragraph' and 'question'")
        return "paragraph {}, question {}".format(*numbers)


MULTIRC = _superglue(
    "multirc",
    # The paragraph comes last, so that a long one loses its end and not the question.
    Template("question: {question} answer: {answer} paragraph: {paragraph}", clean=remove_tags),
    LabelAnswer(),  # 0 wrong, 1 right
    ("f1", "question_exact_match", "accuracy"),  # F1 over all answers to all questions, known as F1a
    SMALL,
    {"train": 27_243, "validation": 4_848},
    max_source_length=348,
    group=QuestionKey(),
)

_HIGHLIGHT_AFTER_SENTENCE = re.compile(r"([.?!\"'])\n@highlight\n")


def join_highlights(passage: str) -> str:
    """The summary lines of a ReCoRD passage become sentences of it.

    >>> join_highlights("It rained.\\n@highlight\\nBo fell\\n@highlight\\nBo won")
    'It rained. Bo fell. Bo won'
    """
    return _HIGHLIGHT_AFTER_SENTENCE.sub(r"\1 ", passage).replace("\n@highlight\n", ". ")


def one_row_per_answer(row: Row) -> Sequence[Row]:
    """Every answer of a row as the first one, and so as the target, once."""
    answers = list(dict.fromkeys(row["answers"]))
    return [{**row, "answers": [answer, *(a for a in answers if a != answer)]} for answer in answers]


RECORD = register(
    Task(
        name="record",
        family="superglue",
        folder="super_glue/record",
        source=ClozeSource(join_highlights),
        answer=TextAnswer(),
        metrics=("qa_f1", "exact_match"),  # the best over all answers
        reported="qa_f1",
        split_rule=LARGE,
        prefix="superglue-record record",  # both names, as in the study's code family
        hub=HubDataset("aps/super_glue", "record", REVISION),
        official_rows={"train": 100_730, "validation": 10_000},
        expand=one_row_per_answer,
        max_target_length=32,
        generation_length=32,
    )
)
