"""Before a run begins: stages that are at hand are moved into place, those of other configurations are set aside."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from multiprompt.errors import CheckpointError
from multiprompt.evaluation.results import Score
from multiprompt.files import move_folder
from multiprompt.runs.graph import Node
from multiprompt.runs.run_folder import only_process
from multiprompt.runs.stage_folder import (
    CHECKPOINT,
    SET_ASIDE,
    Result,
    begin_stage,
    check_whole,
    copy_stage,
    find_set_aside,
    identity_of,
    read_result,
    set_aside,
)
from multiprompt.training import Progress


@dataclass(frozen=True)
class Found:
    """A stage that a run needs and that lies elsewhere.

    Attributes:
        folder: where.
        run: the run folder that it is in.
        result: of the stage; None for one that is half trained, which only the run itself can have set aside.
    """

    folder: Path
    run: Path
    result: Result | None


def find_stages(nodes: Mapping[str, Node], run: Path, reuse: Sequence[Path], progress: Progress) -> dict[str, Found]:
    """Look for the stages of a run that are not in their place. Finished ones are checked; nothing is changed.

    Args:
        nodes: by key.
        run: folder of the run.
        reuse: folders of other runs.
        progress: told about stages of other runs that cannot be used.

    Returns:
        What was set aside or is in another run, by key.

    Raises:
        CheckpointError: a finished stage of this run is not whole.
    """
    found = {}
    for key, node in nodes.items():
        place = run / key
        here = _stage_of(node, run)
        result = None if here is None else read_result(here)
        if here is not None and result is not None:
            check_whole(here, result)
        else:
            elsewhere = _find_finished(node, reuse, progress)
            if elsewhere is not None:
                found[key] = elsewhere
                continue
        if here is not None and here != place:
            found[key] = Found(here, run, result)
    return found


def _stage_of(node: Node, run: Path) -> Path | None:
    """The folder of a node's own stage in a run: in its place, or set aside."""
    place = run / node.key
    return place if identity_of(place) == node.identity else find_set_aside(run, node.key, node.identity)


def _find_finished(node: Node, reuse: Sequence[Path], progress: Progress) -> Found | None:
    """A finished stage in other runs, or among what they have set aside."""
    for run in reuse:
        try:
            folder = _stage_of(node, run)
            result = None if folder is None else read_result(folder)
            if folder is not None and result is not None and result.files:
                check_whole(folder, result)
                return Found(folder, run, result)
        except CheckpointError as error:
            progress.message(f"not reused: {error}")
    return None


def strangers(nodes: Mapping[str, Node], found: Mapping[str, Found], run: Path) -> dict[str, str | None]:
    """The stages in a run's folder that are not its nodes, by key: whose they are, or None where they do not say.

    Args:
        nodes: by key.
        found: stages that will be moved into place.
        run: folder of the run.
    """
    others: dict[str, str | None] = {}
    for place in sorted(path for path in run.glob("seed-*/*") if path.is_dir()):
        key = f"{place.parent.name}/{place.name}"
        try:
            identity = identity_of(place)
        except CheckpointError:  # not one of the nodes: those have been looked at
            continue
        if identity is None and key not in found:
            continue
        if identity is None or key not in nodes or nodes[key].identity != identity:
            others[key] = identity
    return others


def holds_something(place: Path) -> bool:
    """Whether a stage's folder has more in it than the files of its lock."""
    return any(not path.name.startswith(".") for path in place.iterdir())


def put_aside(nodes: Mapping[str, Node], found: Mapping[str, Found], run: Path, progress: Progress) -> None:
    """Move every stage that is not one of the nodes out of its place.

    Args:
        nodes: by key.
        found: stages that will be moved into place; a folder there that does not say whose it is, is set aside too.
        run: folder of the run.
        progress: told how many were moved.

    Raises:
        CheckpointError: another process works on one of them, or it cannot be moved.
    """
    moved = 0
    for key, identity in strangers(nodes, found, run).items():
        place = run / key
        with only_process(place):
            pass  # a process that outlived its run may still be at it
        if holds_something(place):
            set_aside(run, key, identity or "unknown")
            moved += 1
        else:  # it was ended before anything was written
            shutil.rmtree(place)
    if moved:
        progress.message(f"{_stages(moved)} of another configuration or other data: moved to {run / SET_ASIDE}")


def bring_in(nodes: Mapping[str, Node], found: Mapping[str, Found], run: Path, progress: Progress) -> None:
    """Bring stages to their place: move those that the run has set aside, copy those of other runs.

    Args:
        nodes: by key.
        found: of some of them.
        run: folder of the run.
        progress: told how many came from where.

    Raises:
        CheckpointError: one cannot be moved or copied; the others stay where they are.
    """
    counts: Counter[Path] = Counter()
    for key, each in found.items():
        counts[each.run] += 1
        if each.run == run:
            move_folder(each.folder, run / key)
        else:
            assert each.result is not None, "only finished stages are taken from other runs"
            begin_stage(run / key, nodes[key].identity, nodes[key].made_from)
            copy_stage(each.folder, each.result, run / key)
    for place, count in counts.items():
        how = "set aside before: moved back" if place == run else f"copied from {place}"
        progress.message(f"{_stages(count)} {how}")


def finished_stages(nodes: Mapping[str, Node], run: Path) -> dict[str, list[Score]]:
    """The scores of the nodes that are done, by key. A checkpoint that one has kept, as after a kill, is removed.

    Raises:
        CheckpointError: a record is damaged.
    """
    done = {}
    for key, node in nodes.items():
        result = read_result(run / key)
        if result is not None and result.identity == node.identity:
            (run / key / CHECKPOINT).unlink(missing_ok=True)
            done[key] = list(result.scores)
    return done


def unfinished_needs(node: Node, run: Path) -> list[str]:
    """Keys of the nodes that a node starts from and that are not finished; the files of those that are get checked.

    Raises:
        CheckpointError: one is damaged.
    """
    unfinished = []
    for key in node.needs:
        result = read_result(run / key)
        if result is None or result.identity != node.made_from["depends_on"][key.partition("/")[2]]:
            unfinished.append(key)
        else:
            check_whole(run / key, result)
    return unfinished


def not_finished(node: Node, needed: str, run: Path) -> CheckpointError:
    """The error of a node that comes too early."""
    return CheckpointError(f"{run / needed} is not finished, and {node.key} starts from it; execute it first")


def _stages(number: int) -> str:
    return "1 stage" if number == 1 else f"{number} stages"
