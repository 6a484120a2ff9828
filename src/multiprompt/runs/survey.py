"""What a run would find: stages that are done, at hand elsewhere, begun, changed or new. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from multiprompt.errors import CheckpointError
from multiprompt.files import read_json
from multiprompt.runs.graph import Node
from multiprompt.runs.run_folder import plain_differences
from multiprompt.runs.settle import Found, find_stages, holds_something, strangers
from multiprompt.runs.stage_folder import CHECKPOINT, STAGE, identity_of, read_result
from multiprompt.training import Progress, checkpoint_step

State = Literal["done", "set aside", "reused", "begun", "changed", "new"]
"""Done in its place; finished and set aside before; finished in another run; half trained; its place holds a stage of
another configuration or other data; nowhere."""

FINISHED: tuple[State, ...] = ("done", "set aside", "reused")
"""States of stages that are not trained any more."""


@dataclass(frozen=True)
class Standing:
    """How things are with a node.

    Attributes:
        state: see ``State``.
        steps_done: by its checkpoint; 0 without one.
        reasons: what makes it another stage than the one in its place, if it is "changed".
    """

    state: State
    steps_done: int = 0
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Survey:
    """How things are with a run.

    Attributes:
        standings: of every node, by key.
        to_set_aside: keys of the stages in the folder that would be moved out of their place.
    """

    standings: Mapping[str, Standing]
    to_set_aside: tuple[str, ...]

    def finished(self) -> list[str]:
        """Keys of the nodes that are not trained any more."""
        return [key for key, standing in self.standings.items() if standing.state in FINISHED]


def survey_run(nodes: Mapping[str, Node], run: Path, reuse: Sequence[Path], progress: Progress) -> Survey:
    """Look at the folder of a run, and at other runs, as ``run_experiment`` does before it begins.

    Args:
        nodes: by key.
        run: folder of the run; it need not exist.
        reuse: folders of other runs.
        progress: told about stages of other runs that cannot be used.

    Raises:
        CheckpointError: a finished stage of this run is not whole, or a record is damaged.
    """
    found = find_stages(nodes, run, reuse, progress)
    standings = {key: _standing(node, run / key, found.get(key), run) for key, node in nodes.items()}
    others = tuple(key for key in strangers(nodes, found, run) if holds_something(run / key))
    return Survey(standings, others)


def _standing(node: Node, place: Path, elsewhere: Found | None, run: Path) -> Standing:
    if elsewhere is not None and elsewhere.result is not None:
        return Standing("set aside" if elsewhere.run == run else "reused")
    if elsewhere is not None:
        return Standing("begun", checkpoint_step(elsewhere.folder / CHECKPOINT))
    known = identity_of(place)
    if known is None:
        return Standing("new")
    if known != node.identity:
        return Standing("changed", reasons=tuple(_reasons(node, place)))
    if read_result(place) is not None:
        return Standing("done")
    return Standing("begun", checkpoint_step(place / CHECKPOINT))


def _reasons(node: Node, place: Path) -> Iterator[str]:
    """What a node depends on, where it differs from what the stage in its place depended on."""
    try:
        before = read_json(place / STAGE)["made_from"]
        yield from _what_differs(before, node)
    except (CheckpointError, KeyError, TypeError, ValueError, AttributeError):
        yield "it does not say what it was made from"


def _what_differs(before: Mapping[str, Any], node: Node) -> Iterator[str]:
    after = node.made_from
    if before["version"] != after["version"]:
        yield "another release made it"
        return
    if before["backbone"] != after["backbone"]:
        yield "another backbone or tokenizer"
    if before["compat"] != after["compat"]:
        yield "other quirks of published code (data.compat)"
    rows = {name: rest for name, *rest in before["data"]}
    for name, *rest in after["data"]:
        if name not in rows:
            yield f"the task {name} is added"
        elif rows[name] != rest:
            yield f"other rows, texts or limits of {name}"
    for name in rows.keys() - {name for name, *_ in after["data"]}:
        yield f"the task {name} is left out"
    old, new = dict(before["depends_on"]), dict(after["depends_on"])
    for name in node.stage.needs:
        if old.pop(name, None) != new.pop(name):
            yield f"{name} is another"
    yield from plain_differences(old, new)
