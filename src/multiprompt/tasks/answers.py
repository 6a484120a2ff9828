"""Rules between the answer of a row and the text that stands for it, in both directions.

``read`` takes the answer out of a row and checks it, ``to_text`` writes it as a target, ``to_label`` reads it
back from a decoded text. For every answer a row may hold, ``to_label(to_text(answer))`` is that answer (for
scores: the rounded score; for extracted answers: the text itself).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from multiprompt.errors import ConfigError
from multiprompt.metrics.correlation import parse_number
from multiprompt.metrics.validity import HIGHEST_SCORE, LOWEST_SCORE, AnswerKind
from multiprompt.tasks.text import FieldError, Row


@runtime_checkable
class AnswerRule(Protocol):
    """What every rule offers."""

    @property
    def kind(self) -> AnswerKind:
        """What the answers look like."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that hold the answer."""
        ...

    @property
    def words(self) -> tuple[str, ...] | None:
        """The label words, ``None`` for numbers and open answers."""
        ...

    def read(self, row: Row) -> Any:
        """The checked answer of a row: the same value whatever kind of file the row comes from.

        Raises:
            FieldError: the row holds no such answer.
        """
        ...

    def to_text(self, answer: Any) -> str:
        """The target text of an answer."""
        ...

    def references(self, answer: Any) -> tuple[str, ...]:
        """All texts that count as right; the first is the target."""
        ...

    def to_label(self, text: str) -> int | float | str | None:
        """What a decoded text says, ``None`` when it is no answer."""
        ...


@dataclass(frozen=True)
class LabelAnswer:
    """A label in a column, written as a word: label 0 as the first word, 1 as the second, and so on.

    Attributes:
        words: the label words, in the order of labels.
        column: the column that holds the label.
        values: what the column holds for each label, when that is not 0, 1, ...; e.g. ``("entailment",
            "neutral")``.
    """

    words: tuple[str, ...] = ("0", "1")
    column: str = "label"
    values: tuple[int | str, ...] | None = None

    kind = AnswerKind.LABEL

    def __post_init__(self) -> None:
        if len(self.words) < 2 or len(set(self.words)) != len(self.words):
            raise ConfigError(f"the label words are {self.words}; expected two or more, all different")
        if any(word != word.strip() or not word for word in self.words):
            raise ConfigError(f"the label words are {self.words}; expected none empty or with outer spaces")
        if self.values is not None and len(self.values) != len(self.words):
            raise ConfigError(f"{len(self.values)} values for {len(self.words)} label words; expected one for each")

    @property
    def columns(self) -> tuple[str, ...]:
        """The label's column."""
        return (self.column,)

    def read(self, row: Row) -> int:
        """The label as a number from 0."""
        value = row[self.column]
        allowed = [str(each) for each in self.values or range(len(self.words))]
        # True == 1 and 1.0 == 1 in Python, but a column of truth values or floats means something else. A
        # text file cannot tell 1 from "1", so those two are the same.
        if type(value) in (int, str) and str(value) in allowed:
            return allowed.index(str(value))
        *others, last = allowed
        expected = f"{', '.join(others)} or {last}"
        if value == -1:
            expected += " (-1 marks rows without an answer, such as those of an official test set)"
        raise FieldError(self.column, value, expected)

    def to_text(self, answer: int) -> str:
        """The label word."""
        return self.words[answer]

    def references(self, answer: int) -> tuple[str, ...]:
        """The label word alone."""
        return (self.words[answer],)

    def to_label(self, text: str) -> int | None:
        """The label whose word the stripped text is."""
        stripped = text.strip()
        return self.words.index(stripped) if stripped in self.words else None


@dataclass(frozen=True)
class ScoreAnswer:
    """A score from 0 to 5 or in another range, written with one decimal after rounding (STS-B).

    The score is rounded to a multiple of 0.2 by ``round(5 * score) / 5``, halves to even, as in T5: 2.5 is
    written "2.4" and 3.75 "3.8". Later code that took the rule over rounds to a multiple of 0.1 by mistake;
    ``per_unit=10`` gives that. The two differ for scores off the grid of 0.2 only.

    Attributes:
        column: the column that holds the score.
        per_unit: number of grid steps in 1.
        low: the lowest score, 0 or more: outputs that are no number count as -1 in correlations.
        high: the highest score.
    """

    column: str = "label"
    per_unit: int = 5
    low: float = LOWEST_SCORE
    high: float = HIGHEST_SCORE

    kind = AnswerKind.NUMBER
    words = None

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high:
            raise ConfigError(f"low is {self.low:g} and high is {self.high:g}; expected 0 or more, low below high")

    @property
    def columns(self) -> tuple[str, ...]:
        """The score's column."""
        return (self.column,)

    @property
    def grid(self) -> tuple[str, ...]:
        """Every target text, from the lowest score up."""
        steps = range(round(self.low * self.per_unit), round(self.high * self.per_unit) + 1)
        return tuple(self.to_text(step / self.per_unit) for step in steps)

    def read(self, row: Row) -> float:
        """The score, not rounded."""
        value = row[self.column]
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number or not self.low <= value <= self.high:
            raise FieldError(self.column, value, f"a number from {self.low:g} to {self.high:g}")
        return float(value)

    def to_text(self, answer: float) -> str:
        """The rounded score with one decimal."""
        return f"{round(answer * self.per_unit) / self.per_unit:.1f}"

    def references(self, answer: float) -> tuple[str, ...]:
        """The rounded score alone: correlations are with rounded golds."""
        return (self.to_text(answer),)

    def to_label(self, text: str) -> float | None:
        """The number that the text says, if it is in the range."""
        number = parse_number(text)
        return number if number is not None and self.low <= number <= self.high else None


@dataclass(frozen=True)
class TextAnswer:
    """One or more answer texts. The first is the target, all are references.

    The column may hold one text, a list of texts, ``{"text": [...], ...}`` as SQuAD has it on the hub, or a list of
    such objects with one text each.
    Repeated answers count once.

    Attributes:
        column: the column that holds the answers.
        clean: applied to each answer, so that references are written exactly like targets.
    """

    column: str = "answers"
    clean: Callable[[str], str] | None = None

    kind = AnswerKind.TEXT
    words = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The answers' column."""
        return (self.column,)

    def read(self, row: Row) -> tuple[str, ...]:
        """All answers as they are in the row."""
        value = row[self.column]
        texts: Any = value.get("text") if isinstance(value, Mapping) else value
        if isinstance(texts, str):
            texts = [texts]
        elif isinstance(texts, list | tuple):
            texts = [each.get("text") if isinstance(each, Mapping) else each for each in texts]
        if isinstance(texts, list | tuple) and texts and all(isinstance(text, str) for text in texts):
            return tuple(dict.fromkeys(texts))
        raise FieldError(self.column, value, 'a text, a list of texts or {"text": [...]}, not empty')

    def to_text(self, answer: tuple[str, ...]) -> str:
        """The first answer."""
        return self.references(answer)[0]

    def references(self, answer: tuple[str, ...]) -> tuple[str, ...]:
        """All answers, each cleaned."""
        return tuple(dict.fromkeys(self.clean(text) if self.clean else text for text in answer))

    def to_label(self, text: str) -> str | None:
        """The stripped text, ``None`` when nothing is left of it."""
        return text.strip() or None
