"""A task of a user's own as plain values: what its file holds. ``tasks/own.py`` checks it and makes a task of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

ENDINGS = ("jsonl.gz", "jsonl", "csv.gz", "csv", "tsv.gz", "tsv", "parquet")
"""Kinds of data files, in the order in which they are looked for."""


@dataclass(frozen=True)
class LabelDefinition:
    """An answer that is one of a few."""

    column: str = ""
    """The column that holds it."""
    words: tuple[bool | int | str, ...] | dict[bool | int | str, bool | int | str] = ()
    """What is written for the values 0, 1, ... of the column; or a value of the column -> what is written for it."""


@dataclass(frozen=True)
class ScoreDefinition:
    """An answer that is a number."""

    column: str = ""
    """The column that holds it."""
    low: float = 0.0
    """The lowest score."""
    high: float = 5.0
    """The highest one."""
    step: float = 0.2
    """0.1, 0.2, 0.5 or 1: scores are rounded to multiples of it, and written with one decimal."""


@dataclass(frozen=True)
class SplitDefinition:
    """Where train, dev and test come from; see ``tasks.SplitRule``."""

    kind: Literal["halves", "carve", "official", "train-only"] = "official"
    train: str = "train"
    dev: str | None = None
    """For the kind official; the others make dev themselves."""
    test: str | None = None
    """None: "test" for the kind official, "validation" for halves and carve; train-only makes it itself."""
    dev_rows: int = 1000
    """Rows that carve and train-only take for dev."""
    test_rows: int = 1000
    """Rows that train-only takes for test."""
    max_train: int | None = None
    """Training rows that carve and train-only keep."""


@dataclass(frozen=True)
class HubDefinition:
    """A dataset on the Hugging Face hub."""

    path: str = ""
    """Owner and name."""
    config: str | None = None
    revision: str | None = None
    """A commit, so that rows cannot change."""
    splits: dict[str, str] = field(default_factory=dict)
    """Name of a split here -> its name on the hub, where the two differ."""


@dataclass(frozen=True)
class TaskDefinition:
    """A task in plain values. Of ``label``, ``answer`` and ``score`` it has one, and so of ``files`` and ``hub``."""

    name: str = ""
    """Of the task, in configurations, results and file names."""
    source: str = ""
    """The source text, with names of columns in braces."""
    label: LabelDefinition | None = None
    answer: str | None = None
    """The column of an answer that is any text, or a list of right texts."""
    score: ScoreDefinition | None = None
    prefix: str | None = None
    """Put first in the source text; None for the name, "" for nothing."""
    metrics: tuple[str, ...] = ()
    """Names, or functions of the user's own, such as "my_metric.py:exact", relative to the file of the task. None
    given: accuracy for labels, qa_f1 and exact_match for answers, pearson and spearman for scores."""
    reported: str | None = None
    """The metric that checkpoints are chosen by; None for the first."""
    split: str | SplitDefinition = ""
    """The name of a split rule, or a rule."""
    files: dict[str, str] = field(default_factory=dict)
    """Split -> file, relative to the file of the task."""
    hub: HubDefinition | None = None
    gather: bool = False
    """Whether dev and test rows with equal source texts are one example with all their answers."""
    max_source_length: int = 256
    """Tokens of a source that are kept."""
    max_target_length: int | None = None
    """Tokens of a target that are kept; None: 8 for labels and scores, 128 for answers."""
    generation_length: int | None = None
    """Most tokens of an answer; None for the same as max_target_length."""
    beams: int = 1
    """Width of the beam search; 1 is greedy decoding."""
    version: int = 1
    """Raise it when texts change: every score names it."""


def is_task_file(name: str) -> bool:
    """Whether the name of a task is a path: it has a separator or ends like YAML or TOML."""
    return "/" in name or "\\" in name or name.endswith((".yaml", ".yml", ".toml"))


def metric_function(name: str) -> tuple[str, str] | None:
    """File and function of a metric of the user's own, such as "my_metric.py:exact"; None for a name."""
    path, separator, function = name.rpartition(":")
    return (path, function) if separator and path.endswith(".py") else None
