"""Multitask prompt tuning: one frozen language model, many tasks, a few kilobytes per task.

Names are loaded when they are first used, so that importing the package does not load torch.
"""

from __future__ import annotations

import importlib
from typing import Any

from multiprompt._version import __version__
from multiprompt.options.records import option_classes

_HOMES = {
    "Adapted": "multiprompt.recipes",
    "BackboneOptions": "multiprompt.options",
    "Cluster": "multiprompt.runs",
    "DataOptions": "multiprompt.options",
    "DecomposedPrompt": "multiprompt.prompts",
    "DistillationOptions": "multiprompt.options",
    "Experiment": "multiprompt.options",
    "FinishedRun": "multiprompt.runs",
    "MethodOptions": "multiprompt.options",
    "MethodRecord": "multiprompt.options",
    "Methods": "multiprompt.options",
    "MixingOptions": "multiprompt.options",
    "MultipromptError": "multiprompt.errors",
    "Needs": "multiprompt.options",
    "PromptOptions": "multiprompt.options",
    "SoftPrompt": "multiprompt.prompts",
    "SourceOptions": "multiprompt.options",
    "StoredPrompt": "multiprompt.prompts",
    "TargetOptions": "multiprompt.options",
    "TASKS": "multiprompt.tasks",
    "TeacherOptions": "multiprompt.options",
    "TrainingOptions": "multiprompt.options",
    "adapt": "multiprompt.recipes",
    "adapt_target": "multiprompt.recipes",
    "answer": "multiprompt.recipes",
    "compose": "multiprompt.prompts",
    "evaluate": "multiprompt.recipes",
    "distributed_processes": "multiprompt.parallel",
    "load_adapted": "multiprompt.recipes",
    "load_backbone": "multiprompt.backbone",
    "load_experiment": "multiprompt.config",
    "load_prompt": "multiprompt.prompts",
    "load_task": "multiprompt.recipes",
    "open_run": "multiprompt.runs",
    "register_method": "multiprompt.options",
    "run_experiment": "multiprompt.runs",
    "save_prompt": "multiprompt.prompts",
    "train_source": "multiprompt.recipes",
    "train_teacher": "multiprompt.recipes",
} | dict.fromkeys(option_classes(), "multiprompt.options")

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'multiprompt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
