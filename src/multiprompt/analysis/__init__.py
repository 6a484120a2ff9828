"""What the prompts of finished runs say: how alike they are, to which tasks they carry over, what is in them.

Names are loaded when they are first used: the command line and studies start without torch.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "PromptContents": "contents",
    "Similarity": "similarity",
    "Transfer": "transfer",
    "inspect_prompt": "contents",
    "prompt_similarity": "similarity",
    "transfer_matrix": "transfer",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"multiprompt.analysis.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'multiprompt.analysis' has no attribute {name!r}")
