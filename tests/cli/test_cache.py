"""The verb ``cache``: what it lists, and what it removes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import multiprompt
from multiprompt.cli.main import app
from multiprompt.token_files import list_token_files, token_folder, write_token_file

DAY = 86_400


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A cache with three entries: of today, of ten days ago, of forty days ago."""
    monkeypatch.setenv("MULTIPROMPT_CACHE", str(tmp_path))
    for task, split, examples, days in (("mnli", "train", 392_702, 10), ("mnli", "dev", 9832, 0), ("rte", "x", 5, 40)):
        path = token_folder() / f"{task}{split}.tokens"
        facts = {"task": task, "split": split, "examples": examples, "truncated_sources": 0, "truncated_targets": 0}
        write_token_file(path, {"values": np.zeros(1_000_000, dtype=np.uint16)}, facts)
        used = time.time() - days * DAY - 60
        os.utime(path, (used, used))
    return token_folder()


def call(*arguments, **options):
    return CliRunner().invoke(app, ["cache", *arguments], **options)


def left(folder) -> set[str]:
    return {file.path.stem for file in list_token_files(folder)}


@pytest.mark.parametrize("arguments", [[], ["show"]])
def test_lists_what_was_used_last_first(folder, arguments):
    result = call(*arguments)
    assert result.exit_code == 0, result.stderr
    head, *rows, total = result.stdout.splitlines()
    assert head.split() == ["task", "split", "examples", "size", "made", "last", "used"]
    assert [row.split()[:5] for row in rows] == [
        ["mnli", "dev", "9,832", "2.0", "MB"],
        ["mnli", "train", "392,702", "2.0", "MB"],
        ["rte", "x", "5", "2.0", "MB"],
    ]
    for row, age in zip(rows, ("min ago", "10 days ago", "40 days ago"), strict=True):
        assert row.strip().endswith(age)
    assert total == f"3 entries, 6.0 MB in {folder}"


@pytest.mark.parametrize(
    ("arguments", "remaining"),
    [
        ([], set()),
        (["--task", "mnli"], {"rtex"}),
        (["--task", "mnli", "--task", "rte"], set()),
        (["--older-than", "30"], {"mnlitrain", "mnlidev"}),
        (["--older-than", "5"], {"mnlidev"}),
        (["--older-than", "5", "--task", "mnli"], {"mnlidev", "rtex"}),
        (["--older-than", "50"], {"mnlitrain", "mnlidev", "rtex"}),
    ],
)
def test_clear_removes_what_is_asked_for_and_nothing_else(folder, arguments, remaining):
    result = call("clear", "--yes", *arguments)
    assert result.exit_code == 0, result.stderr
    assert left(folder) == remaining
    removed = 3 - len(remaining)
    assert (f"removed {removed} " if removed else "there is nothing to remove") in result.stdout


@pytest.mark.parametrize(("answer", "code", "count"), [("y\n", 0, 0), ("n\n", 1, 3), ("", 1, 3)])
def test_clear_asks_first(folder, answer, code, count):
    result = call("clear", input=answer)
    assert result.exit_code == code
    assert f"Remove 3 entries, 6.0 MB in {folder}?" in result.stdout
    assert len(left(folder)) == count


def test_an_unknown_task_is_told(folder):
    result = call("clear", "--yes", "--task", "mnil")
    assert result.exit_code == 1
    assert result.stderr == "error: unknown cached task 'mnil'; did you mean 'mnli'?\n"
    assert len(left(folder)) == 3


def test_the_file_of_a_task_stands_for_its_name(folder, tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\na,0\n", encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(
        "name: mine\nsource: '{text}'\nlabel: {column: label, words: [a, b]}\nsplit: train-only\n"
        "files: {train: rows.csv}\n",
        encoding="utf-8",
    )
    result = call("clear", "--yes", "--task", str(tmp_path / "mine.yaml"))
    assert (result.exit_code, "unknown cached task 'mine'" in result.stderr) == (1, True)


@pytest.mark.parametrize("arguments", [["claer"], ["clear", "--older-than", "-1"], ["clear", "--older-than", "soon"]])
def test_usage_errors_have_code_2(arguments):
    assert call(*arguments).exit_code == 2


def test_damaged_entries_are_shown_and_removed(folder):
    (folder / "rtex.tokens").write_bytes(b"mptokens")
    (folder / "empty.tokens").write_bytes(b"")
    assert call().stdout.count("(unreadable)") == 2
    assert call("clear", "--yes").exit_code == 0
    assert list(folder.iterdir()) == []


def test_leftovers_of_killed_processes_are_removed_and_files_in_the_making_are_not(folder):
    old, new = folder / ".a.tokens.x1", folder / ".b.tokens.x2"
    old.write_bytes(b"half")
    new.write_bytes(b"half")
    os.utime(old, (0, 0))
    call("clear", "--yes")
    assert [path.name for path in folder.iterdir()] == [new.name]


def test_an_empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MULTIPROMPT_CACHE", str(tmp_path / "nothing"))
    assert call().stdout.startswith("0 entries, 0.0 MB in ")
    assert call("clear").stdout.startswith("there is nothing to remove")
    assert call("clear", "--task", "mnli").exit_code == 0
    assert not (tmp_path / "nothing").exists()


def test_torch_is_not_loaded():
    code = (
        "import sys; from multiprompt.cli.main import app; app(['cache'], standalone_mode=False); "
        "sys.exit('torch' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(multiprompt.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    assert "3 entries" in done.stdout


@pytest.mark.parametrize("verb", ["show", "clear"])
def test_every_verb_has_a_help_with_an_example(verb):
    result = call(verb, "--help")
    assert result.exit_code == 0
    assert f"  Example:\n      multiprompt cache {verb}" in result.stdout
