"""Files that are never half written: JSON, text and safetensors through a temporary name and a rename.

When a function here returns, what it wrote is on the disk: content first, then the name. So files that are written one
after the other appear in this order after a power cut too. And what is said of files that hold something else than they
should.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multiprompt.errors import CheckpointError, DataError, MultipromptError
from multiprompt.text import json_text

if TYPE_CHECKING:
    from torch import Tensor


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Call ``write`` with a temporary path beside ``path``, flush it to disk, then rename it into place.

    Whatever goes wrong, ``path`` holds either its old or its new content, and nothing is left beside it. The new
    content is there to stay when this returns, also after a power cut.

    Raises:
        CheckpointError: the file cannot be written (no space, no permission).
    """
    try:
        make_folder(path.parent)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise cannot_write(path, error) from error
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)  # mkstemp makes files that only their owner can read
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        # safetensors reports a full disk as its own error class
        if isinstance(error, OSError) or type(error).__name__ == "SafetensorError":
            raise cannot_write(path, error) from error
        raise


def sync(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on the disk.

    A file system that cannot do it for folders (some network ones) keeps their names in its own order.

    Raises:
        OSError: the disk fails.
    """
    if os.name == "nt" and path.is_dir():  # Windows opens no folders
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP, errno.EBADF)):
            raise
    finally:
        os.close(handle)


def make_folder(path: Path) -> None:
    """Make a folder and those above it that are missing, there to stay.

    Raises:
        OSError: the system refuses.
    """
    missing = list(takewhile(lambda folder: not folder.is_dir(), (path, *path.parents)))
    if missing:
        path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync(folder.parent)


def move_folder(source: Path, target: Path) -> None:
    """Rename a folder, both on one disk.

    Raises:
        CheckpointError: the system refuses.
    """
    try:
        make_folder(target.parent)
        source.rename(target)
        sync(target.parent)
        sync(source.parent)
    except OSError as error:
        raise cannot_write(target, error) from error


def existing_folder(path: Path) -> Path:
    """A folder, or the nearest of those above it that exists."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.is_dir())


def cannot_write(path: Path, error: BaseException) -> CheckpointError:
    """The error for a file that could not be written: what happened, and how to go on."""
    number = getattr(error, "errno", None)
    if number == errno.EROFS:
        advice = "the disk is mounted read-only: choose a folder on another one"
    elif number in (errno.EACCES, errno.EPERM):
        advice = "you may not write there: change the permissions, or choose another folder"
    elif number in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST):
        advice = "something of another kind is in its place: choose another folder"
    else:
        advice = "free some space or choose another folder, then run the same command with --resume"
    return CheckpointError(f"cannot write {path}: {error}. Results already on disk are untouched; {advice}")


_KINDS = (
    (b"\x1f\x8b", "compressed by gzip"),
    (b"PAR1", "a Parquet file"),
    (b"PK\x03\x04", "a zip archive, which files of torch.save (.pt, .bin) and of spreadsheets are too"),
    (b"\x80\x02", "a pickle, as torch.save writes them (.pt, .bin)"),
    (b"BZh", "compressed by bzip2"),
    (b"\xfd7zXZ", "compressed by xz"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd"),
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
)


def kind_of(start: bytes) -> str | None:
    """What a file is by its first bytes, in words; None for text, and for what is not known."""
    return next((kind for magic, kind in _KINDS if start.startswith(magic)), None)


def decoded(content: bytes, where: str, error: type[MultipromptError] = DataError, line: int = 1) -> str:
    """UTF-8 text, without a byte order mark.

    Args:
        content: of a file, or of a line of it.
        where: the file, for the error.
        error: the kind of error.
        line: number of the first line of the content.

    Raises:
        MultipromptError: of that kind, with the line that is no UTF-8, or what the file is instead.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as problem:
        kind = kind_of(content) if line == 1 else None
        if kind is not None:
            raise error(f"{where} is {kind}; expected UTF-8 text") from None
        line += content.count(b"\n", 0, problem.start)
        byte = problem.start - content.rfind(b"\n", 0, problem.start)
        raise error(
            f"{where}, line {line}: not UTF-8 (byte {byte} is {content[problem.start]:#04x}); convert the file to UTF-8"
        ) from None
    return text.removeprefix("\ufeff") if line == 1 else text


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_atomically(path, lambda temporary: _write_bytes(temporary, text.encode()))


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically. NaN and infinities are refused."""
    write_text(path, json_text(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        CheckpointError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}") from error


def describe_file(path: Path) -> dict[str, Any]:
    """``{"bytes": size, "sha256": digest}`` of a file's content.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": sha256}


def is_plain_name(name: str) -> bool:
    """Whether the name of a file, read from a record, stays in the folder of the record: no path, and not hidden."""
    return not name.startswith(".") and name == Path(name).name and not set(name) & {"\\", "\0"}


def tensors_digest(tensors: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 of names, types, shapes and all values of some tensors.

    Args:
        tensors: by name, in any order; or pairs in the order of their names, of which one at a time is in memory.
    """
    import torch

    pairs = sorted(tensors.items()) if isinstance(tensors, Mapping) else tensors
    digest = hashlib.sha256()
    for name, tensor in pairs:
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as one safetensors file, atomically."""
    from safetensors.torch import save_file

    contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_atomically(path, lambda temporary: save_file(contiguous, temporary, dict(metadata or {})))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file: its tensors and its metadata.

    Raises:
        CheckpointError: the file is missing, truncated or not safetensors.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    except (OSError, SafetensorError) as error:
        raise _not_tensors(path, error) from error


def _not_tensors(path: Path, error: Exception) -> CheckpointError:
    """The error for a file that is no safetensors: what it is, if that can be told."""
    if path.is_dir():
        return CheckpointError(
            f"{path} is a folder; expected a safetensors file, such as {path / 'prompt.safetensors'}"
        )
    try:
        with path.open("rb") as file:
            kind = kind_of(file.read(8))
    except OSError:
        kind = None
    if kind is None:
        return CheckpointError(f"{path} is damaged or is not a safetensors file: {error}")
    return CheckpointError(
        f"{path} is {kind}; expected a safetensors file, such as the prompt.safetensors of a run. Prompts of other "
        "programs become one by multiprompt.save_prompt"
    )
