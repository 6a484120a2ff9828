"""Short programs that wire one experiment each.

Names are loaded when they are first used: listing or checking configurations does not need torch.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Adapted": "adapted",
    "Place": "stage_training",
    "PreparedTask": "prepare",
    "adapt": "adapted",
    "adapt_target": "target",
    "answer": "use",
    "evaluate": "use",
    "load_adapted": "adapted",
    "load_task": "prepare",
    "recipe_names": "shipped",
    "recipe_path": "shipped",
    "train_source": "source",
    "train_teacher": "teacher",
    "tune_prompt": "teacher",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"multiprompt.recipes.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'multiprompt.recipes' has no attribute {name!r}")
