"""``multiprompt init``: what it finds in files of rows, what it writes, and that the written experiment runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from multiprompt.cli import init
from multiprompt.cli.main import app
from multiprompt.config import load_task_file
from multiprompt.data import load_task_data
from multiprompt.evaluation.results import read_results
from multiprompt.tasks import make_task


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def call(*arguments, **options):
    return CliRunner().invoke(app, list(map(str, arguments)), **options)


def write_csv(path: str, answers=("good", "very bad"), rows: int = 24) -> None:
    lines = [f"{n},meal {n} was fine,{n * 3},{answers[n % len(answers)]}" for n in range(rows)]
    Path(path).write_text("id,review text,price,Stars\n" + "\n".join(lines) + "\n", encoding="utf-8")


def write_lines(path: str, rows) -> None:
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def written(name: str):
    """The task, and its data, as the files say."""
    task = make_task(load_task_file(Path(name)))
    return task, load_task_data(task)


def test_an_experiment_is_written_that_runs_as_it_is(tiny_folder):
    Path("data").mkdir()
    write_csv("data/my reviews.csv")
    result = call("init", "data/my reviews.csv", "--out", "tasks")
    assert result.exit_code == 0, result.output
    assert "answer: Stars, one of good (12), very bad (12)" in result.stdout
    for note in (
        "column of the answer: Stars (guessed)",
        "not in the source: id (numbers)",
        "not in the source: price (numbers)",
        "source: review text: {review text} (guessed)",
        "words of the answers: good, very bad (guessed)",
    ):
        assert f"note: {note}\n" in result.stderr
    task, data = written("tasks/my-reviews.yaml")
    assert (task.name, task.labels, task.max_target_length) == ("my-reviews", ("good", "very bad"), 9)
    assert data.counts == {"train": 16, "dev": 4, "test": 4, "empty text": 0}
    assert data.test[0].source.startswith("review text: meal ")
    assert data.notes == ()
    experiment = "tasks/my-reviews-experiment.yaml"
    assert result.stdout.endswith(
        f"next: multiprompt show ./tasks/my-reviews.yaml\n      multiprompt run {experiment}\n"
    )
    assert call("validate", experiment).exit_code == 0
    small = [f"backbone.name={tiny_folder}", "prompt.length=3", "targets.training.steps=2"]
    done = call("run", experiment, *small)
    assert done.exit_code == 0, done.output
    (score,) = read_results(Path("runs/my-reviews/results.json"))[1]
    assert (score.task, score.n) == ("my-reviews", 4)
    answered = call("predict", "runs/my-reviews", "--task", "my-reviews", "review text=a meal", "--json")
    assert json.loads(answered.stdout)["source"] == "review text: a meal"


def test_nothing_is_overwritten():
    write_csv("rows.csv")
    for name in ("rows.yaml", "rows-experiment.yaml"):
        Path(name).write_text("mine", encoding="utf-8")
        result = call("init", "rows.csv")
        assert (result.exit_code, result.stdout) == (1, "")
        assert f"{name} exists; give another --name, or another folder with --out" in result.stderr
        assert Path(name).read_text(encoding="utf-8") == "mine"
        assert sorted(path.name for path in Path().iterdir()) == sorted({name, "rows.csv"})
        Path(name).unlink()


def test_a_person_at_a_terminal_is_asked(monkeypatch):
    monkeypatch.setattr(init, "_asks", lambda: True)
    write_csv("2024.csv", answers=("1", "5"))
    result = call("init", "2024.csv", input="Stars\nreview: {review text} ({price})\nbad\n\n")
    assert result.exit_code == 0, result.output
    task, data = written("2024.yaml")
    assert task.labels == ("bad", "5")
    assert data.train[0].source.startswith("review: meal ")
    assert call("validate", "2024-experiment.yaml").exit_code == 0
    wrong = call("init", "2024.csv", "--name", "other", input="Stars\n{reviewtext}\n")
    assert "unknown column 'reviewtext'; did you mean 'review text'?" in wrong.stderr
    assert not Path("other.yaml").exists()


@pytest.mark.parametrize(
    ("more", "counts"),
    [
        ([], (14, 3, 3)),
        (["--test", "more.jsonl"], (17, 3, 8)),
        (["--dev", "more.jsonl"], (20, 4, 4)),
        (["--dev", "more.jsonl", "--test", "other.jsonl"], (20, 8, 6)),
    ],
)
def test_splits_are_made_of_the_files_that_there_are(more, counts):
    for name, rows in (("rte.jsonl", 20), ("more.jsonl", 8), ("other.jsonl", 6)):
        write_lines(name, [{"one": f"a {n}", "two": "b", "label": n % 3, "n": n} for n in range(rows)])
    result = call("init", "rte.jsonl", *more)
    assert result.exit_code == 0, result.output
    assert "not in the source: n (not a text in every row)" in result.stderr
    task, data = written("my-rte.yaml")  # rte is there already
    assert task.labels == ("0", "1", "2")
    assert data.train[0].source.startswith("one: a ")
    assert (len(data.train), len(data.dev), len(data.test)) == counts


def test_scores_and_open_answers():
    write_csv("scores.csv", answers=[str(n / 4) for n in range(24)])
    assert "answer: Stars, a number from 0 to 6" in call("init", "scores.csv").stdout
    task, data = written("scores.yaml")
    assert {example.target for example in data.train} <= set(task.answer.grid)
    write_lines("questions.jsonl", [{"question": f"who is {n}?", "names": [f"tom {n}", "tom"]} for n in range(24)])
    assert "answer: names, any text (24 different ones)" in call("init", "questions.jsonl").stdout
    _, data = written("questions.yaml")
    assert data.train[0].references[1] == "tom"


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("text,label\na,1\nb,\nc,0\nd,1\n", [], "rows.csv, line 3: column 'label' is empty; give every row an answer"),
        ("text,label\na,1\nb,1\nc,1\n", [], "column 'label' holds 1 in every row; expected different answers"),
        ("text,label\na,1\nb,0\n", [], "rows.csv holds 2 rows; expected 3 or more for train"),
        ("label\n1\n0\n1\n", [], "the rows have the columns label; expected a text and an answer"),
        ("text,label\na,1\nb,0\nc,1\nd,0\n", ["--answer", "lable"], "unknown column 'lable'; did you mean 'label'?"),
        ("text,label\na,1\nb,0\nc,1\nd,0\n", ["--name", "a b"], "name is 'a b'; expected letters"),
        ("{x},label\na,1\nb,0\nc,1\nd,0\n", [], "no column but 'label' holds a text in every row"),
    ],
)
def test_rows_that_make_no_task(text, arguments, message):
    Path("rows.csv").write_text(text, encoding="utf-8")
    result = call("init", "rows.csv", *arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert [path.name for path in Path().iterdir()] == ["rows.csv"]
    assert "nowhere.csv" in call("init", "nowhere.csv").stderr
    assert "is no data file; expected one that ends in jsonl.gz" in call("init", "rows.xls").stderr
