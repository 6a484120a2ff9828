"""What a run will do and take, before it begins: work, seconds, memory, disk, hours at full scale, trained numbers.

Names are loaded when they are first used: the hours of a study are arithmetic and need no torch.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {"estimate_run": "estimate"}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"multiprompt.forecast.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'multiprompt.forecast' has no attribute {name!r}")
