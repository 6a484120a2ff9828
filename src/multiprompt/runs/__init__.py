"""An experiment in a folder: its graph of stages, their execution, and what a finished run answers.

Names are loaded when they are first used: to check a configuration needs no torch.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Cluster": "ray_cluster",
    "FinishedRun": "finished_run",
    "open_run": "finished_run",
    "run_experiment": "whole_run",
    "run_node": "whole_run",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"multiprompt.runs.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'multiprompt.runs' has no attribute {name!r}")
