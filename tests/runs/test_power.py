"""A power cut at any moment: what is on the disk is whole, and the run ends as it would have ended.

A disk keeps what was synced: the content of a file as of its last sync, the names in a folder as of the last sync of
the folder. Of what came later it may have any part. The tests note every sync of a small run, make folders as a cut
before it may leave them, and look at those.
"""

from __future__ import annotations

import json
import os
import random
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from conftest import save_tiny
from multiprompt.evaluation.results import read_results
from multiprompt.options import Experiment
from multiprompt.runs import run_experiment
from multiprompt.runs.stage_folder import check_whole, read_result
from multiprompt.training import checkpoint_step
from recipes.small import small_experiment, stored_tensors

PARTS = 2
"""Folders with a random part of what was not synced, for every sync."""


class Disk:
    """What a power cut would leave of a folder and all below it.

    Args:
        root: of an empty folder, which is on the disk itself.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.contents: dict[int, bytes] = {}
        self.names: dict[int, dict[str, int]] = {root.stat().st_ino: {}}
        self.open: dict[int, int] = {}  # handles keep the number of a file that was removed from being used again

    def sync(self, handle: int) -> None:
        status = os.fstat(handle)
        if status.st_ino not in self.open:
            self.open[status.st_ino] = os.dup(handle)
        if stat.S_ISDIR(status.st_mode):
            self.names[status.st_ino] = _names(Path(f"/proc/self/fd/{handle}"))
        else:
            self.contents[status.st_ino] = Path(f"/proc/self/fd/{handle}").read_bytes()

    def close(self) -> None:
        for handle in self.open.values():
            os.close(handle)

    def write(self, target: Path, names_of: str, contents_of: str, seed: int) -> None:
        """Make a folder as it may be found.

        Args:
            target: to make.
            names_of: "synced": names that were not synced are lost; "now": none is; "either": in each folder.
            contents_of: the same for what is in the files.
            seed: of the choices.
        """
        known = {path.lstat().st_ino: path for path in self.root.rglob("*")}
        choose = random.Random(seed).choice

        def is_now(of: str) -> bool:
            return of == "now" or (of == "either" and choose([True, False]))

        def fill(number: int, place: Path, folder: Path | None) -> None:
            place.mkdir()
            now = folder is not None and is_now(names_of)
            for name, inner in (_names(folder) if now else self.names.get(number, {})).items():
                path = known.get(inner)
                if path is not None and path.is_dir():
                    fill(inner, place / name, path)
                elif path is not None and is_now(contents_of):
                    (place / name).write_bytes(path.read_bytes())
                else:
                    (place / name).write_bytes(self.contents.get(inner, b""))

        fill(self.root.stat().st_ino, target, self.root)


def _names(folder: Path) -> dict[str, int]:
    return {entry.name: entry.inode() for entry in os.scandir(folder)}


@contextmanager
def every_cut(root: Path, target: Path) -> Iterator[list[Path]]:
    """The folders that power cuts would leave of ``root``, made below ``target`` while the block runs.

    The last one is that of a cut right after the block, which leaves what was synced and no more.
    """
    root.mkdir()
    target.mkdir()
    disk, found = Disk(root), []
    kinds = [("synced", "synced"), ("now", "synced"), ("synced", "now"), *[("either", "either")] * PARTS]

    def cut_before(handle: int) -> None:
        for kind in kinds:
            found.append(target / str(len(found)))
            disk.write(found[-1], *kind, seed=len(found))
        disk.sync(handle)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", cut_before)
        yield found
    found.append(target / str(len(found)))
    disk.write(found[-1], *kinds[0], seed=0)
    disk.close()


@pytest.fixture(scope="module")
def experiment(tmp_path_factory) -> Experiment:
    backbone = save_tiny(tmp_path_factory.mktemp("backbone"))
    targets = {"tasks": ["mini-rte"], "methods": {"prompt_tuning": {}, "bitfit": {}}}
    return small_experiment(backbone, source=None, targets=targets, together=False)


def assert_whole(run: Path, whole: Path) -> int:
    """Nothing in a folder is damaged; returns how many stages are finished.

    Args:
        run: the folder.
        whole: of the run without a cut.
    """
    finished = 0
    if (run / "config.yaml").exists():
        assert (run / "config.yaml").read_bytes() == (whole / "config.yaml").read_bytes()
    if (run / "results.json").exists():
        read_results(run / "results.json")
    for stage in run.glob("seed-*/*"):
        result = read_result(stage)
        if result is not None:
            check_whole(stage, result)
            assert "log.jsonl" in result.files
            finished += 1
        elif step := checkpoint_step(stage / "checkpoint.safetensors"):
            lines = (stage / "log.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
            assert {record["step"] for record in map(json.loads, lines)} >= set(range(1, step + 1))
    return finished


def test_a_power_cut_leaves_whole_stages_and_a_run_that_goes_on(experiment, tmp_path):
    disk = tmp_path / "disk"
    with every_cut(disk, tmp_path / "cuts") as cuts:
        run_experiment(experiment, disk / "run")
    expected = stored_tensors(disk / "run")
    finished = [assert_whole(cut / "run", disk / "run") for cut in cuts]
    assert set(finished) == {0, 1, 2}
    assert finished[-1] == 2, "what a run says is finished stays"
    # A cut in each stage, before its first checkpoint and after it, right before its result and right after that.
    moments = [finished.index(1) - 1, finished.index(1), finished.index(2) - 1, len(cuts) // 4, 3 * len(cuts) // 4]
    for cut in (cuts[moment] / "run" for moment in moments):
        run_experiment(experiment, cut, resume=True)
        again = stored_tensors(cut)
        assert again.keys() == expected.keys()
        assert all(torch.equal(again[name], tensor) for name, tensor in expected.items())


def test_stages_that_are_moved_or_copied_are_in_one_place_or_in_the_other(experiment, tmp_path):
    disk = tmp_path / "disk"
    run_experiment(experiment, tmp_path / "first")
    with every_cut(disk, tmp_path / "cuts") as cuts:
        run_experiment(experiment, disk / "run", reuse=[tmp_path / "first"])
    finished = [assert_whole(cut / "run", disk / "run") for cut in cuts]
    assert set(finished) == {0, 1, 2}
    assert finished[-1] == 2
