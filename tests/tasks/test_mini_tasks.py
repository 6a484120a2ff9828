"""The generated tasks: rows of the benchmark become text, and their answers come back."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from multiprompt.data import Generation, load_task_data
from multiprompt.errors import DataError
from multiprompt.metrics import score
from multiprompt.mini.benchmark import MORE_SOURCE_TASKS, SOURCE_TASKS, TARGET_TASKS, generate
from multiprompt.options import DataOptions
from multiprompt.recipes.prepare import choose_task, read_task
from multiprompt.tasks import TASKS
from multiprompt.tasks.mini import ClozeSource

NAMES = [f"mini-{name}" for name in (*SOURCE_TASKS, *TARGET_TASKS, *MORE_SOURCE_TASKS)]

SOURCES = {
    "mini-mnli": r"premise: .+\. hypothesis: .+\.",
    "mini-qnli": r"question: .+\? sentence: .+\.",
    "mini-qqp": r"question1: .+\? question2: .+\?",
    "mini-sst2": r"sentence: .+\.",
    "mini-squad": r"question: .+\? context: .+\.",
    "mini-record": r"query: .*@placeholder.*\. entities: .+(, .+)* passage: .+\.",
    "mini-rte": r"sentence1: .+\. sentence2: .+\.",
    "mini-boolq": r"question: .+\? passage: .+\.",
    "mini-mrpc": r"sentence1: .+[.?] sentence2: .+[.?]",
    "mini-yelp": r"sentence: .+\.",
    "mini-wsc": r"text: .+\. person: \w+ pronoun: (he|she)",
    "mini-scitail": r"premise: .+\. hypothesis: .+\.",
    "mini-cb": r"premise: .+\. hypothesis: .+\.",
    "mini-paws": r"sentence1: .+\. sentence2: .+\.",
    "mini-multirc": r"question: .+\? answer: \w+ paragraph: .+\.",
    "mini-winogrande": r"sentence: .+\. option0: \w+ option1: \w+",
    "mini-naturalquestions": r"question: .+\? context: .+\.",
    "mini-newsqa": r"question: .+\? context: .+\.",
    "mini-e2e": r"name: \w+(, \w+: \w+){1,2}",
    "mini-anli": r"premise: .+\. hypothesis: .+\.",
    "mini-ag_news": r"sentence: .+\.",
    "mini-commonsense_qa": r"question: .+\? context: .+\. choice0: \w+ choice1: \w+ choice2: \w+",
    "mini-openbookqa": r"query: .*@placeholder.*\. passage: .+\. choice0: \w+ choice1: \w+ choice2: \w+",
    "mini-arc": r"sentence: .+\. choice0: .+\. choice1: .+\. choice2: .+\.",
}


def test_every_benchmark_task_is_a_task() -> None:
    assert sorted(name for name in TASKS if TASKS[name].family == "mini") == sorted(NAMES)
    assert SOURCES.keys() == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_rows_become_examples(name: str) -> None:
    task = TASKS[name]
    data = load_task_data(task, generation=Generation({"train": 120, "validation": 30, "test": 60}))
    assert data.counts == {"train": 120, "dev": 30, "test": 60, "empty text": 0}
    examples = data.train + data.dev + data.test
    assert len({example.source for example in examples}) == len(examples)
    for example in examples:
        assert re.fullmatch(SOURCES[name], example.source), example.source
        assert task.is_valid(example.target)
        # words and punctuation marks, and the end-of-sequence token
        assert len(re.findall(r"\w+|[^\w\s]", example.source)) + 1 <= task.max_source_length
        assert len(example.target.split()) < task.max_target_length
    if task.labels is not None:
        counts = Counter(example.target for example in data.train)
        assert set(counts) == set(task.labels)
        assert max(counts.values()) - min(counts.values()) <= 1
    references = [example.references for example in data.test]
    for metric in task.metrics:
        assert score(metric, [texts[0] for texts in references], references, task.labels) == 100


def test_label_codings_differ_in_labels_alone() -> None:
    glue = load_task_data(TASKS["mini-rte"], max_train=20, max_dev=5, max_test=5)
    consistent = load_task_data(
        TASKS["mini-rte"],
        max_train=20,
        max_dev=5,
        max_test=5,
        generation=Generation(label_coding="consistent"),
    )
    flip = {"0": "1", "1": "0"}
    for one, other in zip(glue.train, consistent.train, strict=True):
        assert (one.source, flip[one.target]) == (other.source, other.target)
    assert glue.fingerprint != consistent.fingerprint


def test_names_tell_tasks_apart_whose_texts_are_alike() -> None:
    """mrpc and rte have the same fields, and "1" means "holds" in the one and not in the other."""
    limits = {"max_train": 3, "max_dev": 2, "max_test": 2}
    plain, named = (
        {name: read_task(f"mini-{name}", DataOptions(task_names=names, **limits)) for name in ("rte", "mrpc")}
        for names in (False, True)
    )
    for name in ("rte", "mrpc"):
        assert [row.source for row in named[name].train] == [f"{name} {row.source}" for row in plain[name].train]
        assert [row.target for row in named[name].train] == [row.target for row in plain[name].train]
        assert named[name].fingerprint != plain[name].fingerprint  # or their stages would be the same
    public, notes = choose_task("rte", DataOptions(task_names=True))
    assert (public, notes) == (TASKS["rte"], ())  # has its name already


def test_a_limit_takes_the_first_rows() -> None:
    sizes = Generation({"train": 40, "validation": 10, "test": 10}, seed=3)
    whole = load_task_data(TASKS["mini-cb"], generation=sizes)
    assert load_task_data(TASKS["mini-cb"], generation=sizes, max_train=7).train == whole.train[:7]


def test_cloze_source() -> None:
    source = ClozeSource()
    row = generate("record", "train", 1)[0]
    assert source(row).startswith(f"query: {row['query']} entities: {row['entities'][0]}, ")
    task = TASKS["mini-record"]
    for column, value in (("query", 3), ("passage", None), ("entities", "a, b"), ("entities", [1])):
        with pytest.raises(DataError, match=f"line 1: column '{column}' is "):
            task.example({**row, column: value}, "train:0", where="x, line 1")
