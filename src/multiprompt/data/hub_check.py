"""Whether the hub holds what a task expects there: address, splits, columns, sizes, and rows that become examples.

A check reads descriptions, the first rows of each split, and the ends of Parquet files, which hold their numbers of
rows. It does not download a dataset.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from multiprompt.data.sources import Rows, branch_splits, hub_arguments
from multiprompt.data.splits import check_rows
from multiprompt.errors import DataError
from multiprompt.network import hub_trouble
from multiprompt.tasks import PARQUET_BRANCH, HubDataset, Row, Task

CHECKED_ROWS = 20
"""First rows of a split that are made into examples."""


@dataclass
class HubCheck:
    """What was found on the hub for one task.

    Attributes:
        task: the task.
        addresses: where its rows are, one for each configuration.
        rows: official split -> number of rows, of all configurations together; ``None`` where no description and no
            file says it. Splits that were not found are absent.
        columns: those of the first row of every split, without repetition.
        seconds: how long the check took.
        troubles: what is wrong; empty where the task can be loaded as it is.
    """

    task: Task
    addresses: tuple[str, ...]
    rows: dict[str, int | None] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    seconds: float = 0.0
    troubles: list[str] = field(default_factory=list)

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns that the task reads: of every row, and of scored ones the columns of the group."""
        return tuple(dict.fromkeys((*self.task.columns, *(self.task.group.columns if self.task.group else ()))))


def check_on_hub(task: Task) -> HubCheck:
    """Compare a task with its dataset on the hub. Does not raise what goes wrong there, but notes it.

    Raises:
        DataError: the task has no dataset on the hub, or the package ``datasets`` is missing.
    """
    hub = task.hub
    if hub is None:
        raise DataError(f"task {task.name!r} is not on the hub")
    try:
        import datasets
    except ImportError:
        raise DataError(
            "checking tasks on the hub needs the package 'datasets': pip install \"multiprompt[hub]\""
        ) from None
    check = HubCheck(task, tuple(map(hub.address, hub.configs)))
    if trouble := hub_trouble(hub.path):
        check.troubles.append(f"the hub is out of reach: {trouble}")
        return check
    start = time.perf_counter()
    bars = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        for config in hub.configs:
            _check_config(check, hub, config)
    finally:
        if not bars:
            datasets.enable_progress_bars()
    for split, official in task.official_rows.items():
        found = check.rows.get(split)
        if found is not None and found != official:
            check.troubles.append(f"{split!r} holds {found:,} rows, officially {official:,}")
    check.seconds = time.perf_counter() - start
    return check


def _check_config(check: HubCheck, hub: HubDataset, config: str | None) -> None:
    from datasets import load_dataset_builder

    address = hub.address(config)
    splits = {split: hub.splits.get(split, split) for split in check.task.split_rule.splits}
    # On the parquet branch one split that is not there would spoil the others.
    groups = [[split] for split in splits] if hub.revision == PARQUET_BRANCH else [list(splits)]
    for group in groups:
        names = [splits[split] for split in group]
        try:
            builder = load_dataset_builder(**hub_arguments(hub, config, names))
        except Exception as error:  # datasets raises many kinds, some of its own, some of its HTTP libraries
            what = f"{address}, split {names[0]!r}" if hub.revision == PARQUET_BRANCH else address
            check.troubles.append(f"{what}: {_said(error)}{branch_splits(hub)}")
            continue
        for split, name in zip(group, names, strict=True):
            _check_split(check, builder, split, name, f"{address}, split {name!r}")


def _check_split(check: HubCheck, builder: Any, split: str, name: str, where: str) -> None:
    try:
        first = _first_rows(builder, name, check.task)
        rows = _number_of_rows(builder, name)
    except Exception as error:
        check.troubles.append(f"{where}: {_said(error)}")
        return
    known = check.rows.get(split, 0)
    check.rows[split] = None if rows is None or known is None else known + rows
    check.columns = tuple(dict.fromkeys((*check.columns, *(column for row in first for column in row))))
    try:
        check_rows(check.task, Rows(split, where, first, range(1, len(first) + 1)))
    except DataError as error:
        check.troubles.append(str(error))


def _first_rows(builder: Any, split: str, task: Task) -> list[Row]:
    """The first rows that the task does not leave out.

    Raises:
        DataError: there are none.
    """
    stream: Iterator[Mapping[str, Any]] = iter(builder.as_streaming_dataset(split=split))
    first = list(islice((row for row in stream if task.skip is None or not task.skip(row)), CHECKED_ROWS))
    if not first:
        raise DataError("there are no rows, or the task leaves out all of them")
    return first


def _number_of_rows(builder: Any, split: str) -> int | None:
    """From the description of the dataset, or from the ends of its Parquet files."""
    described = builder.info.splits or {}
    if split in described and described[split].num_examples:
        return int(described[split].num_examples)
    files = builder.config.data_files[split]
    if not all(name.endswith(".parquet") for name in files):
        return None
    import fsspec
    from pyarrow import parquet

    total = 0
    for name in files:
        with fsspec.open(name, "rb") as file:
            total += parquet.read_metadata(file).num_rows
    return total


def _said(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, DataError) else f"{type(error).__name__}: {text}"
