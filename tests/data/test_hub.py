"""Rows of datasets in the layouts of the hub, and the check of what the hub holds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("datasets")

from data.hub_copies import folder_of, serve_hub, write_branch, write_carded, write_hub, write_lines
from multiprompt.data import load_rows, load_task_data
from multiprompt.data.hub_check import check_on_hub
from multiprompt.errors import DataError
from multiprompt.tasks import PARQUET_BRANCH, TASKS, HubDataset, Task
from tasks.test_task_formats import ROWS

BRANCH_TASKS = [task.name for task in TASKS.values() if task.hub and task.hub.revision == PARQUET_BRANCH]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))


def marked(name: str, text: str) -> dict[str, Any]:
    """The task's row with this text for its answer."""
    row, _, _ = ROWS[name]
    if name == "webnlg":
        return {**row, "lex": {"comment": ["good"], "lid": ["Id1"], "text": [text]}}
    return {**row, "human_reference": text}


def texts(task: Task, split: str) -> list[str]:
    return [task.target(row.values) for row in load_rows(task, split)]


def copy_of(name: str, folder: Path, **changes: Any) -> Task:
    """The task with a local folder in place of its dataset's path."""
    task = TASKS[name]
    assert task.hub is not None
    return replace(task, official_rows={}, hub=replace(task.hub, path=str(folder), **changes))


@pytest.mark.parametrize("validation", ["validation", "dev"])
@pytest.mark.parametrize("name", BRANCH_TASKS)
def test_the_parquet_branch(name: str, validation: str, tmp_path: Path) -> None:
    """One configuration alone, splits apart, files in their order, whatever the script called the validation split."""
    task = copy_of(name, tmp_path / "branch")
    assert task.hub is not None
    sizes = {"train": 23, validation: 3, "test": 4}
    (config,) = task.hub.configs
    configs = [config or "default"]
    if config:  # beside it stand other releases of the same dataset, one without splits
        configs = ["release_v2", config, config + "_train", "release_v1"]
    splits = {
        each: {
            split: [marked(name, f"{each} {split} {n}.") for n in range(size)]
            for split, size in ({"full": 5} if each == "release_v1" else sizes).items()
        }
        for each in configs
    }
    write_branch(tmp_path / "branch", splits)
    assert (tmp_path / "branch" / (config or "default") / "train" / "0011.parquet").exists()
    for split, folder in {"train": "train", "validation": validation, "test": "test"}.items():
        assert texts(task, split) == [f"{config or 'default'} {folder} {n}." for n in range(sizes[folder])]
    where = load_rows(task, "validation")[2].where
    assert where == f"{task.hub.address(config)}, split validation, row 3"


def test_the_branch_tasks_make_examples(tmp_path: Path) -> None:
    """From files to train, dev and test, with the rows of WebNLG's test split that are left out."""
    rows = [marked("webnlg", f"text {n}.") for n in range(3)]
    copies = [{**row, "test_category": "testdata_unseen_with_lex"} for row in rows]
    without = [
        {**row, "test_category": "testdata_no_lex", "lex": {"comment": [], "lid": [], "text": []}} for row in rows
    ]
    for row in rows:
        row["test_category"] = ""
    splits = {"train": rows, "dev": rows[:2], "test": [*without, *rows, *copies]}
    write_branch(tmp_path, {"release_v2": {"train": copies}, "webnlg_challenge_2017": splits}, rows_of_a_file=9)
    data = load_task_data(copy_of("webnlg", tmp_path))
    # equal triples are one test example with all their texts
    assert [len(data.train), len(data.dev), len(data.test)] == [3, 1, 1]
    assert data.test[0].references == ("text 0.", "text 1.", "text 2.")


def test_splits_with_long_names_stay_apart_on_the_branch(tmp_path: Path) -> None:
    """datasets alone would join both of them as "validation"."""
    row, _, _ = ROWS["mnli"]
    sides = {f"validation_{side}": [{**row, "premise": side}] for side in ("matched", "mismatched")}
    write_branch(tmp_path, {"mnli": {"train": [row] * 3, **sides}})
    task = copy_of("mnli", tmp_path, config="mnli", revision=PARQUET_BRANCH)
    for side in ("matched", "mismatched"):
        assert [row.values["premise"] for row in load_rows(task, f"validation_{side}")] == [side]
    with pytest.raises(DataError, match="there is mnli/train, mnli/validation_matched, mnli/validation_mismatched"):
        load_rows(task, "validation")


def test_a_configuration_that_the_branch_lacks(tmp_path: Path) -> None:
    write_branch(tmp_path, {"release_v2": {"train": [marked("webnlg", "a.")]}})
    with pytest.raises(DataError, match=r"webnlg_challenge_2017@refs/convert/parquet .*; there is release_v2/train\."):
        load_rows(copy_of("webnlg", tmp_path), "train")


def test_a_card_with_configurations(tmp_path: Path) -> None:
    row, _, _ = ROWS["rte"]
    splits = {
        config: {split: [{**row, "sentence1": f"{config} {split}"}] * 3 for split in ("train", "validation", "test")}
        for config in ("cola", "rte")
    }
    write_carded(tmp_path, splits)
    task = copy_of("rte", tmp_path)
    for split in ("train", "validation"):
        assert [row.values["sentence1"] for row in load_rows(task, split)] == [f"rte {split}"] * 3


def test_compressed_lines_without_a_card(tmp_path: Path) -> None:
    row, _, _ = ROWS["hotpotqa"]
    splits = {split: [{**row, "question": f"{split} {n}"} for n in range(3)] for split in ("train", "validation")}
    write_lines(tmp_path / "lines", splits)
    task = copy_of("hotpotqa", tmp_path / "lines")
    for split in splits:
        assert [row.values["question"] for row in load_rows(task, split)] == [f"{split} {n}" for n in range(3)]


# --- the check ------------------------------------------------------------------------------------------


def local(tasks: dict[str, Task], root: Path) -> dict[str, Task]:
    """Tasks whose datasets are the folders of a tree that stands for the hub."""
    return {
        name: replace(task, hub=replace(task.hub, path=str(folder_of(root, task.hub)))) for name, task in tasks.items()
    }


def test_a_check_of_what_is_right(tmp_path: Path) -> None:
    tasks = local(write_hub(tmp_path), tmp_path)
    for name in ("webnlg", "e2e", "rte", "squad", "arc", "record", "multirc"):
        check = check_on_hub(tasks[name])
        assert check.troubles == []
        parts = len(tasks[name].hub.configs)  # type: ignore[union-attr]
        assert check.rows == {split: (5 if split == "train" else 3) * parts for split in tasks[name].split_rule.splits}
        assert set(check.needed) <= set(check.columns)
    assert "idx" in check.needed  # the group of MultiRC
    check = check_on_hub(tasks["hotpotqa"])  # lines have no end that holds their number
    assert (check.rows, check.troubles) == ({"train": None, "validation": None}, [])


def test_a_check_of_what_is_wrong(tmp_path: Path) -> None:
    row, _, _ = ROWS["rte"]
    renamed = {"text1" if column == "sentence1" else column: value for column, value in row.items()}
    write_carded(tmp_path / "a", {"rte": {"train": [renamed] * 3, "validation": [renamed] * 2}})
    task = replace(copy_of("rte", tmp_path / "a"), official_rows={"train": 4, "validation": 2})
    check = check_on_hub(task)
    assert check.rows == {"train": 3, "validation": 2}
    said = "\n".join(check.troubles)
    for split in ("train", "validation"):
        assert f"split '{split}', row 1: column 'sentence1' is missing; task 'rte' needs" in said
    assert "'train' holds 3 rows, officially 4" in said
    assert len(check.troubles) == 3
    assert check.columns == ("text1", "sentence2", "label", "idx")

    write_carded(tmp_path / "b", {"rte": {"train": [row, {**row, "label": -1}]}})
    said = "\n".join(check_on_hub(replace(task, hub=replace(task.hub, path=str(tmp_path / "b")))).troubles)
    assert "split 'train', row 2: column 'label' is -1; expected 0 or 1" in said
    assert "split 'validation': ValueError: Bad split: validation. Available splits: ['train']" in said

    missing = replace(task, hub=HubDataset(str(tmp_path / "b"), "mrpc"))
    (said,) = check_on_hub(missing).troubles
    assert "BuilderConfig 'mrpc' not found. Available: ['rte']" in said

    write_branch(tmp_path / "c", {"rte": {"train": [row]}})
    branch = replace(task, official_rows={}, hub=HubDataset(str(tmp_path / "c"), "rte", PARQUET_BRANCH))
    check = check_on_hub(branch)
    assert check.rows == {"train": 1}
    (said,) = check.troubles
    assert said.startswith(f"{tmp_path}/c/rte@{PARQUET_BRANCH}, split 'validation': ")
    assert said.endswith("; there is rte/train")


def test_a_check_without_a_network_is_over_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multiprompt.data.hub_check.hub_trouble", lambda path: f"no way to {path}")
    check = check_on_hub(TASKS["rte"])
    assert (check.troubles, check.rows) == (["the hub is out of reach: no way to nyu-mll/glue"], {})


def test_a_check_needs_a_dataset_and_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="'mini-rte' is not on the hub"):
        check_on_hub(TASKS["mini-rte"])
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r'pip install "multiprompt\[hub\]"'):
        check_on_hub(TASKS["rte"])


# --- over HTTP ------------------------------------------------------------------------------------------

PROGRAM = """
import json
from multiprompt.data import load_rows
from multiprompt.data.hub_check import check_on_hub
from multiprompt.network import hub_trouble
from multiprompt.tasks import TASKS

found = {}
for name in ("webnlg", "e2e", "rte", "hotpotqa", "arc"):
    checked = None if hub_trouble() else check_on_hub(TASKS[name]).rows
    found[name] = [{split: len(load_rows(TASKS[name], split)) for split in TASKS[name].split_rule.splits}, checked]
print(json.dumps(found))
"""


@pytest.mark.slow
def test_the_hub_over_http_and_then_without_it(tmp_path: Path) -> None:
    """The requests that datasets sends, and its caches once the hub is gone; in processes that know no other hub."""
    write_hub(tmp_path / "hub")

    def run(address: str) -> Any:
        environment = os.environ | {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home"), "NO_PROXY": "127.0.0.1"}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env=environment,
            capture_output=True,
            encoding="utf-8",
            check=False,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    with serve_hub(tmp_path / "hub") as address:
        found = run(address)
    sizes = {"train": 5, "validation": 3, "test": 3}
    two = {split: sizes[split] for split in ("train", "validation")}
    twice = {split: 2 * size for split, size in sizes.items()}
    expected = {"webnlg": sizes, "e2e": sizes, "rte": two, "hotpotqa": two, "arc": twice}
    assert {name: rows for name, (rows, _) in found.items()} == expected
    unknown = dict.fromkeys(two)
    assert {name: rows for name, (_, rows) in found.items()} == expected | {"hotpotqa": unknown}

    shutil.rmtree(tmp_path / "hub")
    found = run(address)
    assert found == {name: [rows, None] for name, rows in expected.items()}
