"""Names of a package that are loaded when they are first used, so that to import the package does not load torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], list[str]]:
    """What a package's ``__getattr__`` and ``__all__`` are.

    Args:
        package: its ``__name__``.
        homes: for every public name the module that it is in.
    """

    def load(name: str) -> Any:
        if name in homes:
            return getattr(importlib.import_module(homes[name]), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return load, sorted(homes)
