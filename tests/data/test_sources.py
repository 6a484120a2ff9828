"""Rows from every kind of file, from a hub-like folder, and everything that can be wrong with them."""

from __future__ import annotations

import csv
import gzip
import json
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multiprompt.data import Generation, Rows, fingerprint, load_rows
from multiprompt.errors import DataError
from multiprompt.examples import TextExample
from multiprompt.tasks import GENERATED, TASKS, HubDataset, Task

RTE, STSB, SQUAD = (replace(TASKS[name], official_rows={}) for name in ("rte", "stsb", "squad"))
WSC, RECORD, CHOICES = (replace(TASKS[name], official_rows={}) for name in ("wsc", "record", "openbookqa"))

ROWS: dict[str, list[dict[str, Any]]] = {
    "rte": [
        {"sentence1": 'He said "no", twice.', "sentence2": "It's 5.0", "label": 0, "idx": 0},
        {"sentence1": "12", "sentence2": "", "label": 1, "idx": 1},
        {"sentence1": "naïve — 漢字\u2028x", "sentence2": "[1]", "label": 1, "idx": 2},
    ],
    "stsb": [
        {"sentence1": "a", "sentence2": "b", "label": 5.0, "idx": 0},
        {"sentence1": "null", "sentence2": "NaN", "label": 3.75, "idx": 1},
    ],
    "squad": [
        {"question": "When?", "context": "In 1945, [PAR] x", "answers": ["1945", "In 1945"], "qid": "a"},
        {"question": "Who?", "context": "true or null", "answers": ["null"], "qid": "b"},
    ],
    "wsc": [
        {"text": "Al saw 7 .", "span1_text": "Al", "span1_index": 0, "span2_text": "7", "span2_index": 2, "label": 1},
        {"text": "7 x", "span1_text": "7", "span1_index": 0, "span2_text": "x", "span2_index": 1, "label": 0},
    ],
    "record": [
        {"passage": "[1]", "query": "@placeholder", "entities": ["Bo", "1"], "answers": ["1"]},
        {"passage": "a", "query": "2", "entities": [], "answers": ["b", "c"]},
    ],
    "openbookqa": [
        {"question_stem": "1", "choices": {"label": ["A", "B"], "text": ["x", "2"]}, "answerKey": "B"},
        {"question_stem": "Why", "choices": {"label": ["1", "2"], "text": ["", "y"]}, "answerKey": "2"},
    ],
}


def write_split(task: Task, folder: Path, ending: str, rows: list[dict[str, Any]]) -> Path:
    """Write rows the way a user would, in one of the kinds of files."""
    path = folder / task.folder / f"train.{ending}"
    path.parent.mkdir(parents=True, exist_ok=True)
    if ending == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return path
    with (
        gzip.open(path, "wt", encoding="utf-8", newline="")
        if ending.endswith(".gz")
        else path.open("w", encoding="utf-8", newline="") as file
    ):
        if ending.startswith("jsonl"):
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            return path
        cells = [
            [json.dumps(value) if isinstance(value, list | dict) else str(value) for value in row.values()]
            for row in rows
        ]
        if ending.startswith("csv"):
            csv.writer(file).writerows([list(rows[0]), *cells])
        else:
            file.writelines("\t".join(row) + "\n" for row in [list(rows[0]), *cells])
    return path


def digest(task: Task, rows: Rows) -> str:
    for row_id, where, values in rows:
        task.example(values, row_id, where=where)
    return fingerprint(task.canonical(row.values) for row in rows)


@pytest.mark.parametrize("ending", ["jsonl.gz", "jsonl", "csv.gz", "csv", "tsv.gz", "tsv", "parquet"])
@pytest.mark.parametrize("task", [RTE, STSB, SQUAD, WSC, RECORD, CHOICES], ids=lambda task: task.name)
def test_all_kinds_of_files_hold_the_same_rows(task: Task, ending: str, tmp_path: Path) -> None:
    rows = ROWS[task.name]
    path = write_split(task, tmp_path, ending, rows)
    loaded = load_rows(task, "train", tmp_path)
    assert len(loaded) == len(rows)
    assert digest(task, loaded) == fingerprint(task.canonical(row) for row in rows)
    header = ending[:3] in ("csv", "tsv")
    place = "row" if ending == "parquet" else "line"
    assert loaded[1].where == f"{path}, {place} {2 + header}"
    assert [row.row_id for row in loaded] == [f"train:{number}" for number in range(len(rows))]
    assert loaded.complete
    assert loaded.notes == ()

    first = load_rows(task, "train", tmp_path, limit=1)
    assert (len(first), first.complete) == (1, False)
    assert first[0] == loaded[0]


def test_a_limit_does_not_read_further(tmp_path: Path) -> None:
    path = write_split(RTE, tmp_path, "jsonl", ROWS["rte"])
    path.write_text(path.read_text(encoding="utf-8") + "rubbish\n", encoding="utf-8")
    assert len(load_rows(RTE, "train", tmp_path, limit=3)) == 3
    with pytest.raises(DataError, match="line 4: not JSON"):
        load_rows(RTE, "train", tmp_path)


def test_lines_are_counted_as_a_person_counts(tmp_path: Path) -> None:
    path = write_split(RTE, tmp_path, "csv", ROWS["rte"])
    path.write_text('sentence1,sentence2,label\n"two\nlines",b,0\n\nc,d,7\n', encoding="utf-8")
    rows = load_rows(RTE, "train", tmp_path)
    assert [row.where for row in rows] == [f"{path}, line 2", f"{path}, line 5"]
    assert rows[0].values["sentence1"] == "two\nlines"
    with pytest.raises(DataError, match=r"train.csv, line 5: column 'label' is '7'; expected 0 or 1"):
        digest(RTE, rows)
    lines = [json.dumps(row) for row in ROWS["rte"]]
    (path.with_suffix(".jsonl")).write_text(
        "\ufeff" + lines[0] + "\n\n" + lines[1], encoding="utf-8"
    )  # no line end at the end
    assert [row.where[-6:] for row in load_rows(RTE, "train", tmp_path)] == ["line 1", "line 3"]


def test_answers_in_a_table_may_be_plain_texts(tmp_path: Path) -> None:
    path = write_split(SQUAD, tmp_path, "csv", ROWS["squad"])
    answers = ["1945", "null", "[1", "5.0"]
    path.write_text("question,context,answers\n" + "".join(f"a,b,{answer}\n" for answer in answers), encoding="utf-8")
    rows = load_rows(SQUAD, "train", tmp_path)
    assert [SQUAD.references(row.values) for row in rows] == [
        ("1945",),
        ("null",),
        ("[ 1",),
        ("5 . 0",),
    ]


def test_which_of_several_files_is_read_is_noted(tmp_path: Path) -> None:
    write_split(RTE, tmp_path, "csv", ROWS["rte"])
    write_split(RTE, tmp_path, "jsonl.gz", ROWS["rte"])
    assert load_rows(RTE, "train", tmp_path).notes == ("glue/rte: train.jsonl.gz was read, not train.csv",)


def test_partial_copies_are_noted(tmp_path: Path) -> None:
    write_split(RTE, tmp_path, "jsonl", ROWS["rte"])
    (note,) = load_rows(TASKS["rte"], "train", tmp_path).notes
    assert note == ("rte: 'train' holds 3 rows, officially 2,490: scores are not comparable with published ones")
    assert load_rows(TASKS["rte"], "train", tmp_path, limit=2).notes == ()


def test_missing_files_say_what_was_tried(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data folder .*nowhere does not exist"):
        load_rows(RTE, "train", tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"tried .*glue/rte/train\.\{jsonl.gz,.*parquet\}; that folder does not exist"):
        load_rows(RTE, "train", tmp_path)
    write_split(RTE, tmp_path, "jsonl", ROWS["rte"])
    with pytest.raises(DataError, match=r"no split 'validation' .*; there is train.jsonl$"):
        load_rows(RTE, "validation", tmp_path)


GOOD = json.dumps(ROWS["rte"][0]).encode() + b"\n"


@pytest.mark.parametrize(
    ("ending", "content", "message"),
    [
        ("jsonl", GOOD + b'{"a": 1\n', "line 2: not JSON .*; expected one object per line"),
        ("jsonl", GOOD + b"[1]\n", r"line 2: holds '\[1\]'; expected an object with the columns sentence1, "),
        ("jsonl", b"[" * 200_000, "line 1: not JSON"),
        ("jsonl", GOOD + b'{"a": "\xff"}\n', "line 2: not UTF-8 .byte 8 is 0xff.; convert"),
        ("jsonl", b"", "holds no rows"),
        ("jsonl", b"\n\n", "holds no rows"),
        ("jsonl.gz", b"", "holds no rows"),
        ("jsonl.gz", gzip.compress(GOOD * 500, mtime=0)[:-20], "after line .*cut short .*download it again"),
        ("jsonl.gz", gzip.compress(GOOD, mtime=0)[:-4], "after line 1: the compressed file is damaged or cut short"),
        ("jsonl.gz", GOOD, "is not compressed: take .gz from its name, as in train.jsonl$"),
        ("jsonl", gzip.compress(GOOD, mtime=0), "is compressed by gzip, .*: rename it to train.jsonl.gz"),
        ("csv", b"PAR1 no", "is a Parquet file, which its name does not say: rename it to train.parquet"),
        ("tsv", "a\tb".encode("utf-16"), "is UTF-16 text, which its name does not say: convert it to UTF-8 text"),
        ("jsonl", GOOD + b'{"label": 0, "a": 1, "label": 1}', "line 2: not JSON .the name 'label' stands twice"),
        ("csv", b"\nsentence1,sentence2,label,sentence1\na,b,1,c\n", "line 2: the column 'sentence1' stands 2 times"),
        ("tsv", b"x\ty\tx\na\tb\tc\n", "line 1: the column 'x' stands 2 times; keep or rename one"),
        ("jsonl.gz", gzip.compress(GOOD, mtime=0)[:12] + b"\xff" * 50, "damaged"),
        ("csv", b"sentence1,sentence2,label\na,b\n", "line 2: 2 cells; expected 3: sentence1, "),
        ("csv", b'sentence1,sentence2,label\n"a"b,c,1\n', "line 2: not a table"),
        ("csv", b'sentence1,sentence2,label\n"a,c,1\n', "line 2: not a table"),
        ("csv", b"sentence1,sentence2,label\n", "holds no rows"),
        ("tsv.gz", gzip.compress(b"sentence1\tlabel\n\xe9\t1\n", mtime=0), "line 2: not UTF-8"),
        ("parquet", b"PAR1 no", "after row 0: not a Parquet file, or damaged"),
    ],
)  # fmt: skip
def test_damaged_files(ending: str, content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / RTE.folder / f"train.{ending}"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"train\.{ending}.*{message}"):
        load_rows(RTE, "train", tmp_path)


def test_a_cell_may_be_long(tmp_path: Path) -> None:
    path = write_split(RTE, tmp_path, "csv", ROWS["rte"])
    path.write_text(f"sentence1,sentence2,label,,\n{'a' * 200_000},b,1,,\n", encoding="utf-8")
    ((_, _, values),) = load_rows(RTE, "train", tmp_path)
    assert len(values["sentence1"]) == 200_000


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_half_a_character_is_refused_with_its_column(ending: str, tmp_path: Path) -> None:
    answers = '["x", "\\ud800"]'
    path = write_split(SQUAD, tmp_path, ending, ROWS["squad"])
    text = f'{{"question": "a", "context": "b", "answers": {answers}}}\n'
    if ending == "csv":
        text = "question,context,answers\na,b," + '"' + answers.replace('"', '""') + '"\n'
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"line \d: column 'answers' is \['x', '\\ud800'\]; expected whole characters"):
        digest(SQUAD, load_rows(SQUAD, "train", tmp_path))


def test_a_text_of_parquet_that_is_no_utf8_is_named(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = write_split(RTE, tmp_path, "parquet", ROWS["rte"])
    texts = pyarrow.array([b"a", b"\xff", b"c"]).view(pyarrow.string())
    parquet.write_table(pyarrow.table({"sentence1": texts}), path)
    with pytest.raises(DataError, match=r"train\.parquet, row 2: a text is not UTF-8"):
        load_rows(RTE, "train", tmp_path)
    column = pyarrow.array(["a"])
    parquet.write_table(pyarrow.Table.from_arrays([column, column], names=["x", "x"]), path)
    with pytest.raises(DataError, match=r"train\.parquet: the column 'x' stands 2 times"):
        load_rows(RTE, "train", tmp_path)


def test_parquet_needs_an_optional_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_split(RTE, tmp_path, "parquet", ROWS["rte"])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r'pip install "multiprompt\[hub\]"'):
        load_rows(RTE, "train", tmp_path)


def test_fingerprints() -> None:
    row = {"a": "x", "answer": 5.0, "more": [1, {"b": (2.0, None)}]}
    same = {"more": (1.0, {"b": [2, None]}), "answer": 5, "a": "x"}
    assert fingerprint([row]) == fingerprint([same])
    different = [[], [row, row], [{**row, "a": "y"}], [{**row, "answer": 5.2}], [{**row, "answer": "5"}]]
    assert len({fingerprint(rows) for rows in [[row], *different]}) == 6
    assert fingerprint([row, {"a": 1}]) != fingerprint([{"a": 1}, row])
    one = TextExample("s", "t", ("t",), "train:0")
    assert fingerprint([one]) == fingerprint([replace(one, row_id="train:7")])
    assert fingerprint([one]) != fingerprint([replace(one, target="u")])
    assert len({fingerprint([replace(one, group=group)]) for group in (None, "a", "b")}) == 3
    # by sha256sum of the line {"a":"x","answer":5,"more":[1,{"b":[2,null]}]}
    recorded = "7ec915fa4b38b629413cfa2b2319f9db9ad80f0cf6784e2b99ec0edd288c058f"
    assert fingerprint([row]) == recorded


@given(text=st.text(st.characters()), number=st.floats())
def test_fingerprint_never_raises(text: str, number: float) -> None:
    assert len(fingerprint([{"text": text, "number": number}])) == 64


# --- generated ------------------------------------------------------------------------------------------


def generate(split: str, n: int, seed: int = 0, label_coding: str = "glue") -> list[dict[str, Any]]:
    return [{"sentence1": f"{split} {seed} {label_coding}", "sentence2": str(i), "label": i % 2} for i in range(n)]


MADE = replace(RTE, hub=None, generator=generate, split_rule=GENERATED)


def test_generated_rows() -> None:
    assert [len(load_rows(MADE, split)) for split in ("train", "validation", "test")] == [2000, 500, 1000]
    generation = Generation({"train": 6}, seed=3, label_coding="consistent")
    rows = load_rows(MADE, "train", generation=generation)
    assert (len(rows), len(load_rows(MADE, "test", generation=generation))) == (6, 1000)
    assert rows[2].values == {"sentence1": "train 3 consistent", "sentence2": "2", "label": 0}
    assert rows[2].where == "generated rte train (seed 3, consistent labels), row 3"
    few = load_rows(MADE, "train", limit=2, generation=generation)
    assert (len(few), few.complete, few[1]) == (2, False, rows[1])
    with pytest.raises(DataError, match="no split 'dev'; expected one of train, validation, test"):
        load_rows(MADE, "dev")


# --- hub ------------------------------------------------------------------------------------------------


def fake_datasets(monkeypatch: pytest.MonkeyPatch, load: Any) -> None:
    module = types.ModuleType("datasets")
    module.load_dataset = load  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    monkeypatch.setattr("multiprompt.data.sources.hub_trouble", lambda *_: None)


def test_hub_gets_what_the_task_says(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def load(**options: Any) -> list[dict[str, Any]]:
        calls.append(options)
        return ROWS["rte"]

    fake_datasets(monkeypatch, load)
    rows = load_rows(TASKS["rte"], "train")
    revision = TASKS["rte"].hub.revision
    assert calls == [{"path": "nyu-mll/glue", "name": "rte", "split": "train", "revision": revision}]
    assert rows[0].where == f"nyu-mll/glue/rte@{revision}, split train, row 1"
    assert digest(RTE, rows) == fingerprint(RTE.canonical(row) for row in ROWS["rte"])
    assert len(rows.notes) == 1  # a partial copy

    renamed = replace(RTE, hub=HubDataset("me/mine", splits={"train": "training"}))
    assert len(load_rows(renamed, "train", limit=2)) == 2
    assert calls[1] == {"path": "me/mine", "name": None, "split": "training", "revision": None}


def test_several_configurations_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, **_: Any) -> list[dict[str, Any]]:
        return [{**ROWS["openbookqa"][0], "question": f"{name} {number}"} for number in range(3)]

    fake_datasets(monkeypatch, load)
    task = replace(TASKS["arc"], official_rows={})
    rows = load_rows(task, "train")
    assert [row.row_id for row in rows] == [f"{c}/train:{n}" for c in ("ARC-Easy", "ARC-Challenge") for n in range(3)]
    assert rows[4].values["question"] == "ARC-Challenge 1"
    assert rows[4].where == "allenai/ai2_arc/ARC-Challenge@main, split train, row 2"
    assert [row.row_id for row in load_rows(task, "train", limit=4)] == [row.row_id for row in rows][:4]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConnectionError("Couldn't reach the Hub"), "ConnectionError.*Without a network, give a data folder"),
        (RuntimeError("Dataset scripts are no longer supported"), "refs/convert/parquet"),
        (ValueError("Unknown split \"train\""), "cannot load split 'train' of nyu-mll/glue/rte@bcdc.* from the hub"),
    ],
)  # fmt: skip
def test_hub_trouble(error: Exception, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any, **__: Any) -> None:
        raise error

    fake_datasets(monkeypatch, load)
    with pytest.raises(DataError, match=message):
        load_rows(RTE, "train")


def test_a_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache of earlier downloads is asked at once, and the message says why the hub was not."""
    settings = pytest.importorskip("datasets").config
    monkeypatch.setattr(settings, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(settings, "HF_DATASETS_CACHE", "nowhere")
    monkeypatch.setattr("multiprompt.data.sources.hub_trouble", lambda *_: "no connection")
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail(f"pauses for {seconds} s"))
    for name, where in (("rte", "nyu-mll/glue/rte@"), ("webnlg", "webnlg_challenge_2017@refs/convert/parquet")):
        with pytest.raises(DataError, match=f"{where}.*out of reach \\(no connection\\), and earlier downloads"):
            load_rows(TASKS[name], "train")
    assert settings.HF_HUB_OFFLINE is False


def test_hub_needs_an_optional_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r'pip install "multiprompt\[hub\]"; or give a data folder'):
        load_rows(RTE, "train")
    with pytest.raises(DataError, match="is not on the hub; give the data folder"):
        load_rows(replace(RTE, hub=None), "train")


def test_a_folder_in_the_form_of_a_hub_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / "dataset"
    write_split(replace(SQUAD, folder="."), folder, "parquet", [
        {**row, "answers": {"text": row["answers"], "answer_start": [0] * len(row["answers"])}}
        for row in ROWS["squad"]
    ])  # fmt: skip
    task = replace(SQUAD, hub=HubDataset(str(folder)))
    assert digest(task, load_rows(task, "train")) == fingerprint(SQUAD.canonical(row) for row in ROWS["squad"])
    with pytest.raises(DataError, match="cannot load split 'validation'"):
        load_rows(task, "validation")
