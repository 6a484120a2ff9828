"""A user's own task: from a file to examples, and what is said about a file that is wrong."""

from __future__ import annotations

import csv
import gzip
import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from multiprompt.analysis.contents import inspect_prompt
from multiprompt.analysis.transfer import _targets
from multiprompt.config import build_experiment, load_experiment, load_task_file, to_plain, to_yaml
from multiprompt.data import load_task_data
from multiprompt.data.splits import permutation
from multiprompt.definition import LabelDefinition, ScoreDefinition, SplitDefinition, TaskDefinition
from multiprompt.errors import ConfigError, DataError, UnknownNameError
from multiprompt.evaluation.baselines import Baselines
from multiprompt.evaluation.results import read_results
from multiprompt.evaluation.scoring import dev_score, evaluate_answers
from multiprompt.forecast.hours import costs_of
from multiprompt.options import DataOptions, method_records
from multiprompt.plan import plan_stages
from multiprompt.recipes import load_task
from multiprompt.reports import write_report
from multiprompt.runs import open_run, run_experiment
from multiprompt.runs.graph import build_graph, other_inputs
from multiprompt.runs.materials import load_materials
from multiprompt.runs.ray_worker import Order, config_digest, fulfil
from multiprompt.runs.stage_folder import identity_of
from multiprompt.studies.study_definition import experiments_of, load_study
from multiprompt.tasks import SPLIT_RULES, TRAIN_ONLY, SplitRule, make_task
from multiprompt.training import SILENT

REVIEWS: dict[str, Any] = {
    "name": "reviews",
    "source": "sentence: {text}",
    "label": {"column": "stars", "words": {1: "bad", 5: "good"}},
    "split": {"kind": "train-only", "dev_rows": 5, "test_rows": 8},
    "files": {"train": "reviews.csv"},
}


def write_reviews(path: Path, rows: int = 40) -> None:
    generator = random.Random(0)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "stars"])
        writer.writerows([f"meal {number}, with soup", generator.choice("15")] for number in range(rows))


def write_task(folder: Path, file: str = "task.yaml", /, **changes: Any) -> Path:
    """The task of reviews with changes; None takes a key away."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "reviews.csv").exists():
        write_reviews(folder / "reviews.csv")
    values = {key: value for key, value in (REVIEWS | changes).items() if value is not None}
    (folder / file).write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    return folder / file


def problems(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_task_file(path)
    first, *lines = str(caught.value).splitlines()
    assert first == f"{path} has {len(lines)} problem{'s' * (len(lines) > 1)}:"
    return [line.removeprefix("  - ") for line in lines]


# --- good files ------------------------------------------------------------------------------------------


def test_a_csv_becomes_a_task(tmp_path: Path) -> None:
    task = make_task(load_task_file(write_task(tmp_path / "a folder")))
    data = load_task_data(task)
    assert {part: data.counts[part] for part in ("train", "dev", "test")} == {"train": 27, "dev": 5, "test": 8}
    order = permutation(40)
    assert [e.row_id for e in data.dev + data.test + data.train] == [f"train:{number}" for number in order]
    example = data.train[0]
    assert example.source == f"reviews sentence: meal {order[13]}, with soup"
    assert {e.target for e in data.train} == {"good", "bad"}
    assert (task.metrics, task.reported, task.labels) == (("accuracy",), "accuracy", ("bad", "good"))
    assert [task.to_label(text) for text in ("bad", " good", "5", "")] == [0, 1, None, None]
    assert data.notes == ()


def test_toml_says_the_same(tmp_path: Path) -> None:
    path = write_task(tmp_path)
    toml = tmp_path / "task.toml"
    toml.write_text(
        'name = "reviews"\nsource = "sentence: {text}"\nlabel = {column = "stars", words = {1 = "bad", 5 = "good"}}\n'
        'split = {kind = "train-only", dev_rows = 5, test_rows = 8}\nfiles = {train = "reviews.csv"}\n',
        encoding="utf-8",
    )
    one, other = (load_task_data(make_task(load_task_file(each))) for each in (path, toml))
    assert (one.train, one.fingerprint) == (other.train, other.fingerprint)


def test_answers_scores_and_official_splits(tmp_path: Path) -> None:
    rows = [{"q": "Who?", "a": ["Bo", "Bob"], "points": 7}, {"q": "Who?", "a": ["Al"], "points": 10}]
    for split in ("train", "validation", "test"):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{split}.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    files = {split: f"{split}.jsonl.gz" for split in ("train", "validation", "test")}
    common = {"label": None, "split": "official", "files": files, "prefix": "", "source": "{q}"}
    answers = make_task(load_task_file(write_task(tmp_path, **common, answer="a", gather=True)))
    data = load_task_data(answers)
    assert [(e.source, e.target, e.references) for e in data.train] == [
        ("Who?", "Bo", ("Bo", "Bob")),
        ("Who?", "Al", ("Al",)),
    ]
    assert [(e.references, e.row_id) for e in data.test] == [(("Bo", "Bob", "Al"), "test:0")]
    assert (answers.metrics, answers.max_target_length, answers.generation_length) == (
        ("qa_f1", "exact_match"),
        128,
        128,
    )

    score = {"column": "points", "low": 1, "high": 10, "step": 1}
    scores = make_task(load_task_file(write_task(tmp_path, **common, score=score)))
    assert [e.target for e in load_task_data(scores).train] == ["7.0", "10.0"]
    assert [scores.to_label(text) for text in ("7", "0.5", "11", "x")] == [7.0, None, None, None]
    assert [scores.is_valid(text) for text in ("7", "0.5")] == [True, False]
    (tmp_path / "train.jsonl.gz").write_bytes(gzip.compress(b'{"q": "Who?", "a": "x", "points": 11}\n'))
    with pytest.raises(DataError, match=r"train\.jsonl\.gz, line 1: column 'points' is 11; expected .* from 1 to 10"):
        load_task_data(scores)


def test_a_task_of_the_hub() -> None:
    task = make_task(
        TaskDefinition(
            name="mine",
            source="{text}",
            label=LabelDefinition("label", ("no", "yes")),
            split="large",
            hub=build_experiment(
                {"name": "x", "source": {"tasks": ["rte", "cb"]}, "tasks": {"mine": {"hub": {"path": "me/mine"}}}}
            )
            .tasks["mine"]
            .hub,
            version=3,
        )
    )
    assert task.hub is not None
    assert (task.hub.path, task.folder, task.version, task.split_rule.name) == ("me/mine", "mine", 3, "large")


@given(
    word=st.text(st.characters(exclude_categories=("Cs",)), min_size=1).filter(lambda word: word == word.strip()),
    other=st.sampled_from(["yes", "1", "é"]),
    text=st.text(),
)
def test_any_words_invert_and_any_text_is_formatted(word: str, other: str, text: str) -> None:
    if word == other:
        return
    definition = TaskDefinition(
        name="mine",
        source="a {text} b {{",
        label=LabelDefinition("label", {"x": word, 7: other}),
        split="train-only",
        files={"train": "x.csv"},
    )
    task = make_task(definition)
    for value, expected in (("x", word), (7, other), ("7", other)):
        example = task.example({"text": text, "label": value}, "train:0", where="x")
        assert (example.source, example.target) == (f"mine a {text} b {{", expected)
        assert task.labels is not None
        assert task.labels[task.to_label(example.target)] == expected  # type: ignore[index]


@given(rows=st.integers(3, 60), dev=st.integers(1, 12), test=st.integers(1, 12), cap=st.none() | st.integers(1, 50))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_rule_train_only_is_disjoint_and_complete(
    rows: int, dev: int, test: int, cap: int | None, tmp_path: Path
) -> None:
    write_reviews(tmp_path / "reviews.csv", rows)
    split = SplitDefinition("train-only", dev_rows=dev, test_rows=test, max_train=cap)
    values = {key: value for key, value in REVIEWS.items() if key not in ("label", "split", "files")}
    files = {"train": str(tmp_path / "reviews.csv")}
    label = LabelDefinition("stars", {1: "bad", 5: "good"})
    task = make_task(TaskDefinition(**values, label=label, split=split, files=files))
    data = load_task_data(task)
    kept = [e.row_id for e in data.dev + data.test + data.train]
    assert len(set(kept)) == len(kept)
    expected = (dev, test) if rows >= 2 * (dev + test) else (max(1, rows // 10),) * 2
    assert (len(data.dev), len(data.test)) == expected
    assert bool(data.notes) == (expected != (dev, test))
    assert len(data.train) == min(rows - sum(expected), cap or rows)
    assert task.split_rule.sizes({"train": rows}) == {part: data.counts[part] for part in ("train", "dev", "test")}
    if cap is None:
        assert set(kept) == {f"train:{number}" for number in range(rows)}


def test_a_rule_by_name_is_the_registered_one() -> None:
    assert SPLIT_RULES["train-only"] is TRAIN_ONLY
    with pytest.raises(ConfigError, match="dev='validation'"):
        SplitRule("mine", "train-only", dev="validation", test="train")


# --- wrong files ------------------------------------------------------------------------------------------


def test_all_problems_of_a_file_come_together(tmp_path: Path) -> None:
    path = write_task(
        tmp_path,
        name="rte",
        source=None,
        sorce="sentence: {text}",
        label={"columm": "stars", "words": {True: "bad", 5: "good"}},
        metrics=["acuracy", "f1"],
        reported="f2",
        split={"kind": "train-olny", "dev_rows": "many"},
        files={"train": "reviews.xls", "validation": "nowhere.csv"},
        beams=0,
        max_source_length="long",
    )
    found = problems(path)
    for expected in (
        "sorce is not a key (value 'sentence: {text}'); did you mean 'source'?",
        "label.columm is not a key (value 'stars'); did you mean 'column'?",
        "split.kind is 'train-olny': input should be 'halves', 'carve', 'official' or 'train-only'; "
        "did you mean 'train-only'?",
        "split.dev_rows is 'many': input should be a valid integer, unable to parse string as an integer",
        "max_source_length is 'long': input should be a valid integer, unable to parse string as an integer",
        "name is 'rte', a task that is there already; choose another one",
        "source is missing; expected a text with names of columns in braces, such as 'review: {text}'",
        "label.column is missing",
        "label.words holds True: YAML reads yes, no, on, off, true and false as truth values; put the word in quotes",
        "metrics: unknown metric 'acuracy'; did you mean 'accuracy'?",
        "reported: unknown metric among the metrics of the task 'f2'; did you mean 'f1'?",
        "beams is 0; expected 1 or more",
        f"files.validation: {tmp_path}/nowhere.csv does not exist",
    ):
        assert expected in found
    assert any(line.startswith("files.train is 'reviews.xls'; expected a file that ends in jsonl.gz") for line in found)
    assert len(found) == 15


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": None}, "name is missing"),
        ({"name": "a/b"}, "name is 'a/b'; expected letters, digits, '_', '-' and '.' (folders are named after it)"),
        ({"name": "mine.yaml"}, "name is 'mine.yaml'; expected letters"),
        ({"source": "no column"}, "source is 'no column', which names no column"),
        ({"source": "{ }"}, "source: the template '{ }' holds { }; expected a column's name"),
        ({"source": "{text:>9}"}, "source: the template '{text:>9}' holds {text:>9}; expected a column's name"),
        ({"source": 3}, "source is 3: input should be a valid string"),
        ({"label": None}, "one of label, answer and score says what the answer is; there is none"),
        ({"answer": "x"}, "one of label, answer and score says what the answer is; there is label and answer"),
        ({"label": {"column": "stars"}}, "label: the label words are (); expected two or more"),
        ({"label": {"column": "stars", "words": ["a", "a"]}}, "label: the label words are ('a', 'a')"),
        ({"label": {"column": "stars", "words": "ab"}}, "label.words is 'ab': "),
        ({"label": {"column": "stars", "words": ["a", 1.5]}}, "label.words.1 is 1.5: "),
        ({"label": None, "score": {"column": "s", "step": 0.3}}, "score: step is 0.3; expected 0.1, 0.2, 0.5 or 1"),
        ({"label": None, "score": {"column": "s", "low": 9}}, "score: low is 9 and high is 5; expected 0 or more"),
        ({"label": None, "answer": ""}, "answer is empty; expected the name of a column"),
        ({"label": {"column": "stars", "words": ["a", "b", "c"]}, "metrics": ["f1"]}, "the metric 'f1' needs 2"),
        ({"label": None, "answer": "stars", "metrics": ["matthews"]}, "metrics: the metric 'matthews' needs"),
        ({"metrics": ["question_exact_match"]}, "metrics: the metric 'question_exact_match' judges groups"),
        ({"label": None, "answer": "stars", "metrics": ["ter"]}, "reported is 'ter', a rate of errors"),
        ({"metrics": "accuracy"}, "metrics is 'accuracy': "),
        ({"split": None}, "split is missing; expected the name of a split rule (small, large, "),
        ({"split": "offical"}, "split: unknown split rule 'offical'; did you mean 'official'?"),
        ({"split": "generated"}, "split: 'generated' is for tasks that make their rows themselves"),
        ({"split": 3}, "split is 3: "),
        ({"split": {"kind": "carve", "dev": "validation"}}, "split: the split rule 'carve' has dev='validation'"),
        ({"split": {"kind": "train-only", "test_rows": 0}}, "split: test_rows is 0; expected 1 or more"),
        ({"split": {"kind": "train-only", "test": "test"}}, "split: test is 'test', but the kind train-only takes"),
        ({"split": "large"}, "files.validation is missing: the split rule 'large' reads train, validation"),
        ({"files": {"train": "reviews.csv", "trian": "reviews.csv"}}, "files: unknown split for the rule 'train-only'"),
        ({"files": {"train": "gone.csv"}}, "gone.csv does not exist"),
        ({"files": None}, "rows come from files or from hub; there is neither"),
        ({"hub": {"path": "me/mine"}}, "rows come from files or from hub; there is both"),
        ({"files": None, "hub": {"config": "x"}}, "hub.path is missing; expected owner/name"),
        ({"max_target_length": 1}, "max_target_length is 1; expected 2 or more"),
    ],
)  # fmt: skip
def test_one_problem(changes: dict[str, Any], problem: str, tmp_path: Path) -> None:
    found = problems(write_task(tmp_path, **changes))
    assert len(found) == 1
    assert problem in found[0]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.yaml", "name: [", "t.yaml is not YAML"),
        ("t.toml", "name = ", "t.toml is not TOML"),
        ("t.yaml", "- a", "t.yaml holds list; expected keys such as name, source, label and files"),
        ("t.yaml", None, "cannot read the configuration"),
    ],
)
def test_files_that_hold_no_task(name: str, text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_task_file(tmp_path / name)


def test_wrong_rows_name_file_line_and_column(tmp_path: Path) -> None:
    path = write_task(tmp_path)
    (tmp_path / "reviews.csv").write_text('text,stars\n"two\nlines",5\nfine,3\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"reviews\.csv, line 4: column 'stars' is '3'; expected 1 or 5 "):
        load_task_data(make_task(load_task_file(path)))
    (tmp_path / "reviews.csv").write_text("txt,stars\nfine,1\nfine,1\nfine,1\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"reviews\.csv, line \d: column 'text' is missing; task 'reviews' needs text"):
        load_task_data(make_task(load_task_file(path)))


# --- in experiments ------------------------------------------------------------------------------------------


def write_experiment(folder: Path, backbone: Path, **changes: Any) -> Path:
    values: dict[str, Any] = {
        "name": "own",
        "backbone": {"name": str(backbone)},
        "prompt": {"length": 3},
        "targets": {
            "tasks": ["tasks/task.yaml"],
            "methods": {"prompt_tuning": {}},
            "training": {"steps": 2, "batch_size": 4},
        },
    }
    (folder / "experiment.yaml").write_text(yaml.safe_dump(values | changes), encoding="utf-8")
    return folder / "experiment.yaml"


def test_paths_are_relative_to_the_experiment_and_those_of_overrides_to_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_task(tmp_path / "tasks")
    write_task(tmp_path / "elsewhere", "other.yml", name="other")
    path = write_experiment(tmp_path, tmp_path)
    monkeypatch.chdir(tmp_path / "elsewhere")
    experiment = load_experiment(path)
    assert experiment.targets is not None
    assert (experiment.targets.tasks, list(experiment.tasks)) == (("reviews",), ["reviews"])
    assert experiment.tasks["reviews"].files == {"train": str(tmp_path / "tasks" / "reviews.csv")}
    changed = load_experiment(path, ["targets.tasks=[other.yml, reviews, mini-rte]"])
    assert changed.targets is not None
    assert (changed.targets.tasks, list(changed.tasks)) == (("other", "reviews", "mini-rte"), ["reviews", "other"])
    (tmp_path / "resolved.yaml").write_text(to_yaml(experiment), encoding="utf-8")
    assert load_experiment(tmp_path / "resolved.yaml") == experiment
    assert build_experiment(to_plain(experiment)) == experiment


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    write_task(tmp_path / "tasks")
    write_task(tmp_path / "tasks", "other.yaml", prefix="x")
    targets = {"tasks": ["tasks/task.yaml", "tasks/other.yaml"], "methods": {"prompt_tuning": {}}}
    with pytest.raises(ConfigError, match=r"targets.tasks: \S*tasks/other.yaml is a second task named 'reviews'"):
        load_experiment(write_experiment(tmp_path, tmp_path, targets=targets))


def test_a_run_holds_all_that_it_needs(tiny_folder: Path, tmp_path: Path) -> None:
    task = write_task(tmp_path / "tasks")
    experiment = load_experiment(write_experiment(tmp_path, tiny_folder))
    folder = tmp_path / "run"
    run_experiment(experiment, folder)
    assert [each.name for each in (folder / "seed-42").iterdir()] == ["target-reviews-prompt_tuning-all"]
    assert (folder / "seed-42" / "target-reviews-prompt_tuning-all" / "predictions-reviews.jsonl").exists()
    (score,) = read_results(folder / "results.json")[1]
    assert (score.task, score.n) == ("reviews", 8)

    # A file that is changed, or gone, changes nothing for a run that was made with it.
    task.write_text(
        task.read_text(encoding="utf-8").replace("bad", "worse").replace("sentence: ", ""), encoding="utf-8"
    )
    (again,) = open_run(folder).evaluate()
    assert (again.metrics, again.fingerprint) == (score.metrics, score.fingerprint)
    task.unlink()
    assert open_run(folder).evaluate(tasks=["reviews"])[0].metrics == score.metrics
    assert len(open_run(folder).answer("reviews", ["reviews sentence: x"])) == 1


def test_every_method_is_trained_scored_and_used_again_on_tasks_of_ones_own(tiny_folder: Path, tmp_path: Path) -> None:
    """A shipped task stands nowhere: a name that is looked up without the run's own definitions is not found."""
    write_task(tmp_path / "tasks", generation_length=2)
    write_task(tmp_path / "tasks", "other.yaml", name="other", prefix="", max_source_length=20, generation_length=2)
    sources = ["tasks/task.yaml", "tasks/other.yaml"]
    methods: dict[str, Any] = {record.name: {} for record in method_records()}
    for name in ("fine_tuning", "adapters", "hyperformer"):
        methods[name] = {"source_tasks": sources}
    methods["adapters"]["nearest"] = {"tasks/other.yaml": "tasks/task.yaml"}
    methods["spot"] = {"start": "tasks/other.yaml"}
    training = {"steps": 1, "batch_size": 4, "select": "last"}
    path = write_experiment(
        tmp_path,
        tiny_folder,
        data={"max_train": 8, "max_dev": 1, "max_test": 2},
        teachers={"training": training},
        source={"tasks": sources, "training": training},
        targets={"tasks": sources[1:], "methods": methods, "training": training},
    )
    (tmp_path / "tasks" / "task.yaml").rename(tmp_path / "tasks" / "kept")
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        load_experiment(path)
    (tmp_path / "tasks" / "kept").rename(tmp_path / "tasks" / "task.yaml")
    experiment = load_experiment(path)
    assert list(experiment.tasks) == ["reviews", "other"]
    run = tmp_path / "run"
    run_experiment(experiment, run)
    scores = read_results(run / "results.json")[1]
    assert {s.method for s in scores if s.task == "other"} >= set(methods)
    assert [s.metrics for s in open_run(run).evaluate()] == [s.metrics for s in scores]
    texts = [example.source for example in load_task_data(make_task(experiment.tasks["other"]), max_test=2).test]
    for method in methods:
        stored = (run / "seed-42" / f"target-other-{method}-all" / "predictions-other.jsonl").read_text(
            encoding="utf-8"
        )
        expected = [json.loads(line)["prediction"] for line in stored.splitlines()]
        assert open_run(run).answer("other", texts, method=method) == expected, method
    # The path of the file stands for the name here too.
    other = str(tmp_path / "tasks" / "other.yaml")
    assert open_run(run).answer(other, texts) == open_run(run).answer("other", texts)
    assert inspect_prompt(run, "source", other).task == "other"


def test_the_path_of_a_task_stands_wherever_its_name_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_task(tmp_path)
    monkeypatch.chdir(tmp_path)
    study = load_study("table6", "mini")
    changes = ["targets.tasks=[task.yaml]", "source.tasks=[task.yaml, mini-rte]"]
    for experiment in experiments_of("table6", study, "mini", changes).values():
        assert experiment.targets is not None
        assert experiment.targets.tasks == ("reviews",)
        with pytest.raises(ConfigError, match="the size of task 'reviews' is not known"):
            costs_of(experiment)
    other = build_experiment({"name": "x", "targets": {"tasks": ["rte"], "methods": {"lora": {}}}})
    with pytest.raises(UnknownNameError, match="unknown target task of this run 'reviews'"):
        _targets(other, 42, ["task.yaml"])


def test_a_stage_depends_on_the_texts_of_its_task(tiny_folder: Path, tmp_path: Path) -> None:
    task = write_task(tmp_path / "tasks")
    path = write_experiment(tmp_path, tiny_folder)

    def identity(name: str) -> str:
        run_experiment(load_experiment(path), tmp_path / name)
        result = tmp_path / name / "seed-42" / "target-reviews-prompt_tuning-all" / "result.json"
        return json.loads(result.read_text(encoding="utf-8"))["identity"]

    first = identity("one")
    assert identity("same") == first
    task.write_text(task.read_text(encoding="utf-8").replace("sentence: ", "review: "), encoding="utf-8")
    assert identity("other") != first


def test_rows_that_change_make_a_stage_anew_and_set_the_old_one_aside(tiny_folder: Path, tmp_path: Path) -> None:
    write_task(tmp_path / "tasks")
    experiment, folder = load_experiment(write_experiment(tmp_path, tiny_folder)), tmp_path / "run"
    run_experiment(experiment, folder)
    rows = tmp_path / "tasks" / "reviews.csv"
    before = rows.read_text(encoding="utf-8")
    rows.write_text(before.replace("soup", "salad"), encoding="utf-8")
    run_experiment(experiment, folder, resume=True)
    prints = [score.fingerprint for score in read_results(folder / "results.json")[1]]
    assert len(list((folder / "set-aside" / "seed-42").iterdir())) == 1
    rows.write_text(before, encoding="utf-8")
    run_experiment(experiment, folder, resume=True)
    assert [score.fingerprint for score in read_results(folder / "results.json")[1]] != prints
    assert len(list((folder / "set-aside" / "seed-42").iterdir())) == 1


def test_a_path_works_from_python(tiny_backbone: Any, tmp_path: Path) -> None:
    path = write_task(tmp_path, gather=False)
    task = load_task(str(path), tiny_backbone, DataOptions(max_train=3))
    assert (task.name, len(task.train), len(task.test)) == ("reviews", 3, 8)
    wrong = replace(load_task_file(path), score=ScoreDefinition("x"))
    with pytest.raises(ConfigError, match="the task 'reviews' has 1 problem"):
        make_task(wrong)


# --- metrics of one's own ---------------------------------------------------------------------------------

METRIC = """\
def right(predictions, references):
    return 100 * sum(p in r for p, r in zip(predictions, references)) / len(predictions)


def first_letter(predictions, references):
    assert all(isinstance(each, list) for each in references)
    return 7 + sum(p[:1] == r[0][:1] for p, r in zip(predictions, references)) / len(predictions)
"""


def write_metric(folder: Path, text: str = METRIC) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mine.py").write_text(text, encoding="utf-8")
    return folder / "mine.py"


def test_a_metric_of_ones_own_is_computed_as_those_of_the_package(tmp_path: Path) -> None:
    write_metric(tmp_path)
    metrics = ["accuracy", "mine.py:right", "mine.py:first_letter"]
    task = make_task(load_task_file(write_task(tmp_path, metrics=metrics)))
    assert (task.metrics, task.reported) == (("accuracy", "right", "first_letter"), "accuracy")
    examples = load_task_data(task).test
    predictions = ["good" if number % 3 else " bad " for number in range(len(examples))]
    train = Baselines.of(task, load_task_data(task).train)
    found = evaluate_answers(task, examples, predictions, train)
    assert found.metrics["right"] == found.metrics["accuracy"]
    assert found.metrics["first_letter"] == pytest.approx(7 + found.metrics["accuracy"] / 100)
    low, high = found.intervals["right"]
    assert 0 <= low < found.metrics["right"] < high <= 100
    by_own = evaluate_answers(replace(task, reported="right"), examples, predictions, train)
    assert (by_own.value, by_own.majority, by_own.interval) == (found.value, found.majority, (low, high))
    assert dev_score(replace(task, reported="first_letter"), examples, predictions) == found.metrics["first_letter"]


def test_a_metric_of_ones_own_chooses_checkpoints_and_is_stored(tiny_folder: Path, tmp_path: Path) -> None:
    file = write_metric(tmp_path / "tasks", "def constant(predictions, references):\n    return 42.5\n")
    write_task(tmp_path / "tasks", metrics=["mine.py:constant", "accuracy"])
    experiment = load_experiment(write_experiment(tmp_path, tiny_folder))
    assert experiment.tasks["reviews"].metrics == (f"{file}:constant", "accuracy")
    run = tmp_path / "run"
    run_experiment(experiment, run)
    (score,) = read_results(run / "results.json")[1]
    assert (score.metric, score.value, score.dev_value, score.majority) == ("constant", 42.5, 42.5, 42.5)
    assert list(score.metrics) == ["constant", "accuracy"]
    assert "constant" in write_report(run).read_text(encoding="utf-8")
    stage = run / "seed-42" / "target-reviews-prompt_tuning-all"
    before = identity_of(stage)
    stages = plan_stages(experiment)
    inputs = load_materials(experiment, stages, SILENT)
    node = build_graph(inputs, [42], stages)
    shutil.rmtree(stage)  # and a worker makes it again, by the configuration in the run's folder
    report = fulfil(Order(run, str(config_digest(run)), list(node.values()), torch.get_num_threads(), tmp_path))
    assert report.error is None
    assert [each.value for each in report.scores["seed-42/target-reviews-prompt_tuning-all"]] == [42.5]
    assert [other_inputs(inputs, each) for each in node.values()] == [[]]
    file.write_text("def constant(predictions, references):\n    return 43.5\n", encoding="utf-8")
    assert open_run(run).evaluate()[0].value == 43.5
    assert [other_inputs(inputs, each) for each in node.values()] == [["the metrics of your own"]]
    run_experiment(experiment, run, resume=True)
    assert read_results(run / "results.json")[1][0].dev_value == 43.5
    assert identity_of(stage) != before
    file.unlink()
    assert len(open_run(run).answer("reviews", ["x"])) == 1, "answers need no metric"
    with pytest.raises(ConfigError, match=r"the file of the metric 'constant', .*mine\.py, does not exist"):
        open_run(run).evaluate()


@pytest.mark.parametrize(
    ("text", "metric", "problem"),
    [
        (METRIC, "mine.py:wrong", "mine.py has no function 'wrong'; it has first_letter, right"),
        (METRIC, "mine.py", "mine.py is a file; name the function in it too, as in mine.py:my_function"),
        (METRIC, "gone.py:right", "gone.py, does not exist"),
        ("import nothing_of_the_kind", "mine.py:right", "cannot be run: ModuleNotFoundError: No module named"),
        ("def right(predictions): return 1", "mine.py:right", "fails on 2 examples: TypeError: right() takes 1"),
        ("def right(p, r): return 'much'", "mine.py:right", "fails on 2 examples: ValueError: could not convert"),
        ("def right(p, r): return float('nan')", "mine.py:right", "gives nan on 2 examples; expected a finite number"),
        ("def accuracy(p, r): return 1", "mine.py:accuracy", "has the name of a metric that is there already"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_metric_of_ones_own(text: str, metric: str, problem: str, tmp_path: Path) -> None:
    write_metric(tmp_path, text)
    (found,) = problems(write_task(tmp_path, metrics=[metric]))
    assert problem in found


def test_the_file_of_a_metric_is_run_only_where_a_task_names_it(tiny_backbone: Any, tmp_path: Path) -> None:
    """And before anything is trained."""
    write_metric(tmp_path, "raise SystemError('run')")
    load_task_file(write_task(tmp_path))
    with pytest.raises(ConfigError, match="SystemError: run"):
        load_task_file(write_task(tmp_path, metrics=["mine.py:right"]))
    definition = replace(load_task_file(write_task(tmp_path)), metrics=(f"{tmp_path}/mine.py:right",))
    make_task(definition)
    with pytest.raises(ConfigError, match="SystemError: run"):
        load_task("reviews", tiny_backbone, own={"reviews": definition})
