"""The verb that checks tasks on the hub, on folders that stand for it."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

pytest.importorskip("datasets")

from data.hub_copies import folder_of, write_carded, write_hub
from multiprompt.cli.main import app
from multiprompt.tasks import TASKS
from tasks.test_task_formats import ROWS


def hub(*tasks: str) -> Any:
    return CliRunner().invoke(app, ["hub", *tasks])


@pytest.fixture
def hub_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree with the datasets of all public tasks, which are registered with its folders for their addresses."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "hub"
    tasks = write_hub(root)
    made = {
        name: replace(task, hub=replace(task.hub, path=str(folder_of(root, task.hub)))) for name, task in tasks.items()
    }
    monkeypatch.setattr(TASKS, "_values", {**TASKS._values, **made})
    return root


def test_all_public_tasks(hub_folder: Path) -> None:
    done = hub()
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    verdicts = [line.split() for line in lines if line.endswith(" s")]
    assert [(name, verdict) for name, verdict, *_ in verdicts] == [
        (task.name, "ok") for task in TASKS.values() if task.hub
    ]
    assert lines[-1].startswith("30 tasks are on the hub as expected")
    facts = lines[lines.index("    rows: train 5, validation 3, test 3 (no official number)") :]
    assert facts[1] == "    columns: modified_triple_sets, lex; not read: category"
    assert "    columns: question, answer, paragraph, label, idx" in lines


def test_a_failure_does_not_stop_the_check(hub_folder: Path) -> None:
    shutil.rmtree(next(hub_folder.glob("webnlg-challenge/web_nlg/*/*/validation")))
    row, _, _ = ROWS["paws"]
    folder = hub_folder / "google-research-datasets" / "paws" / "main"
    shutil.rmtree(folder)
    splits = dict.fromkeys(("train", "validation", "test"), [row] * 3)
    write_carded(folder, {"labeled_final": splits}, described=False)
    done = hub("webnlg", "paws", "rte")
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines if line.endswith(" s")] == [
        ["webnlg", "FAILED"],
        ["paws", "FAILED"],
        ["rte", "ok"],
    ]
    assert max(map(len, lines)) <= 80
    assert "'train' holds 3 rows, officially 5" in done.stdout
    assert "; there is webnlg_challenge_2017/test, webnlg_challenge_2017/train" in " ".join(done.stdout.split())
    assert lines[-1].startswith("2 of 3 tasks failed: webnlg, paws (")


def test_a_task_of_ones_own(hub_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\nsource: 'text: {sentence}'\nlabel: {column: label, words: ['0', '1']}\nsplit: small\n"
        f"hub: {{path: '{hub_folder}/nyu-mll/glue/{TASKS['sst2'].hub.revision}', config: sst2}}\n",
        encoding="utf-8",
    )
    done = hub(str(path))
    assert done.exit_code == 0, done.output
    assert "rows: train 5 (no official number), validation 3 (no official number)" in done.stdout
    assert "1 task is on the hub as expected" in done.stdout


def test_what_the_check_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def trouble(name: str) -> str:
        asked.append(name)
        return "no connection"

    monkeypatch.setattr("multiprompt.network.hub_trouble", trouble)
    done = hub()
    assert (done.exit_code, len(asked)) == (1, 1)
    assert "the Hugging Face hub is out of reach: no connection. This check needs a network" in done.stderr
    assert "is not on the hub" in hub("mini-rte").stderr
    assert "did you mean 'rte'" in hub("rtee").stderr
    monkeypatch.setattr("multiprompt.network.hub_trouble", lambda name: None)
    monkeypatch.setitem(sys.modules, "datasets", None)
    done = hub("rte")
    assert done.exit_code == 1
    assert 'pip install "multiprompt[hub]"' in done.stderr
