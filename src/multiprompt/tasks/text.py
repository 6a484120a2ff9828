"""Rules that make the source text of a row."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import regex

from multiprompt.errors import ConfigError

Row = Mapping[str, Any]
"""One row of a dataset: column name -> value."""

# everything but underscore, white space, numbers, letters and marks; ``re`` has no Unicode classes
_PUNCTUATION = regex.compile(r"([^_\s\p{N}\p{L}\p{M}])")


def pad_punctuation(text: str) -> str:
    """Put spaces around every punctuation character and symbol, then make all white space single spaces.

    The rule of T5's extractive question answering, for questions, contexts and answers alike. Outer spaces go
    too: a T5 tokenizer drops them anyway.

    >>> pad_punctuation("It's 5 °C.")
    "It ' s 5 ° C ."
    """
    return " ".join(_PUNCTUATION.sub(r" \1 ", text).split())


class FieldError(ValueError):
    """A value in a row that a rule cannot use. ``Task.example`` turns it into a DataError that says where.

    Args:
        column: the column.
        value: what it holds.
        expected: what it should hold.
    """

    def __init__(self, column: str, value: object, expected: str) -> None:
        self.column = column
        self.value = value
        self.expected = expected
        super().__init__(column, value, expected)

    def __str__(self) -> str:
        shown = repr(self.value)
        if len(shown) > 80:
            shown = shown[:77] + "..."
        return f"column {self.column!r} is {shown}; expected {self.expected}"


@runtime_checkable
class SourceRule(Protocol):
    """Makes the source text, without the task's prefix, from a row that has all ``columns``.

    A rule is any object with these two, such as a small frozen dataclass next to the task that needs it.
    """

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the rule reads."""
        ...

    @property
    def structured(self) -> tuple[str, ...]:
        """Those of them that hold no text but a number, a list or an object: JSON in the cell of a text file."""
        ...

    def __call__(self, row: Row) -> str:
        """The source text of a row.

        Raises:
            FieldError: a column holds something that the rule cannot use.
        """
        ...


@dataclass(frozen=True)
class Template:
    """A source text with columns in braces, such as ``"premise: {premise} hypothesis: {hypothesis}"``.

    A column is named as it is in the data, spaces included: ``"{review text}"``. Names with ``!``, ``:`` or braces
    cannot be written so.

    Attributes:
        text: the template. Braces in a row's values are kept as they are; ``{{`` and ``}}`` stand for braces.
        clean: applied to each value before it is put in place.

    Raises:
        ConfigError: braces that do not match, or hold something else than a column name.
    """

    text: str
    clean: Callable[[str], str] | None = None

    structured = ()

    def __post_init__(self) -> None:
        try:
            fields = [field for field in string.Formatter().parse(self.text) if field[1] is not None]
        except ValueError as error:
            raise ConfigError(
                f"the template {self.text!r} is wrong: {error}; expected column names in braces"
            ) from None
        for _, name, format_spec, conversion in fields:
            if not (name or "").strip() or format_spec or conversion:
                held = f"{name}{f'!{conversion}' if conversion else ''}{f':{format_spec}' if format_spec else ''}"
                raise ConfigError(
                    f"the template {self.text!r} holds {{{held}}}; expected a column's name and nothing else (rename a "
                    "column whose name holds ! or :)"
                )

    @cached_property
    def _parts(self) -> tuple[tuple[str, str | None], ...]:
        """Texts, each with the column that follows it."""
        return tuple((text, name) for text, name, _, _ in string.Formatter().parse(self.text))

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns named in the template, in order."""
        return tuple(dict.fromkeys(name for _, name in self._parts if name))

    @property
    def opening(self) -> str:
        """The text before the first column."""
        return self._parts[0][0] if self._parts else ""

    def __call__(self, row: Row) -> str:
        """The template with the row's values in place.

        Raises:
            FieldError: a column holds something else than a text.
        """
        values = {column: row[column] for column in self.columns}
        for column, value in values.items():
            if not isinstance(value, str):
                raise FieldError(column, value, "a text")
            if self.clean is not None:
                values[column] = self.clean(value)
        return "".join(text + (values[name] if name else "") for text, name in self._parts)


@dataclass(frozen=True)
class ClozeSource:
    """``query: .. entities: .., .. passage: ..``: a query with a gap, what may fill it, and the passage.

    Attributes:
        clean: applied to the passage.
    """

    clean: Callable[[str], str] | None = None

    columns = ("query", "entities", "passage")
    structured = ("entities",)

    def __call__(self, row: Row) -> str:
        """The three columns in their order.

        Raises:
            FieldError: the query or the passage is no text, or the entities are no list of texts.
        """
        for column in ("query", "passage"):
            if not isinstance(row[column], str):
                raise FieldError(column, row[column], "a text")
        entities = row["entities"]
        if not isinstance(entities, list | tuple) or not all(isinstance(entity, str) for entity in entities):
            raise FieldError("entities", entities, "a list of texts")
        passage = self.clean(row["passage"]) if self.clean else row["passage"]
        return f"query: {row['query']} entities: {', '.join(entities)} passage: {passage}"
