"""Short programs that wire one experiment each.

Names are loaded when they are first used: listing or checking configurations does not need torch.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Adapted": "adapted",
    "Cluster": "cluster",
    "Place": "stage",
    "PreparedTask": "prepare",
    "adapt": "adapted",
    "adapt_target": "target",
    "answer": "use",
    "estimate_run": "estimate",
    "evaluate": "use",
    "evaluate_run": "replay",
    "load_adapted": "adapted",
    "load_task": "prepare",
    "predict": "replay",
    "recipe_names": "shipped",
    "recipe_path": "shipped",
    "run_experiment": "experiment",
    "run_node": "experiment",
    "stored_scores": "replay",
    "task_of_run": "replay",
    "train_source": "source",
    "train_teacher": "teacher",
    "tune_prompt": "teacher",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"multiprompt.recipes.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'multiprompt.recipes' has no attribute {name!r}")
