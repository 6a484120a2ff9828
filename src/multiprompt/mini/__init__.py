"""A closed little world in English: the embedded benchmark, and what the embedded model is pretrained on."""

from __future__ import annotations

from multiprompt.mini.benchmark import (
    LABEL_CODINGS,
    MORE_SOURCE_TASKS,
    SOURCE_TASKS,
    SPLITS,
    TARGET_TASKS,
    TASKS,
    BenchmarkTask,
    generate,
    split_of,
)

__all__ = [
    "LABEL_CODINGS",
    "MORE_SOURCE_TASKS",
    "SOURCE_TASKS",
    "SPLITS",
    "TARGET_TASKS",
    "TASKS",
    "BenchmarkTask",
    "generate",
    "split_of",
]
