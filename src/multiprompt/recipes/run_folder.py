"""The folder of a run: opened once, refused when it belongs to something else, and never half written."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from multiprompt.config import load_experiment, to_plain, to_yaml
from multiprompt.errors import CheckpointError
from multiprompt.files import write_json, write_text
from multiprompt.options import Experiment

_PACKAGES = ("multiprompt", "torch", "transformers", "tokenizers", "safetensors", "numpy")


def check_run_folder(experiment: Experiment, folder: Path, resume: bool) -> None:
    """Check that a folder is new, or holds the same experiment and may be gone on with.

    Raises:
        CheckpointError: the folder holds a run and ``resume`` is false, or a run of another configuration, or
            something that is no run.
    """
    config = folder / "config.yaml"
    if config.exists():
        if not resume:
            raise CheckpointError(
                f"{folder} holds a run already; add --resume to go on with it, or choose another folder with --out"
            )
        different = list(_differences(to_plain(load_experiment(config)), to_plain(experiment)))
        if different:
            shown = "\n".join(f"  - {line}" for line in different)
            raise CheckpointError(
                f"{folder} holds a run of another configuration; choose another folder with --out, or put these back:\n"
                f"{shown}"
            )
    elif folder.exists() and any(folder.iterdir()):
        raise CheckpointError(f"{folder} holds files but no run; choose a new folder with --out")


def open_run_folder(experiment: Experiment, folder: Path) -> None:
    """Write the resolved configuration into a folder that was checked, unless it is there.

    Done once backbone and data are loaded: a run that cannot begin leaves no folder behind.
    """
    if not (folder / "config.yaml").exists():
        write_text(folder / "config.yaml", to_yaml(experiment))


def read_run_config(folder: Path) -> Experiment:
    """The experiment of a run folder.

    Raises:
        CheckpointError: the folder holds no run.
    """
    config = folder / "config.yaml"
    if not config.exists():
        raise CheckpointError(f"{folder} is not a run folder: it holds no config.yaml")
    return load_experiment(config)


def _differences(before: Any, after: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from _differences(before.get(key), after.get(key), f"{prefix}{key}.")
    elif before != after:
        yield f"{prefix.removesuffix('.')}: the folder has {before!r}, asked for is {after!r}"


def digest(value: Any) -> str:
    """Identity of plain values: SHA-256 of their canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def write_environment(
    folder: Path, seeds: tuple[int, ...], data: Mapping[str, str], backbone: Mapping[str, Any]
) -> None:
    """Record versions, machine, seeds, fingerprints of the data and facts of the backbone."""
    import torch

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
            "threads": torch.get_num_threads(),
            "packages": versions,
            "seeds": list(seeds),
            "data": dict(data),
            "backbone": dict(backbone),
        },
    )
