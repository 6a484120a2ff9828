"""Train, dev and test of a task, by the split rules of the study's code family.

Official test sets of GLUE and SuperGLUE have no labels, so the study makes its own splits from a permutation
with a seed (42) of its own: torch's generator, as in ATTEMPT, so that they are the very same rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from multiprompt.data.sources import (
    Generation,
    LoadedRow,
    Places,
    Rows,
    SplitMissingError,
    fingerprint,
    load_rows,
    missing_files,
    refuse_missing,
)
from multiprompt.errors import ConfigError, DataError
from multiprompt.examples import TextExample
from multiprompt.tasks import OWN, Row, Task

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
        counts: "train", "dev" and "test" -> number of examples; "empty text" -> number of rows with an empty text
            column.
        places: what the ids of rows begin with -> where these rows are.
        empty: where the rows with an empty text column are.
        unused: columns of a user's own task that hold text and that neither source nor answer uses -> such a text, and
            where it is.
    """

    task: Task
    train: tuple[TextExample, ...]
    dev: tuple[TextExample, ...]
    test: tuple[TextExample, ...]
    fingerprint: str
    notes: tuple[str, ...]
    counts: dict[str, int]
    places: Mapping[str, Places] = field(default_factory=dict)
    empty: tuple[str, ...] = ()
    unused: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def where(self, example: TextExample) -> str:
        """The file and line of an example, in words; its row id where that is not known."""
        name, _, number = example.row_id.rpartition(":")
        places = self.places.get(name)
        return f"row {example.row_id}" if places is None else places[int(number.partition(".")[0])]

    def __repr__(self) -> str:
        sizes = ", ".join(f"{len(getattr(self, part)):,} {part}" for part in ("train", "dev", "test"))
        return f"TaskData({self.task.name!r}, {sizes})"


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

    A limit keeps the first rows of a part after the rule has done its work (the first examples, where a task gathers
    its dev and test rows), so it never moves a row from one part to another. Rows are checked when they become
    examples: those that are cut off are not.

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
    refuse_missing(missing_files(task, location))
    # Rows of one example may stand anywhere, so all are read before examples are counted.
    read_dev, read_test = (None, None) if task.gather else (max_dev, max_test)
    train, dev, test, notes = _split(
        task, location, split_seed, generation, max_train=max_train, max_dev=read_dev, max_test=read_test
    )
    parts = {
        "train": (train, _training_examples(task, train.first(max_train))),
        "dev": (dev, _held_out_examples(task, dev, max_dev)),
        "test": (test, _held_out_examples(task, test, max_test)),
    }
    # Rows are the same with and without the name of a generated task before them, what is trained on them is not.
    canonical: list[Row] = [{"prefix": task.prefix}] if task.generator is not None and task.prefix else []
    for name, (part, made) in parts.items():
        if not made.examples:
            raise DataError(f"task {task.name!r} has no {name} rows; {part.rows.origin} holds too few rows")
        # the name of the part is in the fingerprint, so that a row cannot move from dev to test unseen
        canonical.append({"part": name})
        canonical += [_canonical(task, row, scored=name != "train") for row in made.rows]
    examples = {name: tuple(made.examples) for name, (_, made) in parts.items()}
    empty = tuple(where for _, made in parts.values() for where in made.empty)
    counts = {name: len(made) for name, made in examples.items()} | {"empty text": len(empty)}
    notes += _example_notes(task, examples["test"], max_test)
    return TaskData(
        task,
        **examples,
        fingerprint=fingerprint(canonical),
        notes=tuple(dict.fromkeys(notes)),
        counts=counts,
        places=_places(train.rows, dev.rows, test.rows),
        empty=empty,
        unused=_unused_columns(task, train) if task.family == OWN else {},
    )


def _places(*read: Rows) -> dict[str, Places]:
    """Where rows are; of a split that was read twice, to different lengths, the longer reading counts."""
    places: dict[str, Places] = {}
    for rows in read:
        for name, of_name in rows.places_by_name().items():
            if name not in places or len(of_name.numbers) > len(places[name].numbers):
                places[name] = of_name
    return places


_SAMPLE = 100
"""Rows that stand for all when columns are looked at."""


def _unused_columns(task: Task, part: _Part) -> dict[str, tuple[str, str]]:
    """Columns that hold text of several words in most rows, and that the task does not read."""
    rows = [part.rows[number] for number in part.numbers[:_SAMPLE]]
    read = {*task.columns, *(task.group.columns if task.group else ())}
    unused = {}
    for column in rows[0].values.keys() - read:
        texts = [(row.values.get(column), row.where) for row in rows]
        of_words = [(text, where) for text, where in texts if isinstance(text, str) and len(text.split()) > 1]
        if 2 * len(of_words) > len(rows):
            unused[str(column)] = of_words[0]
    return dict(sorted(unused.items()))


def _canonical(task: Task, row: Row, scored: bool) -> Row:
    """What of a row the fingerprint depends on; the group counts where metrics look at it."""
    return {**task.canonical(row), **({"group": task.group(row)} if scored and task.group else {})}


@dataclass(frozen=True)
class _Made:
    """Examples, the rows that they were made of, and where those with an empty text are."""

    examples: list[TextExample]
    rows: list[Row]
    empty: list[str]


def _training_examples(task: Task, part: _Part) -> _Made:
    """One example or several of every row."""
    made = _Made([], [], [])
    for row_id, where, values in _kept(task, part):
        example = task.example(values, row_id, where=where)  # says what is wrong with a row before it is taken apart
        if task.expand is None:
            made.examples.append(example)
        else:
            for n, row in enumerate(task.expand(values), start=1):
                made.examples.append(task.example(row, row_id if n == 1 else f"{row_id}.{n}", where=where))
        made.rows.append(values)
        if task.has_empty_text(values):
            made.empty.append(where)
    return made


def _held_out_examples(task: Task, part: _Part, limit: int | None) -> _Made:
    """One example of every row, or of all rows with one source text, which keeps the id of the first of them."""
    if not task.gather:
        rows = list(_kept(task, part.first(limit)))
        examples = [task.example(row.values, row.row_id, where=row.where, scored=True) for row in rows]
        empty = [row.where for row in rows if task.has_empty_text(row.values)]
        return _Made(examples, [row.values for row in rows], empty)
    by_source: dict[str, _Made] = {}
    for row_id, where, values in _kept(task, part):
        example = task.example(values, row_id, where=where, scored=True)
        same = by_source.setdefault(example.source, _Made([], [], []))
        same.examples.append(example)
        same.rows.append(values)
        if task.has_empty_text(values):
            same.empty.append(where)
    kept = list(by_source.values())[:limit]
    # A reference that several rows have counts as often: means over references, as in CIDEr, depend on it.
    gathered = [
        replace(same.examples[0], references=tuple(text for e in same.examples for text in e.references))
        for same in kept
    ]
    of_rows = [row for same in kept for row in same.rows]
    return _Made(gathered, of_rows, [where for same in kept for where in same.empty])


def check_rows(task: Task, rows: Rows) -> None:
    """Make examples of rows of one official split, as ``load_task_data`` would, and drop them.

    Raises:
        DataError: the task cannot read a row.
    """
    rule = task.split_rule
    part = _Part(rows, range(len(rows)))
    if rows.split == rule.train:
        _training_examples(task, part)
    if rows.split != rule.train or rule.kind in ("carve", "train-only"):
        _held_out_examples(task, part, None)


def _kept(task: Task, part: _Part) -> Iterator[LoadedRow]:
    return (row for row in part if task.skip is None or not task.skip(row.values))


def _example_notes(task: Task, test: Sequence[TextExample], limit: int | None) -> list[str]:
    """What should be known about a test set whose examples are not its rows, or that has subsets."""
    notes = []
    official = task.official_examples.get("test")
    if official is not None and limit is None and len(test) != official:
        notes.append(f"{task.name}: there are {len(test):,} test examples, officially {official:,}")
    subsets = Counter(example.subset for example in test if example.subset)
    if subsets:
        shown = " and ".join(f"{count:,} {subset}" for subset, count in sorted(subsets.items()))
        notes.append(f"{task.name}: of {len(test):,} test examples {shown}")
    return notes


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

    def carve() -> tuple[_Part, _Part, _Part]:
        rows = rows_of(rule.train, None)
        order = permutation(len(rows), split_seed)
        size, tested = rule.carved(len(rows))
        if size != rule.dev_rows or (tested and tested != rule.test_rows):
            wanted = f"{rule.dev_rows:,} dev" + (f" and {rule.test_rows:,} test" if tested else "")
            notes.append(
                f"{task.name}: {rule.train!r} holds {len(rows):,} rows, too few for {wanted} "
                f"rows: dev has {size}" + (f", test {tested}" if tested else "")
            )
        dev, test, train = order[:size], order[size : size + tested], order[size + tested :]
        return _Part(rows, train).first(rule.max_train), _Part(rows, dev), _Part(rows, test)

    match rule.kind:
        case "halves":
            rows = rows_of(rule.test, None)
            order = permutation(len(rows), split_seed)
            half = len(rows) // 2
            train = whole(rule.train, max_train)
            dev, test = _Part(rows, order[:half]), _Part(rows, order[half:])
        case "carve":
            train, dev, _ = carve()
            test = whole(rule.test, max_test)
        case "train-only":
            train, dev, test = carve()
        case "official" | "generated":
            assert rule.dev is not None
            try:
                dev = whole(rule.dev, max_dev)
            except SplitMissingError:
                if not rule.carve_without_dev:
                    raise
                train, dev, _ = carve()
                notes.append(
                    f"{task.name}: there is no {rule.dev!r}; dev is {len(dev.numbers):,} rows taken from "
                    f"{rule.train!r} instead"
                )
            else:
                train = whole(rule.train, max_train)
            test = whole(rule.test, max_test)
    return train, dev, test, notes
