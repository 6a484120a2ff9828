"""Rows of an official split: from local files, from the Hugging Face hub, or made by a generated task.

A data folder holds ``<task.folder>/<split>.jsonl.gz``, or another of the endings in ``ENDINGS``. Every row
knows the file and line it comes from, so that an error can say where it is.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from multiprompt.data.readers import READERS
from multiprompt.definition import ENDINGS
from multiprompt.errors import DataError
from multiprompt.examples import TextExample
from multiprompt.network import hub_trouble
from multiprompt.tasks import GENERATED_SIZES, PARQUET_BRANCH, HubDataset, Row, Task


@dataclass(frozen=True)
class Generation:
    """How the rows of generated tasks are made.

    Attributes:
        sizes: rows of each split; splits not named have their default size.
        seed: the seed of the rows.
        label_coding: "glue" (each task keeps the label order of its public namesake) or "consistent".
    """

    sizes: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    label_coding: str = "glue"


@dataclass(frozen=True)
class Places:
    """Where the rows of a file are.

    Attributes:
        origin: the file, hub dataset or generator.
        name: "line" or "row".
        numbers: for each row its number, as a person counts.
    """

    origin: str
    name: str
    numbers: Sequence[int]

    def __getitem__(self, row: int) -> str:
        return f"{self.origin}, {self.name} {self.numbers[row]}"


class LoadedRow(NamedTuple):
    """A row, its id ("train:16"), and where it is ("path, line 17")."""

    row_id: str
    where: str
    values: Row


@dataclass(frozen=True)
class Rows:
    """The rows of one official split, in their order.

    Attributes:
        split: the official name of the split.
        origin: the file, hub dataset or generator.
        values: the rows.
        places: for each row its line or row number, as a person counts, in the file.
        place_name: "line" or "row".
        complete: whether the split was read to its end.
        notes: what a reader of results should know.
        name: what the ids of the rows begin with; the split if empty.
        parts: where the split is joined from several files, the rows of each.
    """

    split: str
    origin: str
    values: Sequence[Row]
    places: Sequence[int]
    place_name: str = "row"
    complete: bool = True
    notes: tuple[str, ...] = ()
    name: str = ""
    parts: tuple[Rows, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"Rows({self.split!r}, {len(self):,} rows of {self.origin})"

    def __getitem__(self, number: int) -> LoadedRow:
        for part in self.parts:
            if number < len(part):
                return part[number]
            number -= len(part)
        where = Places(self.origin, self.place_name, self.places)[number]
        return LoadedRow(f"{self.name or self.split}:{number}", where, self.values[number])

    def __iter__(self) -> Iterator[LoadedRow]:
        return (self[number] for number in range(len(self.values)))

    def places_by_name(self) -> dict[str, Places]:
        """What the ids of rows begin with -> where these rows are, without their values."""
        if self.parts:
            return {name: places for part in self.parts for name, places in part.places_by_name().items()}
        numbers = self.places
        if len(numbers) and numbers[-1] - numbers[0] == len(numbers) - 1:  # they rise, so there is no gap
            numbers = range(numbers[0], numbers[-1] + 1)
        return {self.name or self.split: Places(self.origin, self.place_name, numbers)}


class SplitMissingError(DataError):
    """A data folder has no file for the split."""


def load_rows(
    task: Task,
    split: str,
    location: Path | None = None,
    limit: int | None = None,
    generation: Generation | None = None,
) -> Rows:
    """The rows of one official split of a task.

    Args:
        task: the task; generated tasks make their rows and do not look at ``location``.
        split: the official name, such as "validation_matched".
        location: the data folder; ``None`` loads from the hub (or its offline cache). Not looked at for a task with
            files of its own.
        limit: the most rows to read, from the start.
        generation: sizes, seed and label coding of generated tasks.

    Raises:
        DataError: the split is not there, is empty, or cannot be read; the message says where and what to do.
    """
    if task.generator is not None:
        rows = _generated_rows(task, split, limit, generation or Generation())
    elif task.files:
        rows = _own_file_rows(task, split, limit)
    elif location is None:
        rows = _hub_rows(task, split, limit)
    else:
        folders = [partial(_folder_rows, task, split, Path(location), folder) for folder in task.folders]
        rows = _joined(split, folders, limit)
    if not len(rows):
        raise DataError(f"{rows.origin} holds no rows; expected at least one (split {split!r} of {task.name!r})")
    official = task.official_rows.get(split)
    if rows.complete and official is not None and len(rows) != official:
        note = (
            f"{task.name}: {split!r} holds {len(rows):,} rows, officially {official:,}: scores are not "
            "comparable with published ones"
        )
        return replace(rows, notes=(*rows.notes, note))
    return rows


def _joined(split: str, readers: Sequence[Callable[[int | None], Rows]], limit: int | None) -> Rows:
    """The rows of one reader, or those of several in their order; each is given the most rows to read."""
    if len(readers) == 1:
        return readers[0](limit)
    parts: list[Rows] = []
    for read in readers:
        parts.append(read(None if limit is None else limit - sum(map(len, parts))))
        if limit is not None and sum(map(len, parts)) == limit:
            break
    return Rows(
        split,
        " and ".join(part.origin for part in parts),
        [row for part in parts for row in part.values],
        (),
        complete=all(part.complete for part in parts) and len(parts) == len(readers),
        notes=tuple(note for part in parts for note in part.notes),
        parts=tuple(parts),
    )


def fingerprint(items: Iterable[Row | TextExample]) -> str:
    """SHA-256 of rows or examples in their order: the same for equal data from whatever kind of file.

    Give ``task.canonical(row)`` of checked rows: that holds the task's columns only. Numbers that are equal
    count as equal (5 and 5.0), and so do lists and tuples. Of an example the texts and the group count, not its row
    id.
    """
    digest = hashlib.sha256()
    for item in items:
        if isinstance(item, TextExample):
            texts: Row = {"source": item.source, "target": item.target, "references": item.references}
            item = texts if item.group is None else {**texts, "group": item.group}
        digest.update(json.dumps(_canonical(item), sort_keys=True, separators=(",", ":")).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def _canonical(value: Any) -> Any:
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return int(value)
    if isinstance(value, Mapping):
        return {str(key): _canonical(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(each) for each in value]
    return value


# --- generated ------------------------------------------------------------------------------------------


def _generated_rows(task: Task, split: str, limit: int | None, generation: Generation) -> Rows:
    assert task.generator is not None
    sizes = {**GENERATED_SIZES, **generation.sizes}
    if split not in sizes:
        raise DataError(f"task {task.name!r} has no split {split!r}; expected one of {', '.join(sizes)}")
    # the first rows of a generated split do not depend on how many are made
    size = sizes[split] if limit is None else min(limit, sizes[split])
    values = task.generator(split, size, seed=generation.seed, label_coding=generation.label_coding)
    complete = size == sizes[split]
    origin = f"generated {task.name} {split} (seed {generation.seed}, {generation.label_coding} labels)"
    return Rows(split, origin, values, range(1, len(values) + 1), complete=complete)


# --- hub ------------------------------------------------------------------------------------------


def _hub_rows(task: Task, split: str, limit: int | None) -> Rows:
    hub = task.hub
    if hub is None:
        raise DataError(f"task {task.name!r} is not on the hub; give the data folder that holds {_files(task, split)}")
    return _joined(split, [partial(_hub_config_rows, task, hub, split, config) for config in hub.configs], limit)


def _files(task: Task, split: str) -> str:
    """The files that a data folder would hold."""
    return " and ".join(f"{folder}/{split}.jsonl.gz" for folder in task.folders)


def _hub_config_rows(task: Task, hub: HubDataset, split: str, config: str | None, limit: int | None) -> Rows:
    address = hub.address(config)
    try:
        from datasets import load_dataset
    except ImportError:
        raise DataError(
            f"loading {address} from the hub needs the package 'datasets': pip install \"multiprompt[hub]\"; or "
            f"give a data folder that holds {_files(task, split)}"
        ) from None
    hub_split = hub.splits.get(split, split)
    try:
        arguments = hub_arguments(hub, config, (hub_split,))
        if "data_files" in arguments:
            # datasets finds no earlier download of single files again without a network; the hub's client does
            arguments["path"] = _branch_folder(hub, arguments["data_files"][hub_split])
        with _quick_if_offline(hub.path):
            dataset = load_dataset(**arguments, split=hub_split)
    except Exception as error:  # datasets raises many kinds, some of its own, some of its HTTP libraries
        raise DataError(_hub_trouble(task, hub, split, f"split {hub_split!r} of {address}", error)) from error
    complete = limit is None or limit >= len(dataset)
    values = [dict(row) for row in islice(dataset, limit)]
    origin = f"{address}, split {hub_split}"
    row_ids = f"{config}/{split}" if isinstance(hub.config, tuple) else ""
    return Rows(split, origin, values, range(1, len(values) + 1), complete=complete, name=row_ids)


def hub_arguments(hub: HubDataset, config: str | None, splits: Sequence[str]) -> dict[str, Any]:
    """The arguments by which ``datasets`` finds some splits of one configuration on the hub.

    Args:
        hub: the dataset.
        config: one of ``hub.configs``.
        splits: their names on the hub.
    """
    place = {"path": hub.path, "revision": hub.revision}
    if hub.revision != PARQUET_BRANCH:
        return {**place, "name": config}
    return {**place, "data_files": {split: list(hub.branch_files(config, split)) for split in splits}}


def _branch_folder(hub: HubDataset, patterns: list[str]) -> str:
    """A local folder with those files of the parquet branch, downloaded unless they have been."""
    if Path(hub.path).is_dir():
        return hub.path
    from huggingface_hub import snapshot_download

    return snapshot_download(
        hub.path,
        repo_type="dataset",
        revision=hub.revision,
        allow_patterns=patterns,
        local_files_only=hub_trouble() is not None,
    )


def branch_splits(hub: HubDataset) -> str:
    """The folders of a parquet branch, for a message; "" for another revision, or where they cannot be listed."""
    if hub.revision != PARQUET_BRANCH or hub_trouble(hub.path):
        return ""
    from huggingface_hub import HfApi

    try:
        if Path(hub.path).is_dir():
            files = [path.relative_to(hub.path).as_posix() for path in Path(hub.path).glob("*/*/*.parquet")]
        else:
            files = HfApi().list_repo_files(hub.path, repo_type="dataset", revision=hub.revision)
    except Exception:  # the message that this is added to says what is wrong
        return ""
    folders = sorted({name.rpartition("/")[0] for name in files if name.endswith(".parquet")})
    return f"; there is {', '.join(folders) or 'no Parquet file'}"


@contextmanager
def _quick_if_offline(path: str) -> Iterator[None]:
    """Inside, ``datasets`` asks its cache at once where the hub is out of reach, and does not try for half a minute."""
    if hub_trouble(path) is None:
        yield
        return
    from datasets import config

    before, config.HF_HUB_OFFLINE = config.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE = before


def _hub_trouble(task: Task, hub: HubDataset, split: str, what: str, error: Exception) -> str:
    trouble = hub_trouble(hub.path)
    said = f"{type(error).__name__}: {error}"
    if trouble:
        said = f"the hub is out of reach ({trouble}), and earlier downloads do not hold it ({type(error).__name__})"
    message = f"cannot load {what} from the hub: {said}{branch_splits(hub)}. "
    if "dataset scripts" in str(error).lower():
        return message + (
            "The revision holds a loading script, which datasets 4 and newer do not run: use the revision "
            f"{PARQUET_BRANCH!r} of the dataset, or local files"
        )
    return message + (
        f"Without a network, give a data folder that holds {_files(task, split)}, or load the "
        "dataset once with a network: its cache also works offline"
    )


# --- local files ----------------------------------------------------------------------------------


def missing_files(task: Task, location: Path | None) -> list[str]:
    """What of a task's files is not there, a sentence for each; nothing for tasks of the hub and generated ones.

    Args:
        task: the task.
        location: the data folder, as for ``load_rows``.
    """
    rule = task.split_rule
    needed = [split for split in rule.splits if not (rule.carve_without_dev and split == rule.dev)]
    if task.files:
        files = [(split, task.files[split]) for split in needed if split in task.files]
        return [
            f"task {task.name!r}, split {split!r}: {file} does not exist"
            for split, file in files
            if not Path(file).is_file()
        ]
    if location is None or task.generator is not None:
        return []
    missing = []
    for split in needed:
        for inside in task.folders:
            try:
                _files_of(task, split, Path(location), inside)
            except DataError as error:
                missing.append(str(error))
    return list(dict.fromkeys(missing))


def refuse_missing(missing: Sequence[str]) -> None:
    """Raise one error for everything that ``missing_files`` gave.

    Raises:
        DataError: a file is missing; the message lists all.
    """
    if len(missing) == 1:
        raise DataError(missing[0])
    if missing:
        raise DataError("\n  - ".join(["data is missing:", *missing]))


def _files_of(task: Task, split: str, location: Path, inside: str) -> list[Path]:
    """The files of a split, of which the first is read.

    Raises:
        DataError: there is none.
    """
    folder = location / inside
    paths = [folder / f"{split}.{ending}" for ending in ENDINGS]
    found = [path for path in paths if path.is_file()]
    if not found:
        if not location.is_dir():
            raise DataError(f"the data folder {location} does not exist (looked for task {task.name!r})")
        there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else None
        raise SplitMissingError(
            f"task {task.name!r} has no split {split!r} in {location}; tried {folder}/{split}"
            f".{{{','.join(ENDINGS)}}}; "
            + ("that folder does not exist" if there is None else f"there is {', '.join(there) or 'nothing'}")
        )
    return found


def _folder_rows(task: Task, split: str, location: Path, inside: str, limit: int | None) -> Rows:
    path, *others = _files_of(task, split, location, inside)
    folder = location / inside
    notes = tuple(f"{inside}: {path.name} was read, not {other.name}" for other in others)
    return _file_rows(task, split, path, limit, notes, f"{folder.name}/{split}" if task.subfolders else "")


def _own_file_rows(task: Task, split: str, limit: int | None) -> Rows:
    if split not in task.files:
        raise SplitMissingError(
            f"task {task.name!r} has no file for the split {split!r}; it has {', '.join(task.files)}"
        )
    return _file_rows(task, split, Path(task.files[split]), limit)


def read_rows(path: Path, task: Task | None = None) -> Rows:
    """The rows of one file, as they are: answers may be missing.

    Args:
        path: JSON lines, CSV, TSV or Parquet, by its ending.
        task: says which cells of a text file are read as JSON; None leaves all of them texts.

    Raises:
        DataError: the file cannot be read, or has another ending.
    """
    return _file_rows(task, path.name, path, None)


def _file_rows(
    task: Task | None, split: str, path: Path, limit: int | None, notes: tuple[str, ...] = (), row_ids: str = ""
) -> Rows:
    ending = next((ending for ending in ENDINGS if path.name.endswith(ending)), None)
    if ending is None:
        raise DataError(f"{path} is no data file; expected one that ends in {', '.join(ENDINGS)}")
    reader, place_name = READERS[ending.removesuffix(".gz")]
    values: list[Row] = []
    places: list[int] = []
    for place, row in islice(reader(path, task), limit):
        values.append(row)
        places.append(place)
    complete = limit is None or len(values) < limit
    return Rows(split, str(path), values, places, place_name, complete, notes, row_ids)
