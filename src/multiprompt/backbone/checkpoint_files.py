"""The files that a model's weights come from, and the tensors in them, one at a time."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multiprompt.errors import BackboneError
from multiprompt.files import is_plain_name

_WHOLE = ("model.safetensors", "pytorch_model.bin")
_INDEX = "{}.index.json"


@dataclass(frozen=True)
class Checkpoint:
    """Where the weights of a model are.

    Attributes:
        name: what the user called the model.
        path: a folder, or the name of a model on the hub.
        revision: commit or tag on the hub.
        offline: whether only earlier downloads are looked at.
    """

    name: str
    path: str
    revision: str | None
    offline: bool

    @property
    def source(self) -> dict[str, Any]:
        """The same as arguments of transformers' functions that load something."""
        return {"revision": self.revision, "local_files_only": self.offline}

    def files(self) -> list[Path]:
        """See ``checkpoint_files``."""
        return checkpoint_files(self.path, self.revision, self.offline)


def checkpoint_files(path: str, revision: str | None = None, offline: bool = False) -> list[Path]:
    """The files of a checkpoint: that which transformers reads first of those that are there, or its parts.

    Args:
        path: a folder, or the name of a model on the hub.
        revision: commit or tag on the hub.
        offline: whether only earlier downloads are looked at.

    Raises:
        BackboneError: there is none, or an index that names none.
    """

    def find(name: str) -> Path | None:
        from transformers.utils import cached_file

        found = cached_file(
            path,
            name,
            revision=revision,
            local_files_only=offline,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        return None if found is None else Path(found)

    for name in _WHOLE:
        whole = find(name)
        if whole is not None:
            return [whole]
        index = find(_INDEX.format(name))
        if index is not None:
            return [_part(index, part, find) for part in _parts(index)]
    raise BackboneError(f"{path} holds no weights; expected {' or '.join(_WHOLE)}, or the index of its parts")


def _parts(index: Path) -> list[str]:
    """Names of the files that an index lists."""
    try:
        return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackboneError(f"{index} is no index of the files of a checkpoint: {error!r}") from error


def _part(index: Path, name: str, find: Callable[[str], Path | None]) -> Path:
    found = find(name) if is_plain_name(name) else None
    if found is None:
        raise BackboneError(f"{index} lists the file {name!r}, which is not there")
    return found


def stored_tensors(files: Sequence[Path], chosen: Collection[str] | None = None) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors of some files in the order of the names; one tensor at a time is in memory.

    Args:
        files: of a checkpoint.
        chosen: only tensors of these names; None for all.

    Raises:
        BackboneError: a file is damaged.
    """
    with ExitStack() as stack:
        readers = [_open(file, stack) for file in files]
        places = {name: read for names, read in readers for name in names}
        for name in sorted(places if chosen is None else places.keys() & set(chosen)):
            yield name, places[name](name)


def _open(file: Path, stack: ExitStack) -> tuple[Sequence[str], Callable[[str], Tensor]]:
    """Names of the tensors in a file, and a function that reads one."""
    from safetensors import SafetensorError, safe_open

    try:
        if file.suffix == ".safetensors":
            opened = stack.enter_context(safe_open(file, framework="pt"))
            return list(opened.keys()), opened.get_tensor
        # Files of old releases of torch are no archives, and cannot be mapped.
        held: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except (OSError, SafetensorError, RuntimeError, ValueError, EOFError) as error:
        raise BackboneError(f"{file} cannot be read: {error}") from error
    tensors = {name: value for name, value in held.items() if isinstance(value, Tensor)}
    return list(tensors), tensors.__getitem__
