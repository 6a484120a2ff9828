"""Train, dev and test of a task, by the split rules of the study's code family, and few-shot draws.

Official test sets of GLUE and SuperGLUE have no labels, so the study makes its own splits from a permutation
with a seed (42) of its own: torch's generator, as in ATTEMPT, so that they are the very same rows.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from multiprompt.data.sources import Generation, LoadedRow, Rows, SplitMissingError, fingerprint, load_rows
from multiprompt.errors import ConfigError, DataError
from multiprompt.examples import TextExample
from multiprompt.seeding import derive_seed
from multiprompt.tasks import Row, Task

SPLIT_SEED = 42
"""Seed of the permutations in the study's code family; apart from the seed of a run."""


@dataclass(frozen=True)
class TaskData:
    """The examples of a task.

    Attributes:
        task: the task.
        train: training examples, in the order of the rule (shuffled where the rule shuffles).
        dev: examples to choose a checkpoint with.
        test: examples to report.
        fingerprint: of the rows of all three, in order; equal for equal data from whatever kind of file.
        notes: departures from the official data that a reader of results should know.
        counts: "train", "dev", "test" and "empty text" (rows with an empty text column) -> number of rows.
    """

    task: Task
    train: tuple[TextExample, ...]
    dev: tuple[TextExample, ...]
    test: tuple[TextExample, ...]
    fingerprint: str
    notes: tuple[str, ...]
    counts: dict[str, int]


@dataclass(frozen=True)
class _Part:
    """Some rows of an official split, in order."""

    rows: Rows
    numbers: Sequence[int]

    def first(self, limit: int | None) -> _Part:
        return _Part(self.rows, self.numbers[:limit])

    def __iter__(self) -> Iterator[LoadedRow]:
        return (self.rows[number] for number in self.numbers)


def permutation(n: int, seed: int = SPLIT_SEED) -> list[int]:
    """The numbers from 0 to n - 1 in the order of ``torch.randperm`` with a fresh generator of this seed."""
    import torch

    return torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()


def load_task_data(
    task: Task,
    location: Path | None = None,
    *,
    split_seed: int = SPLIT_SEED,
    max_train: int | None = None,
    max_dev: int | None = None,
    max_test: int | None = None,
    generation: Generation | None = None,
) -> TaskData:
    """Load a task's rows, split them by its rule, and make examples of them.

    A limit keeps the first rows of a part after the rule has done its work, so it never moves a row from one
    part to another. Rows are checked when they become examples: those that are cut off are not.

    Args:
        task: the task.
        location: the data folder, ``None`` for the hub; generated tasks do not look at it.
        split_seed: seed of the rule's permutation.
        max_train: the most training rows, ``None`` for all.
        max_dev: the most dev rows.
        max_test: the most test rows.
        generation: sizes, seed and label coding of generated tasks.

    Raises:
        ConfigError: a limit is below 1.
        DataError: rows cannot be loaded, are wrong, or are too few for the rule.
    """
    for name, limit in (("max_train", max_train), ("max_dev", max_dev), ("max_test", max_test)):
        if limit is not None and limit < 1:
            raise ConfigError(f"{name} is {limit}; expected 1 or more, or none for all rows")
    train, dev, test, notes = _split(
        task, location, split_seed, generation, max_train=max_train, max_dev=max_dev, max_test=max_test
    )
    parts = {"train": train.first(max_train), "dev": dev.first(max_dev), "test": test.first(max_test)}
    examples: dict[str, tuple[TextExample, ...]] = {}
    canonical: list[Row] = []
    empty = 0
    for name, part in parts.items():
        made = []
        # the name of the part is in the fingerprint, so that a row cannot move from dev to test unseen
        canonical.append({"part": name})
        for row_id, where, values in part:
            made.append(task.example(values, row_id, where=where))
            if task.expand is not None and name == "train":
                further = enumerate(task.expand(values)[1:], start=2)
                made += [task.example(each, f"{row_id}.{copy}", where=where) for copy, each in further]
            canonical.append(task.canonical(values))
            empty += task.has_empty_text(values)
        if not made:
            raise DataError(f"task {task.name!r} has no {name} rows; {part.rows.origin} holds too few rows")
        examples[name] = tuple(made)
    counts = {name: len(made) for name, made in examples.items()} | {"empty text": empty}
    unique_notes = tuple(dict.fromkeys(notes))
    return TaskData(task, **examples, fingerprint=fingerprint(canonical), notes=unique_notes, counts=counts)


def _split(
    task: Task,
    location: Path | None,
    split_seed: int,
    generation: Generation | None,
    *,
    max_train: int | None,
    max_dev: int | None,
    max_test: int | None,
) -> tuple[_Part, _Part, _Part, list[str]]:
    """Train, dev and test by the task's rule, and the notes of all files read."""
    rule = task.split_rule
    notes: list[str] = []

    def rows_of(split: str, limit: int | None) -> Rows:
        rows = load_rows(task, split, location, limit, generation)
        notes.extend(rows.notes)
        return rows

    def whole(split: str, limit: int | None) -> _Part:
        rows = rows_of(split, limit)
        return _Part(rows, range(len(rows)))

    def carve() -> tuple[_Part, _Part]:
        rows = rows_of(rule.train, None)
        order = permutation(len(rows), split_seed)
        size = rule.carved(len(rows))
        if size != rule.dev_rows:
            notes.append(
                f"{task.name}: {rule.train!r} holds {len(rows):,} rows, too few for {rule.dev_rows:,} dev "
                f"rows: dev has {size}"
            )
        return _Part(rows, order[size:]).first(rule.max_train), _Part(rows, order[:size])

    match rule.kind:
        case "halves":
            rows = rows_of(rule.test, None)
            order = permutation(len(rows), split_seed)
            half = len(rows) // 2
            train = whole(rule.train, max_train)
            dev, test = _Part(rows, order[:half]), _Part(rows, order[half:])
        case "carve":
            train, dev = carve()
            test = whole(rule.test, max_test)
        case "official" | "generated":
            assert rule.dev is not None
            try:
                dev = whole(rule.dev, max_dev)
            except SplitMissingError:
                if not rule.carve_without_dev:
                    raise
                train, dev = carve()
                notes.append(
                    f"{task.name}: there is no {rule.dev!r}; dev is {len(dev.numbers):,} rows taken from "
                    f"{rule.train!r} instead"
                )
            else:
                train = whole(rule.train, max_train)
            test = whole(rule.test, max_test)
    return train, dev, test, notes


def draw_few_shot(examples: Sequence[TextExample], k: int, seed: int, balanced: bool = True) -> tuple[TextExample, ...]:
    """Draw ``k`` examples in all (not per class), the same for the same seed.

    Balanced draws take one example of each target in turn, so every target has ``k // targets`` of them or
    one more (or all there are, when they are fewer). With more targets than ``k``, as with open answers, the
    draw is not balanced. Draws of one kind are nested: those with a smaller ``k`` are the first of those with
    a larger one.

    Raises:
        ConfigError: ``k`` is below 1 or above the number of examples.
    """
    if not 1 <= k <= len(examples):
        raise ConfigError(f"k is {k}; expected from 1 to {len(examples)}, the number of training examples")
    generator = random.Random(derive_seed(seed, "few-shot"))
    shuffled = generator.sample(examples, len(examples))
    by_target: dict[str, list[TextExample]] = {}
    for example in shuffled:
        by_target.setdefault(example.target, []).append(example)
    if not balanced or k < len(by_target):
        return tuple(shuffled[:k])
    return tuple(_in_turn(by_target.values()))[:k]


def _in_turn(groups: Iterable[Sequence[TextExample]]) -> Iterator[TextExample]:
    """One of each group, then a second of each, and so on, until all groups are used up."""
    remaining = [iter(group) for group in groups]
    while remaining:
        still = []
        for group in remaining:
            for example in group:
                yield example
                still.append(group)
                break
        remaining = still
