"""An experiment in a folder: its graph of stages, their execution, and what a finished run answers.

Names are loaded when they are first used: to check a configuration needs no torch.
"""

from __future__ import annotations

from multiprompt.lazy import lazy_names

_HOMES = {
    "Cluster": "multiprompt.runs.ray_cluster",
    "FinishedRun": "multiprompt.runs.finished_run",
    "open_run": "multiprompt.runs.finished_run",
    "run_experiment": "multiprompt.runs.whole_run",
    "run_node": "multiprompt.runs.whole_run",
}

__getattr__, __all__ = lazy_names(__name__, _HOMES)
