"""The quirks of published code: what they change, and that nothing else changes."""

from __future__ import annotations

import pytest

from multiprompt.options import DataOptions
from multiprompt.recipes import load_task
from multiprompt.tasks import SMALL, TASKS, compat_variant


@pytest.mark.parametrize("name", TASKS)
def test_without_the_switch_a_task_is_itself(name):
    assert compat_variant(TASKS[name], "none") == (TASKS[name], ())


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_changed_if_and_only_if_a_note_says_so(name):
    task, notes = compat_variant(TASKS[name], "attempt")
    assert (task != TASKS[name]) == bool(notes)
    assert all(note.startswith(f"{name}: as in published code (attempt): ") for note in notes)
    generated = TASKS[name].generator is not None or TASKS[name].family == "generation"
    assert task.generation_length <= 20 or generated
    quirky = name in ("stsb", "winogrande", "scitail") or TASKS[name].generation_length > 20
    assert bool(notes) == (quirky and not generated)


def test_the_three_tasks_with_other_texts():
    score, _ = compat_variant(TASKS["stsb"], "attempt")
    row = {"sentence1": "a", "sentence2": "b", "label": 2.5}
    assert (TASKS["stsb"].target(row), score.target(row)) == ("2.4", "2.5")
    options, _ = compat_variant(TASKS["winogrande"], "attempt")
    assert options.source({"sentence": "s _", "option1": "x", "option2": "y"}) == "sentence: s _ option0: x option1: x"
    science, _ = compat_variant(TASKS["scitail"], "attempt")
    assert science.source({"sentence1": "a", "sentence2": "b"}) == "premise: a hypothesis: b"
    assert science.split_rule == SMALL


def test_a_loaded_task_carries_the_note(tiny_backbone, tmp_path):
    folder = tmp_path / "others" / "winogrande"
    folder.mkdir(parents=True)
    row = '{"sentence": "a _ b", "option1": "c", "option2": "d", "answer": "1"}\n'
    for split in ("train", "validation"):
        (folder / f"{split}.jsonl").write_text(row * 4, encoding="utf-8")
    ours = load_task("winogrande", tiny_backbone, DataOptions(location=str(tmp_path)))
    theirs = load_task("winogrande", tiny_backbone, DataOptions(location=str(tmp_path), compat="attempt"))
    assert theirs.data.test[0].source == "winogrande sentence: a _ b option0: c option1: c"
    note = "winogrande: as in published code (attempt): the first option stands in both places"
    assert note in theirs.notes()
    assert note not in ours.notes()
