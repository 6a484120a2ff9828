"""What the prompts of finished runs say: how alike they are, to which tasks they carry over, what is in them.

Names are loaded when they are first used: the command line and studies start without torch.
"""

from __future__ import annotations

from multiprompt.lazy import lazy_names

_HOMES = {
    "PromptContents": "multiprompt.analysis.contents",
    "Similarity": "multiprompt.analysis.similarity",
    "Transfer": "multiprompt.analysis.transfer",
    "inspect_prompt": "multiprompt.analysis.contents",
    "prompt_similarity": "multiprompt.analysis.similarity",
    "transfer_matrix": "multiprompt.analysis.transfer",
}

__getattr__, __all__ = lazy_names(__name__, _HOMES)
