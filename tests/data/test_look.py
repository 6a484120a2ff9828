"""Data that deserves a note before training: each case with its count, a row, and one that just is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conftest import build_tiny_tokenizer
from multiprompt.backbone import TextCoder
from multiprompt.config import load_task_file
from multiprompt.data import load_task_data, look_at_texts, look_at_tokens, tokenise
from multiprompt.tasks import TASKS, make_task

CODER = TextCoder(build_tiny_tokenizer())


def rows(start: int, count: int, **values) -> list[dict]:
    return [{"text": f"number {i}", "label": i % 2} | values for i in range(start, start + count)]


def notes_on(folder: Path, train=None, dev=None, test=None, **definition) -> list[str]:
    """What is said about a task of so many ordinary rows, with these instead."""
    parts = {"train": train or rows(0, 100), "validation": dev or rows(100, 40), "test": test or rows(140, 40)}
    for name, part in parts.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")
    values = {"name": "own", "source": "{text}", "prefix": "", "split": "official"} | definition
    if not definition.keys() & {"answer", "score"}:
        values["label"] = {"column": "label", "words": ["no", "yes"]}
    values["files"] = {name: f"{name}.jsonl" for name in parts}
    (folder / "own.yaml").write_text(json.dumps(values), encoding="utf-8")
    task = make_task(load_task_file(folder / "own.yaml"))
    data = load_task_data(task)
    limits = task.max_source_length, task.max_target_length
    examples = {"train": data.train, "dev": data.dev, "test": data.test}
    tokens = {name: (part, tokenise(part, CODER, *limits)) for name, part in examples.items()}
    return look_at_texts(data) + look_at_tokens(data, tokens, CODER.unknown_id)


CASES = {
    "in train and test": (
        {"test": [*rows(0, 3), *rows(140, 37)]},
        [
            "3 of 40 (7.5 %) test rows have a source that stands in train too",
            "test.jsonl, line 1",
            "train.jsonl, line 1",
        ],
    ),
    "in dev and test": (
        {"test": rows(100, 40)},
        ["40 of 40 (100 %) test rows", "in dev too", "validation.jsonl, line 1"],
    ),
    "two targets": (
        {"train": [*rows(0, 100), *rows(7, 1, label=0)]},
        ["2 of 101 (2 %) training rows", "train.jsonl, line 8 (“yes”) and", "train.jsonl, line 101 (“no”)"],
    ),
    "every row twice": (
        {"train": rows(0, 50) * 2},
        ["50 of 100 (50 %) train rows repeat an earlier row", "train.jsonl, line 51 that of", "train.jsonl, line 1."],
    ),
    "all sources empty": (
        {"train": rows(0, 30, text=""), "source": "text: {text} answer:"},
        ["all 30 training sources are the same text, “text:  answer:”", "train.jsonl, line 1"],
    ),
    "some texts empty": (
        {"train": [*rows(0, 98), *rows(0, 2, text=" ")]},
        ["2 rows have an empty", "train.jsonl, line 99"],
    ),
    "a column never used": (
        {"train": rows(0, 100, premise="it rains today", id="a 1 b")},
        ["column 'premise'", "“it rains today” in ", "train.jsonl, line 1", "put {premise} into the source"],
    ),
    "one target": ({"train": rows(0, 10, label=1)}, ["all 10 training targets are “yes”", "train.jsonl, line 1"]),
    "references too long": (
        {"generation_length": 3, "test": [*rows(140, 38, label=0), *rows(178, 2, label=1)]},
        ["2 of 40 (5 %) test references are longer than the 3 tokens", "“yes” in ", "test.jsonl, line 39"],
    ),
    "targets cut away": (
        {"train": rows(0, 100, a=""), "dev": rows(100, 40, a="x y"), "test": rows(140, 40, a="x y"), "answer": "a"},
        ["100 of 100 (100 %) training targets hold no token", "train.jsonl, line 1"],
    ),
    "unknown pieces": (
        {"train": [*rows(0, 90), *rows(90, 10, text="äöü ß")]},
        ["tokens of the sources are unknown pieces", "“äöü ß”", "train.jsonl, line 91"],
    ),
    "too short for BLEU": (
        {
            **{part: rows(start, 40, a=f"one {part}") for part, start in (("train", 0), ("dev", 100), ("test", 140))},
            "answer": "a",
            "metrics": ["bleu"],
        },
        ["40 of 40 (100 %) test rows have references of fewer than 4 words", "“one test”", "test.jsonl, line 1"],
    ),
}


@pytest.mark.parametrize(("changes", "said"), CASES.values(), ids=CASES)
def test_what_is_noticed_says_how_many_and_where(tmp_path, changes, said):
    notes = notes_on(tmp_path, **changes)
    (note,) = [note for note in notes if said[0] in note]
    assert note.startswith("own: ")
    for words in said:
        assert words in note


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"test": [*rows(0, 2), *rows(140, 38)]},
        {"train": [*rows(300, 200), *rows(307, 1, label=0)]},
        {"train": [*rows(0, 98), *rows(0, 2)]},
        {"train": [*rows(0, 99), *rows(0, 1, text=" ")]},
        {"train": rows(0, 100, kind="statement", idx=3)},
        {"train": rows(0, 9, label=1)},
        {"train": [*rows(0, 99), *rows(99, 1, text="ä")]},
        {"generation_length": 4},
    ],
    ids=["ordinary", "few alike", "few targets", "few twice", "an empty one", "words", "chance", "one piece", "fits"],
)
def test_ordinary_data_has_no_note(tmp_path, changes):
    assert notes_on(tmp_path, **changes) == []


def test_several_targets_of_a_source_are_ordinary_where_they_are_gathered(tmp_path):
    answers = [{"text": f"number {i // 4}", "a": f"answer {i}"} for i in range(80)]
    parts = {"train": answers, "dev": [{**row, "text": f"dev {row['text']}"} for row in answers]}
    parts["test"] = [{**row, "text": f"test {row['text']}"} for row in answers]
    assert notes_on(tmp_path, answer="a", gather=True, **parts) == []
    (one,) = notes_on(tmp_path, answer="a", **parts)
    assert "80 of 80 (100 %) training rows have a source that stands with another target too" in one


def test_a_file_that_two_parts_read_to_different_lengths_is_known_to_its_end(tmp_path):
    notes_on(tmp_path)
    values = json.loads((tmp_path / "own.yaml").read_text(encoding="utf-8"))
    values["split"] = {"kind": "official", "dev": "validation", "test": "validation"}
    del values["files"]["test"]
    (tmp_path / "own.yaml").write_text(json.dumps(values), encoding="utf-8")
    data = load_task_data(make_task(load_task_file(tmp_path / "own.yaml")), max_dev=30, max_test=5)
    assert data.where(data.dev[29]).endswith("validation.jsonl, line 30")


def test_generated_tasks_deserve_no_note():
    data = load_task_data(TASKS["mini-wsc"])
    assert look_at_texts(data) == []
