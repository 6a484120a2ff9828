"""What a run will do and take, before it begins: work, seconds, memory, disk, hours at full scale, trained numbers.

Names are loaded when they are first used: the hours of a study are arithmetic and need no torch.
"""

from __future__ import annotations

from multiprompt.lazy import lazy_names

_HOMES = {"estimate_run": "multiprompt.forecast.estimate"}

__getattr__, __all__ = lazy_names(__name__, _HOMES)
