"""What all options have in common, whether they come from YAML or from Python."""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from multiprompt.errors import ConfigError, option_error, refuse_one_text

FLOAT16 = "the models of the study overflow in float16: take bfloat16 (on a GPU that has it) or float32"
REASONS: Mapping[tuple[str, str], str] = {("precision", name): FLOAT16 for name in ("float16", "fp16", "half")}
"""Why a value that one might expect is none of an option's."""


def check_values(options: Any, section: str) -> None:
    """Check what follows from the types: enumerated options have one of their values, and numbers are finite.

    Args:
        options: of a section.
        section: its name, for the error.

    Raises:
        ConfigError: a value is wrong.
    """
    kind: Any = type(options)
    for name, (choices, is_list) in _kinds(kind).items():
        value = getattr(options, name)
        if choices and value not in choices:
            close = difflib.get_close_matches(str(value), [each for each in choices if each], n=1)
            reason = REASONS.get((name, str(value)), f"expected {' or '.join(map(repr, choices))}")
            hint = f"; did you mean {close[0]!r}?" if close and (name, value) not in REASONS else ""
            raise option_error(section, f"{name} is {value!r}: {reason}{hint}")
        if isinstance(value, float) and not math.isfinite(value):
            raise option_error(section, f"{name} is {value}; expected a finite number")
        if is_list:
            refuse_one_text(value, f"{section}.{name}")


@cache
def _kinds(kind: Any) -> dict[str, tuple[tuple[Any, ...], bool]]:
    """For every option its values, none where they are not enumerated, and whether it is a list."""
    hints = typing.get_type_hints(kind)
    found = {}
    for option in dataclasses.fields(kind):
        hint = hints[option.name]
        choices = typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
        found[option.name] = (choices, typing.get_origin(hint) is tuple)
    return found


def check_positive(options: Any, section: str, *names: str) -> None:
    """Refuse numbers of 0 or less; None is no number."""
    for name in names:
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise option_error(section, f"{name} is {value}; expected more than 0")


def check_distinct(name: str, values: Iterable[Any]) -> None:
    """Refuse a list in which a value stands twice."""
    seen: set[Any] = set()
    for value in values:
        if value in seen:
            raise ConfigError(f"{name} has {value!r} twice")
        seen.add(value)
