"""The folder of a stage: whose it is from its first moment, whether it is finished, and whether it is whole.

stage.json     identity, and all that the stage depends on; written before anything else
result.json    scores, and size and SHA-256 of every file that others read; written last

All other files are on the disk before the result is, so a stage that has one is whole, also after a power cut.
"""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multiprompt.errors import CheckpointError
from multiprompt.evaluation.results import Score
from multiprompt.files import (
    cannot_write,
    describe_file,
    is_plain_name,
    move_folder,
    read_json,
    sync,
    write_atomically,
    write_json,
)

RECORD_VERSION = 2
"""Of result.json; version 1 did not list the files."""

STAGE, RESULT, CHECKPOINT, LOG = "stage.json", "result.json", "checkpoint.safetensors", "log.jsonl"
SET_ASIDE = "set-aside"
"""Folder in that of the run, for stages of other configurations."""

_SHOWN = 12
"""Digits of an identity in the name of a folder that is set aside."""


@dataclass(frozen=True)
class Result:
    """What ``result.json`` says.

    Attributes:
        identity: of the stage.
        scores: of its tasks.
        files: ``{"bytes": size, "sha256": digest}`` of every file that others read, by name.
    """

    identity: str
    scores: tuple[Score, ...]
    files: Mapping[str, Mapping[str, Any]]


def read_result(folder: Path) -> Result | None:
    """The result of a stage; None if it is not finished.

    Raises:
        CheckpointError: the record is damaged.
    """
    path = folder / RESULT
    if not path.exists():
        return None
    try:
        record = read_json(path)
        scores = tuple(Score.from_json(score, str(path)) for score in record["scores"])
        files = dict(record.get("files", {}))
        for name in files:
            if not _is_of_stage(name):
                raise CheckpointError(f"{path} lists {name!r}, which is no file of a stage")
        return Result(str(record["identity"]), scores, files)
    except CheckpointError as error:
        raise CheckpointError(f"{error}. {_remedy(folder)}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged ({error!r}). {_remedy(folder)}") from error


def _is_of_stage(name: str) -> bool:
    """Whether a result may list a file of this name. A record that comes from elsewhere may name anything."""
    answers = name.startswith("predictions-") and name.endswith(".jsonl")
    return (name == LOG or answers or name.endswith(".safetensors")) and name != CHECKPOINT and is_plain_name(name)


def identity_of(folder: Path) -> str | None:
    """Whose folder it is; None if it does not say.

    Raises:
        CheckpointError: a record is damaged.
    """
    result = read_result(folder)
    if result is not None:
        return result.identity
    path = folder / STAGE
    if not path.exists():
        return None
    try:
        return str(read_json(path)["identity"])
    except (CheckpointError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}). {_remedy(folder)}") from error


def check_whole(folder: Path, result: Result) -> None:
    """Check the files of a finished stage: all are there with their size, and tensors are bit by bit as written.

    Raises:
        CheckpointError: one is missing or is another; the message says which, and what to do.
    """
    for name, written in result.files.items():
        path = folder / name
        try:
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode):
                raise CheckpointError(
                    f"{path} is a link or no file, and what it leads to may change. {_remedy(folder)}"
                )
            same = status.st_size == written["bytes"]
            if same and path.suffix == ".safetensors":
                same = describe_file(path) == written
        except FileNotFoundError:
            raise CheckpointError(f"{path} is missing. {_remedy(folder)}") from None
        except (OSError, KeyError, TypeError) as error:
            raise CheckpointError(f"{path} cannot be checked ({error!r}). {_remedy(folder)}") from error
        if not same:
            raise CheckpointError(f"{path} is not as it was written. {_remedy(folder)}")


def _remedy(folder: Path) -> str:
    return (
        f"Delete the folder {folder}, or move it elsewhere, and run again with --resume: this stage is made again, "
        "and the others stay"
    )


def begin_stage(folder: Path, identity: str, made_from: Mapping[str, Any]) -> None:
    """Say in a stage's folder whose it is.

    Raises:
        CheckpointError: the folder is that of another stage, or cannot be written.
    """
    known = identity_of(folder)
    if known not in (None, identity):
        raise CheckpointError(
            f"{folder} holds a stage of another configuration or other data. Run the experiment with --resume: it sets "
            "the folder aside"
        )
    if not (folder / STAGE).exists():
        write_json(folder / STAGE, {"version": 1, "identity": identity, "made_from": made_from})


def finish_stage(folder: Path, identity: str, scores: Sequence[Score], drawn: Mapping[str, Any]) -> None:
    """Write the result of a stage, when all its other files are there; remove its checkpoint.

    Args:
        folder: of the stage.
        identity: of the stage.
        scores: of its tasks.
        drawn: what else the record says about a few-shot draw; empty without one.

    Raises:
        CheckpointError: the record cannot be written.
    """
    names = sorted(path.name for path in folder.iterdir() if _is_of_stage(path.name))
    files = {name: describe_file(folder / name) for name in names}
    record = {
        "version": RECORD_VERSION,
        "identity": identity,
        "scores": [score.to_json() for score in scores],
        "files": files,
        **drawn,
    }
    try:
        if LOG in files:  # all others were when they were written
            sync(folder / LOG)
        sync(folder)
    except OSError as error:
        raise cannot_write(folder, error) from error
    write_json(folder / RESULT, record)
    (folder / CHECKPOINT).unlink(missing_ok=True)


def find_set_aside(run: Path, key: str, identity: str) -> Path | None:
    """The folder of a stage among those that a run has set aside.

    Args:
        run: the run's folder.
        key: of the stage, such as "seed-1/source".
        identity: of the stage.
    """
    seed, _, stage = key.partition("/")
    found = sorted((run / SET_ASIDE / seed).glob(f"{stage}-{identity[:_SHOWN]}*"))
    return next((folder for folder in found if identity_of(folder) == identity), None)


def set_aside(run: Path, key: str, identity: str) -> Path:
    """Move the folder of a stage out of the way; returns where it is then.

    Raises:
        CheckpointError: it cannot be moved.
    """
    base = run / SET_ASIDE / f"{key}-{identity[:_SHOWN]}"
    place, number = base, 1
    while place.exists():
        number += 1
        place = base.with_name(f"{base.name}-{number}")
    move_folder(run / key, place)
    return place


def copy_stage(source: Path, result: Result, target: Path) -> None:
    """Copy what a finished stage holds into a folder that was begun.

    The result comes last, so that a copy that was interrupted is none.

    Raises:
        CheckpointError: a file cannot be read or written.
    """
    for name in (*result.files, RESULT):
        write_atomically(target / name, _copier(source / name))
    (target / CHECKPOINT).unlink(missing_ok=True)


def _copier(source: Path) -> Callable[[Path], None]:
    def copy(temporary: Path) -> None:
        shutil.copyfile(source, temporary)

    return copy
