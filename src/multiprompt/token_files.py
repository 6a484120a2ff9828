"""The files of the token cache: where they are, and how they are written, read, listed and removed.

A file holds a magic word, the length and the checksum of its header, the header (JSON) and, from the next
multiple of 64 bytes on, the arrays, whose checksum is in the header. It is renamed into place when it is whole and
never changed afterwards, so any number of processes may read and write at once, and all of them share the pages of a
file in memory. A folder may be shared with others, so nothing in a file is taken on trust. No torch here: the command
line lists files without it.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from multiprompt.errors import CheckpointError, DataError
from multiprompt.files import write_atomically

CACHE_VARIABLE = "MULTIPROMPT_CACHE"
"""Environment variable that names the cache folder."""

ENDING = ".tokens"
_MAGIC = b"mptokens"
_ALIGNMENT = 64
_PREAMBLE = len(_MAGIC) + 8
_LEFTOVER_SECONDS = 3600.0
_TYPES = ("<u2", "<i4", "<i8")
_FACTS = {"task": str, "split": str, "examples": int, "truncated_sources": int, "truncated_targets": int}


@dataclass(frozen=True)
class TokenFile:
    """What is known of a file without reading its arrays.

    Attributes:
        path: the file.
        size: bytes.
        used: when it was written or read last, in seconds since 1970.
        made: when it was written; the time of the last use if the file is damaged.
        facts: what the writer said about the arrays; empty if the file is damaged.
    """

    path: Path
    size: int
    used: float
    made: float
    facts: Mapping[str, Any]


def token_folder() -> Path:
    """The folder of the cached tokens.

    Raises:
        CheckpointError: there is no cache folder.
    """
    return cache_folder() / "tokens"


def cache_folder() -> Path:
    """The folder that ``MULTIPROMPT_CACHE`` names, or ours below the user's cache folder.

    Raises:
        CheckpointError: the variable is not set, and there is no home folder.
    """
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named).expanduser()
    caches = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(caches) if caches else Path.home() / ".cache") / "multiprompt"
    except RuntimeError as error:
        raise CheckpointError(f"there is no home folder for the cache ({error}); set {CACHE_VARIABLE}") from error


def write_token_file(path: Path, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
    """Write flat arrays, and facts about them, atomically.

    Args:
        path: ends in ``ENDING``.
        arrays: of one dimension.
        facts: the task, the split, the number of examples, and how many sources and targets were cut.

    Raises:
        CheckpointError: the file cannot be written (no space, no permission).
    """
    places: dict[str, tuple[str, int, int]] = {}
    end = 0
    for name, array in arrays.items():
        start = _aligned(end)
        end = start + array.nbytes
        places[name] = (array.dtype.newbyteorder("<").str, start, end)
    checksum = 0
    for name, array in arrays.items():
        checksum = zlib.crc32(np.ascontiguousarray(array, dtype=places[name][0]).data, checksum)
    made = int(time.time())
    header = {"facts": dict(facts), "made": made, "arrays": places, "bytes": end, "checksum": checksum}
    text = json.dumps(header).encode()
    preamble = _MAGIC + len(text).to_bytes(4, "little") + zlib.crc32(text).to_bytes(4, "little")
    base = _aligned(_PREAMBLE + len(text))

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(preamble + text)
            for name, array in arrays.items():
                dtype, start, _ = places[name]
                file.seek(base + start)
                file.write(np.ascontiguousarray(array, dtype=dtype).data)
            file.truncate(base + end)

    write_atomically(path, write)


def open_token_file(path: Path) -> tuple[dict[str, np.ndarray], Mapping[str, Any]]:
    """The arrays of a file, memory-mapped and read-only, and the facts about them; the time of use is set to now.

    Raises:
        DataError: the file is damaged.
        OSError: it is not there, or cannot be read.
    """
    with path.open("rb") as file:
        header, base = _read_header(path, file)
        whole = np.asarray(np.memmap(file, mode="r"))
    with suppress(OSError):  # a cache that others have filled may be read-only
        os.utime(path)
    arrays = {
        name: whole[base + start : base + end].view(dtype) for name, (dtype, start, end) in header["arrays"].items()
    }
    checksum = 0
    for array in arrays.values():
        checksum = zlib.crc32(array.data, checksum)
    if checksum != header["checksum"]:
        raise DataError(f"the arrays in {path} are damaged: their checksum is another one")
    return arrays, header["facts"]


def _read_header(path: Path, file: BinaryIO) -> tuple[dict[str, Any], int]:
    """The header of a file, and where its arrays begin; the size of the file must be what the header says."""
    preamble = file.read(_PREAMBLE)
    length, checksum = (int.from_bytes(preamble[at : at + 4], "little") for at in (len(_MAGIC), len(_MAGIC) + 4))
    size = os.fstat(file.fileno()).st_size
    if not preamble.startswith(_MAGIC) or size < _PREAMBLE + length:
        raise DataError(f"{path} is not a file of cached tokens, or is cut off")
    text = file.read(length)
    if not text or zlib.crc32(text) != checksum:  # the checksum of nothing is 0, as in a file of zeros
        raise DataError(f"the header of {path} is damaged")
    try:
        header: dict[str, Any] = json.loads(text)
        _check_header(header)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"the header of {path} is not that of cached tokens ({error!r})") from error
    base = _aligned(_PREAMBLE + length)
    if size != base + header["bytes"]:
        raise DataError(f"{path} has {size:,} bytes; its header says {base + header['bytes']:,}")
    return header, base


def _check_header(header: dict[str, Any]) -> None:
    """A checksum says that a header is as it was written, not who wrote it.

    Raises:
        ValueError: a value cannot be; or KeyError, TypeError, AttributeError.
    """
    end, _, _ = int(header["bytes"]), int(header["made"]), int(header["checksum"])
    for fact, kind in _FACTS.items():
        if not isinstance(header["facts"][fact], kind):
            raise TypeError(f"{fact} is {header['facts'][fact]!r}")
    for name, (dtype, start, stop) in header["arrays"].items():
        size = np.dtype(dtype).itemsize if dtype in _TYPES else 0
        if not size or not 0 <= start <= stop <= end or start % _ALIGNMENT or (stop - start) % size:
            raise ValueError(f"the array {name!r} is {dtype!r} from {start} to {stop} of {end}")


def _aligned(position: int) -> int:
    return -(-position // _ALIGNMENT) * _ALIGNMENT


def list_token_files(folder: Path) -> list[TokenFile]:
    """All files in a folder, those used last first; none if the folder does not exist."""
    return sorted(_token_files(folder), key=lambda file: (-file.used, file.path))


def _token_files(folder: Path) -> Iterator[TokenFile]:
    for path in folder.glob(f"*{ENDING}"):
        try:
            status = path.stat()
        except FileNotFoundError:  # another process has removed it meanwhile
            continue
        try:
            with path.open("rb") as file:
                header, _ = _read_header(path, file)
        except (DataError, OSError):
            header = {"facts": {}, "made": status.st_mtime}
        yield TokenFile(path, status.st_size, status.st_mtime, header["made"], header["facts"])


def remove_leftovers(folder: Path) -> None:
    """Remove what processes that were killed while they wrote have left; files in the making are left alone."""
    for path in folder.glob(f".*{ENDING}.*"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _LEFTOVER_SECONDS:
                path.unlink()
