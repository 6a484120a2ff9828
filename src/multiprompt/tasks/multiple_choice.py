"""Questions with several choices, of which the position of the right one is the answer: "0" for the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from multiprompt.metrics.validity import AnswerKind
from multiprompt.tasks.base import ARC_SPLITS, LARGE, OFFICIAL, HubDataset, SplitRule, Task, register
from multiprompt.tasks.text import FieldError, Row


def _choices(row: Row, most: int) -> list[tuple[str, str]]:
    """The name and the text of every choice of a row.

    Raises:
        FieldError: the choices are not two lists of texts, equally long, of at most ``most``.
    """
    value = row["choices"]
    expected = f'{{"label": [...], "text": [...]}} with 2 to {most} texts each, all labels different'
    if not isinstance(value, Mapping):
        raise FieldError("choices", value, expected)
    labels, texts = value.get("label"), value.get("text")
    if not _are_texts(labels) or not _are_texts(texts):
        raise FieldError("choices", value, expected)
    if not 2 <= len(labels) == len(texts) <= most or len(set(labels)) < len(labels):
        raise FieldError("choices", value, expected)
    return list(zip(labels, texts, strict=True))


def _are_texts(value: object) -> TypeGuard[Sequence[str]]:
    return isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)


@dataclass(frozen=True)
class ChoiceSource:
    """``question: .. choice1: .. choice2: ..``, as many choices as the row has.

    Attributes:
        question: the column of the question.
        most: the most choices of a row.
    """

    question: str
    most: int

    structured = ("choices",)

    @property
    def columns(self) -> tuple[str, ...]:
        """The question's column and that of the choices."""
        return (self.question, "choices")

    def __call__(self, row: Row) -> str:
        """The question and its choices in the order of the row.

        Raises:
            FieldError: the question is no text, or the choices are none.
        """
        if not isinstance(row[self.question], str):
            raise FieldError(self.question, row[self.question], "a text")
        choices = (f"choice{i}: {text}" for i, (_, text) in enumerate(_choices(row, self.most), start=1))
        return f"question: {row[self.question]} {' '.join(choices)}"


@dataclass(frozen=True)
class ChoiceAnswer:
    """The position of the right choice, from 0, written as a digit.

    The column holds the name of the right choice: A to E in most rows, 1 to 5 in some of ARC. The position is what
    both kinds have in common.

    Attributes:
        most: the most choices of a row; the label words are the digits below.
        column: the column that names the right choice.
    """

    most: int
    column: str = "answerKey"

    kind = AnswerKind.LABEL

    @property
    def columns(self) -> tuple[str, ...]:
        """The key's column and that of the choices."""
        return (self.column, "choices")

    @property
    def words(self) -> tuple[str, ...]:
        """The digits from 0."""
        return tuple(str(position) for position in range(self.most))

    def read(self, row: Row) -> int:
        """The position of the right choice."""
        names = [name for name, _ in _choices(row, self.most)]
        if row[self.column] not in names:
            raise FieldError(self.column, row[self.column], f"one of the row's choices: {', '.join(names)}")
        return names.index(row[self.column])

    def to_text(self, answer: int) -> str:
        """The digit."""
        return self.words[answer]

    def references(self, answer: int) -> tuple[str, ...]:
        """The digit alone."""
        return (self.words[answer],)

    def to_label(self, text: str) -> int | None:
        """The position that the stripped text says."""
        stripped = text.strip()
        return self.words.index(stripped) if stripped in self.words else None


def _multiple_choice(
    name: str,
    folder: str,
    question: str,
    most: int,
    split_rule: SplitRule,
    hub: HubDataset,
    official_rows: Mapping[str, int],
    subfolders: tuple[str, ...] = (),
) -> Task:
    return register(
        Task(
            name=name,
            family="multiple choice",
            folder=folder,
            subfolders=subfolders,
            source=ChoiceSource(question, most),
            answer=ChoiceAnswer(most),
            metrics=("accuracy",),
            reported="accuracy",
            split_rule=split_rule,
            prefix=name,
            hub=hub,
            official_rows=official_rows,
        )
    )


COMMONSENSE_QA = _multiple_choice(
    "commonsense_qa",
    "others/commonsense_qa",
    "question",
    5,
    LARGE,  # its test set has no answers
    HubDataset("tau/commonsense_qa"),
    {"train": 9_741, "validation": 1_221},
)

OPENBOOKQA = _multiple_choice(
    "openbookqa",
    "others/openbookqa",
    "question_stem",
    4,
    OFFICIAL,
    HubDataset("allenai/openbookqa", "main"),
    {"train": 4_957, "validation": 500, "test": 500},
)

ARC = _multiple_choice(
    "arc",
    "ai2_arc",
    "question",
    5,
    ARC_SPLITS,
    HubDataset("allenai/ai2_arc", ("ARC-Easy", "ARC-Challenge")),
    {"train": 3_370, "validation": 869, "test": 3_548},  # both together
    ("arc_easy", "arc_challenge"),
)
