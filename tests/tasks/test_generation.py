"""E2E and WebNLG: linearised sources, references gathered for each source, and what wrong rows say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import SHARED
from multiprompt.data import fingerprint, load_task_data
from multiprompt.errors import DataError
from multiprompt.metrics import METRICS, score
from multiprompt.tasks import TASKS, Task
from multiprompt.tasks.generation import SEEN_CATEGORIES, read_meaning

E2E, WEBNLG = (replace(TASKS[name], official_rows={}, official_examples={}) for name in ("e2e", "webnlg"))


def write(folder: Path, task: Task, **splits: list[dict[str, Any]]) -> None:
    directory = folder / task.folder
    directory.mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        (directory / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def restaurant(name: str, text: str) -> dict[str, str]:
    return {"meaning_representation": f"name[{name}], eatType[pub]", "human_reference": text}


def facts(subject: str, *texts: str, category: str = "Airport") -> dict[str, Any]:
    triples = [f"{subject} | city | Bo"]
    return {
        "category": category,
        "modified_triple_sets": {"mtriple_set": [triples]},
        "lex": {"text": list(texts), "comment": ["good"] * len(texts)},
    }


# --- E2E ------------------------------------------------------------------------------------------

WORDS = st.text(st.characters(blacklist_characters="[],", blacklist_categories=("Cs",)), min_size=1).filter(str.strip)


@given(attributes=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=8))
def test_a_meaning_is_read_back_whatever_its_attributes_and_values(attributes: list[tuple[str, str]]) -> None:
    text = ", ".join(f"{name}[{value}]" for name, value in attributes)
    assert read_meaning(text) == [(name.strip(), value.strip()) for name, value in attributes]
    row = {"meaning_representation": text, "human_reference": "x"}
    assert E2E.example(row, "train:0", where="x").source.count(" | ") >= len(attributes) - 1


def test_values_may_hold_commas() -> None:
    assert read_meaning("name[Bo, Al],near[]") == [("name", "Bo, Al"), ("near", "")]


@pytest.mark.parametrize(
    ("meaning", "position"),
    [
        ("", "from character 1 on"),
        ("The Mill", "from character 1 on"),
        ("name[The Mill", "from character 1 on"),
        ("name[The Mill]; eatType[pub]", "character 15 is no comma"),
        ("name[The Mill], ", "from character 16 on"),
        ("name[The Mill], [pub]", "from character 16 on"),
        ("name[The [old] Mill]", "from character 1 on"),
    ],
)
def test_a_malformed_meaning_says_file_line_column_and_character(meaning: str, position: str, tmp_path: Path) -> None:
    good = restaurant("The Mill", "A pub.")
    write(tmp_path, E2E, train=[good], validation=[good], test=[good, good | {"meaning_representation": meaning}])
    with pytest.raises(DataError) as caught:
        load_task_data(E2E, tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / E2E.folder}/test.jsonl, line 2: column 'meaning_representation' is ")
    assert "expected attributes with values, such as name[The Mill]" in message
    assert position in message


def test_dev_and_test_rows_of_one_meaning_are_one_example(tmp_path: Path) -> None:
    train = [restaurant("A", "a."), restaurant("A", "aa."), restaurant("B", "b.")]
    test = [restaurant("C", "c."), restaurant("D", "d."), restaurant("C", "cc."), restaurant("C", "c.")]
    write(tmp_path, E2E, train=train, validation=train, test=test)
    data = load_task_data(E2E, tmp_path)
    assert [e.target for e in data.train] == ["a.", "aa.", "b."]  # one example for each reference
    assert [(e.row_id, e.target, e.references) for e in data.test] == [
        ("test:0", "c.", ("c.", "cc.", "c.")),
        ("test:1", "d.", ("d.",)),
    ]
    assert [(e.row_id, e.references) for e in data.dev] == [("validation:0", ("a.", "aa.")), ("validation:2", ("b.",))]
    assert data.counts == {"train": 3, "dev": 2, "test": 2, "empty text": 0}
    assert data.notes == ()

    # a limit counts meanings, and each of them keeps all its references
    cut = load_task_data(E2E, tmp_path, max_train=2, max_test=1)
    assert [e.references for e in cut.test] == [("c.", "cc.", "c.")]
    assert len(cut.train) == 2
    assert load_task_data(E2E, tmp_path, max_test=2).fingerprint == data.fingerprint

    # every reference counts for the fingerprint
    write(tmp_path, E2E, test=[*test[:2], restaurant("C", "other"), test[3]])
    changed = load_task_data(E2E, tmp_path)
    assert (changed.fingerprint != data.fingerprint, len(changed.test)) == (True, 2)


@given(names=st.lists(st.sampled_from("ABCD"), min_size=1, max_size=12))
def test_gathering_loses_and_invents_no_reference(names: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("e2e")
    rows = [restaurant(name, f"text {number}") for number, name in enumerate(names)]
    write(folder, E2E, train=rows, validation=rows, test=rows)
    data = load_task_data(E2E, folder)
    assert sorted(text for e in data.test for text in e.references) == sorted(row["human_reference"] for row in rows)
    assert [e.row_id for e in data.test] == [f"test:{names.index(name)}" for name in dict.fromkeys(names)]


def test_a_changed_number_of_meanings_is_said(tmp_path: Path) -> None:
    rows = [restaurant("A", "a.")]
    write(tmp_path, E2E, train=rows, validation=rows, test=rows)
    task = replace(E2E, official_examples={"dev": 1, "test": 630})
    assert load_task_data(task, tmp_path).notes == ("e2e: there are 1 test examples, officially 630",)
    assert load_task_data(task, tmp_path, max_test=1).notes == ()


# --- WebNLG ------------------------------------------------------------------------------------------


def test_the_triples_may_stand_in_lists_of_objects() -> None:
    row = facts("A", "a.", "aa.")
    other = {
        "modified_triple_sets": [{"mtriple_set": row["modified_triple_sets"]["mtriple_set"][0]}],
        "lex": [{"text": "a.", "comment": "good"}, {"text": "aa.", "comment": ""}],
    }
    one, two = (WEBNLG.example(each, "train:0", where="x") for each in (row, other))
    assert (one.source, one.references) == (two.source, two.references) == ("webnlg | A : city : Bo", ("a.", "aa."))
    assert (one.subset, two.subset) == ("seen", "")


@pytest.mark.parametrize(
    "triples",
    [{}, {"mtriple_set": []}, {"mtriple_set": [[]]}, {"mtriple_set": [["a | b"]]}, {"mtriple_set": [["a |  | b"]]},
     {"mtriple_set": [[1]]}, {"mtriple_set": "a | b | c"}, [], "a | b | c", [{"mtriple_set": ["a : b : c"]}]],
)  # fmt: skip
def test_rows_without_triples_are_refused(triples: Any) -> None:
    with pytest.raises(DataError, match=r"^x, line 1: column 'modified_triple_sets' is .*subject \| property"):
        WEBNLG.example(facts("A", "a.") | {"modified_triple_sets": triples}, "train:0", where="x, line 1")


def test_training_has_one_example_for_each_text_and_the_test_one_for_each_set(tmp_path: Path) -> None:
    train = [facts("A", "a.", "aa."), facts("B", "b.")]
    # the hub's test split: rows without texts, and those of unseen categories twice
    unseen = facts("D", "d.", category="Artist")
    test = [
        facts("C") | {"test_category": "testdata_no_lex"},
        facts("C", "c.", "cc.") | {"test_category": "testdata_with_lex"},
        unseen | {"test_category": "testdata_with_lex"},
        unseen | {"test_category": "testdata_unseen_with_lex"},
    ]
    write(tmp_path, WEBNLG, train=train, validation=train, test=test)
    data = load_task_data(WEBNLG, tmp_path)
    assert [(e.row_id, e.target, e.references) for e in data.train] == [
        ("train:0", "a.", ("a.",)),
        ("train:0.2", "aa.", ("aa.",)),
        ("train:1", "b.", ("b.",)),
    ]
    assert [e.references for e in data.dev] == [("a.", "aa."), ("b.",)]
    assert [(e.row_id, e.references, e.subset) for e in data.test] == [
        ("test:1", ("c.", "cc."), "seen"),
        ("test:2", ("d.",), "unseen"),
    ]
    assert data.notes == ("webnlg: of 2 test examples 1 seen and 1 unseen",)
    rows = [WEBNLG.canonical(row) for row in (*train,)]
    assert len({fingerprint(rows), data.fingerprint}) == 2
    assert len(SEEN_CATEGORIES) == 10


def test_a_wrong_text_says_where(tmp_path: Path) -> None:
    rows = [facts("A", "a."), facts("B", "b.") | {"lex": {"text": [3]}}]
    write(tmp_path, WEBNLG, train=rows, validation=rows[:1], test=rows[:1])
    with pytest.raises(DataError, match=r"train\.jsonl, line 2: column 'lex' is .* \(task 'webnlg'\)"):
        load_task_data(WEBNLG, tmp_path)


# --- metrics ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["e2e", "webnlg"])
def test_the_metrics_order_outputs(name: str) -> None:
    """Perfect outputs beat half-right ones, and those beat texts about something else, by every metric."""
    references = [
        ("The Mill is a cheap pub near the river.", "Near the river there is a cheap pub, The Mill."),
        ("Bo Airport serves the city of Bo in the north.",),
    ]
    outputs = {
        "perfect": ["Near the river there is a cheap pub, The Mill.", "Bo Airport serves the city of Bo in the north."],
        "half": ["The Mill is a cheap pub and a good one.", "Bo Airport serves the city."],
        "other": ["Cats sleep all day long.", "Nothing is known about this."],
    }
    for metric in TASKS[name].metrics:
        values = [score(metric, texts, references) for texts in outputs.values()]
        assert values == sorted(values, reverse=METRICS[metric].higher_is_better)
        assert len(set(values)) == 3


# --- real rows ------------------------------------------------------------------------------------------


def test_real_rows_of_e2e() -> None:
    if not (SHARED / "data" / "nlg" / "e2e_nlg").is_dir():
        pytest.skip(f"no real rows in {SHARED} (set MULTIPROMPT_SHARED to a folder that holds data/nlg/e2e_nlg)")
    data = load_task_data(TASKS["e2e"], SHARED / "data")
    assert data.counts == {"train": 42_061, "dev": 547, "test": 630, "empty text": 0}
    assert data.notes == ()
    assert sum(len(e.references) for e in data.test) == 4_693
    names = {part.split(" : ")[0] for e in data.train + data.dev + data.test for part in e.source[4:].split(" | ")}
    assert names == {"name", "Type", "food", "price", "customer rating", "area", "family friendly", "near"}
    for example in data.test:
        assert 2 < example.source.count(" : ") < 9
