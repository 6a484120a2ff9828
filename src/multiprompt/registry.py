"""A table of named values that refuses duplicates and answers an unknown name with the closest ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from multiprompt.errors import unknown_name

Value = TypeVar("Value")


class Registry(Generic[Value]):
    """Maps a name to a value, in the order of registration.

    Args:
        kind: what the values are, in the singular ("task"); used in error messages.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._values: dict[str, Value] = {}

    def add(self, name: str, value: Value) -> Value:
        """Register ``value`` and return it.

        Raises:
            ValueError: the name is taken.
        """
        if name in self._values:
            raise ValueError(f"the {self.kind} {name!r} is registered already")
        self._values[name] = value
        return value

    def __getitem__(self, name: str) -> Value:
        try:
            return self._values[name]
        except KeyError:
            raise unknown_name(self.kind, name, self._values) from None

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def values(self) -> list[Value]:
        """All values, in the order of registration."""
        return list(self._values.values())
