"""The folder of a run: one process at a time, one configuration, nothing thrown away, and never half written."""

from __future__ import annotations

import contextlib
import errno
import importlib.metadata
import os
import platform
import socket
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from multiprompt.config import load_experiment, to_plain, to_yaml
from multiprompt.errors import CheckpointError
from multiprompt.files import cannot_write, make_folder, read_json, write_json, write_text
from multiprompt.options import Experiment
from multiprompt.parallel import processes

_PACKAGES = ("multiprompt", "torch", "transformers", "tokenizers", "safetensors", "numpy")
_LOCK, _HOLDER = ".lock", ".lock.json"


@contextlib.contextmanager
def only_process(folder: Path, patience: float = 0.0) -> Iterator[None]:
    """Keep other processes from writing to a folder. The system ends this when the process ends, however it ends.

    Args:
        folder: made if it does not exist.
        patience: seconds to wait for another process to end.

    Raises:
        CheckpointError: another process writes to it, or the folder cannot be written.
    """
    # A soft lock, which is just a file, would outlive a process that was killed.
    lock = FileLock(folder / _LOCK, timeout=patience, fallback_to_soft=False)
    try:
        make_folder(folder)
        lock.acquire()
    except Timeout:
        waited = f" (waited {patience:.0f} s)" if patience else ""
        raise CheckpointError(
            f"{folder} is being written by {_holder(folder)}{waited}; wait until it ends, or stop it, then run the "
            "same command with --resume. Nothing was changed"
        ) from None
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK):
            raise CheckpointError(
                f"the file system of {folder} cannot lock files, so two runs could write to it at once without knowing "
                "of each other. Choose a folder on another disk with --out, or let its administrator switch locks on"
            ) from error
        raise cannot_write(folder / _LOCK, error) from error
    try:
        since = datetime.now().astimezone().isoformat(" ", "seconds")
        write_json(folder / _HOLDER, {"process": os.getpid(), "host": socket.gethostname(), "since": since})
        yield
    finally:
        (folder / _HOLDER).unlink(missing_ok=True)
        lock.release()


def _holder(folder: Path) -> str:
    try:
        holder = read_json(folder / _HOLDER)
        return f"process {holder['process']} on {holder['host']} since {holder['since']}"
    except (CheckpointError, KeyError, TypeError):  # it has only just begun
        return "another process"


def check_run_folder(folder: Path, resume: bool) -> Experiment | None:
    """Check that a folder is new, or holds a run that may be gone on with.

    Returns:
        The experiment that the folder holds; None for a new folder.

    Raises:
        CheckpointError: the folder holds a run and ``resume`` is false, or something that is no run.
        ConfigError: its configuration cannot be read.
    """
    config = folder / "config.yaml"
    if config.exists():
        if not resume:
            raise CheckpointError(
                f"{folder} holds a run already; add --resume to go on with it, or choose another folder with --out"
            )
        return load_experiment(config)
    if folder.exists() and any(path.name not in (_LOCK, _HOLDER) for path in folder.iterdir()):
        raise CheckpointError(f"{folder} holds files but no run; choose a new folder with --out")
    return None


def write_config(experiment: Experiment, folder: Path) -> None:
    """Write the resolved configuration, unless it is there.

    Done once backbone and data are loaded: a run that cannot begin leaves no folder behind.
    """
    path, text = folder / "config.yaml", to_yaml(experiment, folder)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def read_run_config(folder: Path) -> Experiment:
    """The experiment of a run folder.

    Raises:
        CheckpointError: the folder holds no run.
    """
    config = folder / "config.yaml"
    if not config.exists():
        raise CheckpointError(f"{folder} is not a run folder: it holds no config.yaml")
    return load_experiment(config)


def differences(before: Experiment, after: Experiment) -> list[str]:
    """Every option that two experiments differ in, one line each."""
    return list(plain_differences(to_plain(before), to_plain(after)))


def plain_differences(before: Any, after: Any, prefix: str = "") -> Iterator[str]:
    """Every leaf that two trees of plain values differ in, one line each."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from plain_differences(before.get(key), after.get(key), f"{prefix}{key}.")
    elif before != after:
        yield f"{prefix.removesuffix('.')}: the folder has {before!r}, asked for is {after!r}"


def write_environment(
    folder: Path, seeds: tuple[int, ...], data: Mapping[str, str], backbone: Mapping[str, Any], threads: int
) -> None:
    """Record versions, machine, processes, threads of a stage, seeds, fingerprints of data, facts of the backbone."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "unknown"
    write_json(
        folder / "environment.json",
        {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "processors": os.cpu_count(),
            "threads": threads,
            "processes_together": processes().count,
            "packages": versions,
            "seeds": list(seeds),
            "data": dict(data),
            "backbone": dict(backbone),
        },
    )
