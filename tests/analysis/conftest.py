"""A finished run of seconds, made once; tests that write get a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from conftest import save_tiny
from multiprompt.runs import run_experiment
from recipes.small import small_experiment


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds: teachers, source prompt, mpt, prompt tuning and fine-tuning on two targets."""
    folder = tmp_path_factory.mktemp("finished")
    run_experiment(small_experiment(save_tiny(folder / "tiny-t5"), seeds=[1, 2]), folder / "run")
    return folder / "run"


@pytest.fixture
def own_run(finished: Path, tmp_path: Path) -> Path:
    """A copy that may be written to."""
    return shutil.copytree(finished, tmp_path / "copy")
