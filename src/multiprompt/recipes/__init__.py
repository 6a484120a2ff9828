"""Short programs that wire one experiment each.

Names are loaded when they are first used: listing or checking configurations does not need torch.
"""

from __future__ import annotations

from multiprompt.lazy import lazy_names

_HOMES = {
    "Adapted": "multiprompt.recipes.adapted",
    "Place": "multiprompt.recipes.stage_training",
    "PreparedTask": "multiprompt.recipes.prepare",
    "adapt": "multiprompt.recipes.adapted",
    "adapt_target": "multiprompt.recipes.target",
    "answer": "multiprompt.recipes.use",
    "evaluate": "multiprompt.recipes.use",
    "load_adapted": "multiprompt.recipes.adapted",
    "load_task": "multiprompt.recipes.prepare",
    "recipe_names": "multiprompt.recipes.shipped",
    "recipe_path": "multiprompt.recipes.shipped",
    "train_source": "multiprompt.recipes.source",
    "train_teacher": "multiprompt.recipes.teacher",
}

__getattr__, __all__ = lazy_names(__name__, _HOMES)
