"""Split rules: disjoint, complete, the very rows of the study's code family; few-shot draws."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import SHARED
from multiprompt.data import Generation, TaskData, draw_few_shot, load_rows, load_task_data
from multiprompt.data.splits import permutation
from multiprompt.errors import ConfigError, DataError
from multiprompt.examples import TextExample
from multiprompt.tasks import GENERATED, LARGE, MNLI_SPLITS, OFFICIAL, SMALL, TASKS, SplitRule, Task

REAL = SHARED / "data"

BASE = replace(TASKS["rte"], official_rows={}, prefix="")
CARVE_3 = replace(LARGE, dev_rows=3)


def write(folder: Path, **sizes: int) -> None:
    """Splits with rows that name themselves."""
    directory = folder / BASE.folder
    directory.mkdir(parents=True, exist_ok=True)
    for split, size in sizes.items():
        rows = [{"sentence1": split, "sentence2": str(number), "label": number % 2} for number in range(size)]
        (directory / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def with_rule(rule: SplitRule) -> Task:
    return replace(BASE, split_rule=rule)


def ids(examples: tuple[TextExample, ...]) -> list[str]:
    return [example.row_id for example in examples]


def all_ids(split: str, size: int) -> list[str]:
    return [f"{split}:{number}" for number in range(size)]


@given(train=st.integers(1, 12), held_out=st.integers(2, 25), seed=st.integers(0, 2**40))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_small_rule(train: int, held_out: int, seed: int, tmp_path: Path) -> None:
    write(tmp_path, train=train, validation=held_out)
    data = load_task_data(with_rule(SMALL), tmp_path, split_seed=seed)
    assert ids(data.train) == all_ids("train", train)
    assert len(data.dev) == held_out // 2  # the odd row goes to test
    assert sorted(ids(data.dev + data.test)) == sorted(all_ids("validation", held_out))
    order = permutation(held_out, seed)
    assert ids(data.dev + data.test) == [f"validation:{number}" for number in order]


@given(train=st.integers(6, 25), test=st.integers(1, 9), cap=st.none() | st.integers(1, 30))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_large_rule(train: int, test: int, cap: int | None, tmp_path: Path) -> None:
    write(tmp_path, train=train, validation=test)
    data = load_task_data(with_rule(replace(CARVE_3, max_train=cap)), tmp_path)
    assert ids(data.test) == all_ids("validation", test)
    assert len(data.dev) == 3
    order = [f"train:{number}" for number in permutation(train)]
    assert ids(data.dev) == order[:3]
    assert ids(data.train) == order[3:][:cap]  # the cap is applied after the carve
    for example in data.train:
        assert example.source == f"sentence1: train sentence2: {example.row_id.split(':')[1]}"


def test_official_rules(tmp_path: Path) -> None:
    write(tmp_path, train=5, validation=4, test=3, validation_matched=6, validation_mismatched=7)
    data = load_task_data(with_rule(OFFICIAL), tmp_path)
    parts = [data.train, data.dev, data.test]
    assert [ids(part) for part in parts] == [
        all_ids("train", 5),
        all_ids("validation", 4),
        all_ids("test", 3),
    ]
    assert data.counts == {"train": 5, "dev": 4, "test": 3, "empty text": 0}
    assert data.notes == ()
    mnli = load_task_data(with_rule(MNLI_SPLITS), tmp_path)
    assert ids(mnli.dev) == all_ids("validation_mismatched", 7)
    assert ids(mnli.test) == all_ids("validation_matched", 6)
    assert len(mnli.train) == 5


def test_mnli_without_its_dev_split_carves_and_says_so(tmp_path: Path) -> None:
    write(tmp_path, train=9, validation_matched=2)
    data = load_task_data(with_rule(replace(MNLI_SPLITS, dev_rows=3)), tmp_path)
    assert sorted(ids(data.train + data.dev)) == all_ids("train", 9)
    assert data.notes == ("rte: there is no 'validation_mismatched'; dev is 3 rows taken from 'train' instead",)
    with pytest.raises(DataError, match="no split 'validation'"):
        load_task_data(with_rule(OFFICIAL), tmp_path)


def test_train_sets_too_small_for_the_carve(tmp_path: Path) -> None:
    write(tmp_path, train=40, validation=2)
    data = load_task_data(with_rule(LARGE), tmp_path)
    assert (len(data.train), len(data.dev)) == (36, 4)
    assert data.notes == ("rte: 'train' holds 40 rows, too few for 1,000 dev rows: dev has 4",)
    write(tmp_path, train=1, validation=1)
    with pytest.raises(DataError, match="no train rows"):
        load_task_data(with_rule(LARGE), tmp_path)
    with pytest.raises(DataError, match="no dev rows"):
        load_task_data(with_rule(SMALL), tmp_path)


@pytest.mark.parametrize("rule", [SMALL, CARVE_3, OFFICIAL], ids=lambda rule: rule.name)
def test_limits_keep_the_first_rows_of_each_part(rule: SplitRule, tmp_path: Path) -> None:
    write(tmp_path, train=12, validation=9, test=8)
    whole = load_task_data(with_rule(rule), tmp_path)
    cut = load_task_data(with_rule(rule), tmp_path, max_train=4, max_dev=2, max_test=3)
    assert (cut.train, cut.dev, cut.test) == (whole.train[:4], whole.dev[:2], whole.test[:3])
    assert cut.fingerprint != whole.fingerprint
    assert load_task_data(with_rule(rule), tmp_path, max_train=999).fingerprint == whole.fingerprint
    with pytest.raises(ConfigError, match="max_dev is 0"):
        load_task_data(with_rule(rule), tmp_path, max_dev=0)


def test_rows_beyond_a_limit_are_not_parsed(tmp_path: Path) -> None:
    write(tmp_path, train=5, validation=9)
    path = tmp_path / BASE.folder / "train.jsonl"
    path.write_text(path.read_text(encoding="utf-8") + "rubbish\n", encoding="utf-8")
    assert len(load_task_data(with_rule(SMALL), tmp_path, max_train=5).train) == 5
    with pytest.raises(DataError, match="line 6: not JSON"):
        load_task_data(with_rule(SMALL), tmp_path)


def test_the_fingerprint_follows_rows_and_parts_but_not_files(tmp_path: Path) -> None:
    write(tmp_path, train=7, validation=9)
    data = load_task_data(with_rule(SMALL), tmp_path)
    assert load_task_data(with_rule(SMALL), tmp_path, split_seed=1).fingerprint != data.fingerprint
    path = tmp_path / BASE.folder / "train.jsonl"
    (tmp_path / BASE.folder / "train.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    assert load_task_data(with_rule(SMALL), tmp_path).fingerprint == data.fingerprint
    path.write_text(
        gzip.decompress((path.parent / "train.jsonl.gz").read_bytes()).decode().replace("6", "x"), encoding="utf-8"
    )
    (path.parent / "train.jsonl.gz").unlink()
    changed = load_task_data(with_rule(SMALL), tmp_path)
    assert changed.fingerprint != data.fingerprint


def test_a_row_cannot_move_from_one_part_to_another_unseen(tmp_path: Path) -> None:
    write(tmp_path, train=3, validation=2, test=1)
    before = load_task_data(with_rule(OFFICIAL), tmp_path)
    train, validation = (tmp_path / BASE.folder / f"{split}.jsonl" for split in ("train", "validation"))
    *kept, moved = train.read_text(encoding="utf-8").splitlines(keepends=True)
    train.write_text("".join(kept), encoding="utf-8")
    validation.write_text(moved + validation.read_text(encoding="utf-8"), encoding="utf-8")
    assert load_task_data(with_rule(OFFICIAL), tmp_path).fingerprint != before.fingerprint


def test_wrong_rows_name_file_and_line(tmp_path: Path) -> None:
    write(tmp_path, train=3, validation=4)
    path = tmp_path / BASE.folder / "validation.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace('"label": 1', '"label": -1'), encoding="utf-8")
    with pytest.raises(DataError, match=r"validation\.jsonl, line [24]: column 'label' is -1; expected 0 or 1"):
        load_task_data(with_rule(SMALL), tmp_path)


def test_empty_texts_are_counted(tmp_path: Path) -> None:
    write(tmp_path, train=3, validation=4)
    path = tmp_path / BASE.folder / "train.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace('"2"', '" "'), encoding="utf-8")
    assert load_task_data(with_rule(SMALL), tmp_path).counts["empty text"] == 1


def test_generated_task() -> None:
    def generate(split: str, n: int, seed: int = 0, label_coding: str = "glue") -> list[dict[str, Any]]:
        return [{"sentence1": split, "sentence2": f"{seed} {i}", "label": i % 2} for i in range(n)]

    task = replace(BASE, hub=None, split_rule=GENERATED, generator=generate)
    data = load_task_data(task, max_dev=5, generation=Generation({"train": 20}, seed=7))
    assert data.counts == {"train": 20, "dev": 5, "test": 1000, "empty text": 0}
    assert data.dev[4].row_id == "validation:4"
    assert data.dev[4].source == "sentence1: validation sentence2: 7 4"


def write_choices(folder: Path, **sizes: int) -> None:
    """Splits of both parts of ARC, with questions that name their part and number."""
    for name in TASKS["arc"].folders:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for split, size in sizes.items():
            choices = {"label": ["A", "B"], "text": ["yes", "no"]}
            rows = [
                {"question": f"{Path(name).name} {number}", "choices": choices, "answerKey": "B"}
                for number in range(size)
            ]
            (folder / name / f"{split}.jsonl").write_text(
                "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
            )


def test_both_parts_of_arc_are_one_task_and_ids_and_errors_name_the_part(tmp_path: Path) -> None:
    task = replace(TASKS["arc"], official_rows={})
    write_choices(tmp_path, train=3, validation=2, test=1)
    data = load_task_data(task, tmp_path)
    parts = ("arc_easy", "arc_challenge")
    assert ids(data.train) == [f"{part}/train:{number}" for part in parts for number in range(3)]
    assert ids(data.dev) == [f"{part}/validation:{number}" for part in parts for number in range(2)]
    assert ids(data.test) == [f"{part}/test:0" for part in parts]
    for example in data.train:
        part, number = example.row_id.replace("/train", "").split(":")
        assert example.source.startswith(f"arc question: {part} {number} choice1: ")
    assert data.notes == ()
    for limit in (1, 3, 4, 6, 9):
        rows = load_rows(task, "train", tmp_path, limit=limit)
        assert [row.row_id for row in rows] == ids(data.train)[:limit]
        assert rows.complete == (limit > 6)
    (note,) = load_rows(TASKS["arc"], "train", tmp_path).notes
    assert note.startswith("arc: 'train' holds 6 rows, officially 3,370")

    path = tmp_path / "ai2_arc" / "arc_challenge" / "test.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace('"B"}', '"C"}'), encoding="utf-8")
    with pytest.raises(DataError, match=r"arc_challenge/test\.jsonl, line 1: column 'answerKey' is 'C'"):
        load_task_data(task, tmp_path)


def test_arc_without_its_validation_split_carves_from_both_parts_and_says_so(tmp_path: Path) -> None:
    task = replace(TASKS["arc"], official_rows={}, split_rule=replace(TASKS["arc"].split_rule, dev_rows=4))
    write_choices(tmp_path, train=10, test=1)
    data = load_task_data(task, tmp_path)
    assert (len(data.train), len(data.dev)) == (16, 4)
    everything = [f"{part}/train:{number}" for part in ("arc_easy", "arc_challenge") for number in range(10)]
    assert ids(data.dev + data.train) == [everything[number] for number in permutation(20)]
    assert data.notes == ("arc: there is no 'validation'; dev is 4 rows taken from 'train' instead",)


def test_sizes_are_those_of_the_split_rule(tmp_path: Path) -> None:
    write(tmp_path, train=41, validation=11, test=5)
    official = {"train": 41, "validation": 11, "test": 5}
    for rule in (SMALL, CARVE_3, replace(LARGE, max_train=20), OFFICIAL, replace(LARGE, test="test")):
        data = load_task_data(with_rule(rule), tmp_path)
        counts = {part: data.counts[part] for part in ("train", "dev", "test")}
        assert rule.sizes(official) == counts
        assert rule.sizes({"validation": 11}) is None


# --- few-shot draws -------------------------------------------------------------------------------------


def examples_of(targets: list[str]) -> list[TextExample]:
    return [TextExample(f"s{number}", target, (target,), f"train:{number}") for number, target in enumerate(targets)]


TARGETS = st.lists(st.sampled_from("012"), min_size=1, max_size=40)


@given(targets=TARGETS, data=st.data(), seed=st.integers(0, 10), balanced=st.booleans())
def test_few_shot(targets: list[str], data: st.DataObject, seed: int, balanced: bool) -> None:
    examples = examples_of(targets)
    k = data.draw(st.integers(1, len(examples)), "k")
    drawn = draw_few_shot(examples, k, seed, balanced)
    assert len({example.row_id for example in drawn}) == k == len(drawn)
    assert set(drawn) <= set(examples)
    assert drawn == draw_few_shot(examples, k, seed, balanced)
    available = Counter(targets)
    if balanced and k >= len(available):
        counts = Counter(example.target for example in drawn)
        share = k // len(available)
        assert all(counts[target] >= min(share, available[target]) for target in available)
        larger = draw_few_shot(examples, min(k + 3, len(examples)), seed, balanced)
        assert larger[:k] == drawn


def test_few_shot_is_balanced_and_depends_on_the_seed() -> None:
    examples = examples_of(["0"] * 50 + ["1"] * 30 + ["2"] * 20)
    assert Counter(example.target for example in draw_few_shot(examples, 16, 3)).most_common()[0][1] == 6
    assert sorted(Counter(example.target for example in draw_few_shot(examples, 32, 1)).values()) == [
        10,
        11,
        11,
    ]
    assert len({tuple(ids(draw_few_shot(examples, 4, seed))) for seed in range(20)}) == 20
    for k in (0, 101, -1):
        with pytest.raises(ConfigError, match=f"k is {k}; expected from 1 to 100"):
            draw_few_shot(examples, k, 0)


def test_few_shot_of_open_answers_is_a_plain_draw() -> None:
    examples = examples_of(["often"] * 40 + [str(number) for number in range(20)])
    for seed in range(5):
        drawn = draw_few_shot(examples, 8, seed)
        assert drawn == draw_few_shot(examples, 8, seed, balanced=False)
        assert Counter(example.target for example in drawn)["often"] > 1


def test_few_shot_draws_are_fair() -> None:
    examples = examples_of(["0"] * 6 + ["1"] * 3)
    drawn = Counter(example.row_id for seed in range(600) for example in draw_few_shot(examples, 4, seed))
    # two of each target: each "0" is drawn with probability 2/6, each "1" with 2/3
    assert all(abs(drawn[f"train:{number}"] - 600 * (1 / 3 if number < 6 else 2 / 3)) < 60 for number in range(9))


def test_the_permutation_is_recorded() -> None:
    # first numbers of torch.randperm(277) with seed 42: if they change, all splits of the study change
    assert permutation(277)[:4] == [207, 84, 253, 243]


# --- real rows ------------------------------------------------------------------------------------------

GOLDEN = {
    "sst2": (66_349, 1_000, 872),
    "cola": (8_551, 521, 522),
    "mrpc": (3_668, 204, 204),
    "rte": (2_490, 138, 139),
    "stsb": (5_749, 750, 750),
    "cb": (250, 28, 28),
    # partial copies: the sizes are those of the rows at hand
    "qqp": (8_999, 1_000, 22_869),
    "qnli": (8_999, 1_000, 5_463),
    "mnli": (8_999, 1_000, 9_815),
    "boolq": (189, 1_635, 1_635),
    "squad": (4_010, 1_000, 10_507),
    "hotpotqa": (256, 28, 281),
    "winogrande": (9_234, 1_000, 1_267),
    "ag_news": (5_001, 1_000, 7_600),
    "wsc": (554, 52, 52),
    "multirc": (27_243, 2_424, 2_424),
    "openbookqa": (4_957, 500, 500),
    "arc": (2_501, 869, 3_548),  # without its validation split
}
COMPLETE = ("sst2", "cola", "mrpc", "rte", "stsb", "cb", "wsc", "multirc", "openbookqa")


@pytest.mark.parametrize("name", GOLDEN)
def test_real_rows(name: str) -> None:
    task = TASKS[name]
    if not (REAL / task.folder).is_dir():
        pytest.skip(f"no real rows in {REAL} (set MULTIPROMPT_SHARED to a folder that holds data/{task.folder})")
    data: TaskData = load_task_data(task, REAL)
    parts = (data.train, data.dev, data.test)
    assert tuple(map(len, parts)) == GOLDEN[name]
    assert bool(data.notes) == (name not in COMPLETE)
    assert data.counts["empty text"] == (3 if name == "multirc" else 0)  # three answers are empty in the release
    row_ids = [row_id for part in parts for row_id in ids(part)]
    assert len(set(row_ids)) == len(row_ids)
    targets = {example.target for part in parts for example in part}
    if task.labels is not None:
        assert targets == set(task.labels)
    elif name == "stsb":
        assert targets == {f"{step / 5:.1f}" for step in range(26)}
        scores = [task.answer.read(row.values) for row in load_rows(task, "train", REAL)]
        assert sum(abs(5 * score - round(5 * score)) > 1e-6 for score in scores) == 682  # off the grid of 0.2
    for part in parts:
        for example in part[:500]:
            assert task.is_valid(example.target)
            assert example.source.startswith(f"{task.prefix} ")
            assert example.references[0] == example.target


def test_rows_of_several_answers_become_several_training_examples_after_the_split(tmp_path: Path) -> None:
    task = replace(TASKS["record"], split_rule=CARVE_3, official_rows={})
    folder = tmp_path / task.folder
    folder.mkdir(parents=True)
    answers = [["a", "b", "a", "c"] if number % 2 else ["d"] for number in range(12)]
    rows = [{"passage": "p", "query": str(n), "entities": ["a"], "answers": each} for n, each in enumerate(answers)]
    for split in ("train", "validation"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    data = load_task_data(task, tmp_path)
    kept = permutation(12)[3:]
    expected = [
        (f"train:{number}" + (f".{copy}" if copy > 1 else ""), answer)
        for number in kept
        for copy, answer in enumerate(dict.fromkeys(answers[number]), start=1)
    ]
    assert [(example.row_id, example.target) for example in data.train] == expected
    assert all(set(e.references) == set(answers[int(e.row_id[6:].split(".")[0])]) for e in data.train)
    # One example for each query where it is scored.
    assert ids(data.dev) == [f"train:{number}" for number in permutation(12)[:3]]
    assert ids(data.test) == all_ids("validation", 12)
    assert data.test[1].references == ("a", "b", "c")
    # A limit counts rows, so that it keeps queries whole.
    limited = load_task_data(task, tmp_path, max_train=2)
    assert {e.row_id.split(".")[0] for e in limited.train} == {f"train:{number}" for number in kept[:2]}


def questions(folder: Path, *, answers_of: int = 3, idx: bool = True) -> Path:
    """A data folder with MultiRC rows, ``answers_of`` to a question."""
    (folder / "super_glue" / "multirc").mkdir(parents=True)
    for split in ("train", "validation"):
        rows = [
            {"paragraph": "p", "question": "q", "answer": str(n), "label": n % 2}
            | ({"idx": {"paragraph": 0, "question": n // answers_of, "answer": n}} if idx or split == "train" else {})
            for n in range(12)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "super_glue" / "multirc" / f"{split}.jsonl").write_text(text, encoding="utf-8")
    return folder


def test_scored_rows_have_a_group_and_its_fingerprint(tmp_path: Path) -> None:
    task = replace(TASKS["multirc"], official_rows={})
    threes, fours = questions(tmp_path / "threes"), questions(tmp_path / "fours", answers_of=4)
    data = load_task_data(task, threes)
    assert {example.group for example in data.train} == {None}
    for example in (*data.dev, *data.test):
        assert example.group == f"paragraph 0, question {int(example.row_id.split(':')[1]) // 3}"
    # the same texts put to other questions are other data, but only where a metric depends on that
    assert load_task_data(task, fours).fingerprint != data.fingerprint
    plain = replace(task, metrics=("f1",), group=None)
    assert load_task_data(plain, fours).fingerprint == load_task_data(plain, threes).fingerprint
    without = questions(tmp_path / "without", idx=False)
    with pytest.raises(DataError, match=r"validation.jsonl, line \d+: column 'idx' is missing"):
        load_task_data(task, without)
    assert load_task_data(plain, without).counts["test"] == 6


@pytest.mark.parametrize(
    ("ending", "form"),
    [("csv", {}), ("tsv", {"delimiter": "\t", "quoting": csv.QUOTE_NONE, "quotechar": None})],
)
def test_the_group_in_a_cell_of_a_text_file(tmp_path: Path, ending: str, form: dict[str, Any]) -> None:
    task = replace(TASKS["multirc"], official_rows={})
    folder = questions(tmp_path / "data")
    expected = load_task_data(task, folder)
    paths = list((folder / "super_glue" / "multirc").glob("*.jsonl"))
    assert len(paths) == 2
    for path in paths:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        with path.with_suffix(f".{ending}").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n", **form)
            writer.writerow(rows[0])
            writer.writerows([json.dumps(row["idx"]) if c == "idx" else row[c] for c in row] for row in rows)
        path.unlink()
    loaded = load_task_data(task, folder)
    assert loaded.fingerprint == expected.fingerprint
    assert [example.group for example in loaded.test] == [example.group for example in expected.test]
