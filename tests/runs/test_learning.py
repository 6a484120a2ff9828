"""From a training to its log, to the person who waits, and to the report: whether it learns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from multiprompt.config import build_experiment
from multiprompt.recipes.stage_training import Place
from multiprompt.reports import read_run, write_report
from multiprompt.reports.learning_section import noticed
from multiprompt.runs import run_experiment
from multiprompt.runs.outcome import _tell_scales
from recipes.small import KillAt, Killed, Listener, small_experiment

COLLAPSED, STILL = "target-mini-rte-fine_tuning-all", "target-mini-rte-prompt_tuning-all"
OF_ANSWERS = ["constant predictions", "no better than a constant answer", "invalid answers"]
ENDLESS = "answers without an end"
"""Of the prompt that stays where it is: the random model never stops."""


def failing(backbone: Path):
    """At the one rate a random model forgets what it reads, at the other its prompt stays where it is."""
    training = {"steps": 8, "batch_size": 6, "log_every": 1, "checkpoint_seconds": 0.0001}
    methods = {"prompt_tuning": {"learning_rate": 1e-7}, "fine_tuning": {"learning_rate": 0.05}}
    targets = {"tasks": ["mini-rte"], "methods": methods, "training": training}
    return small_experiment(backbone, source=None, targets=targets)


def rules(folder: Path, stage: str) -> list[str]:
    records = map(json.loads, (folder / "seed-1" / stage / "log.jsonl").read_text(encoding="utf-8").splitlines())
    return [record["finding"]["rule"] for record in records if "finding" in record]


def told(listener: Listener, stage: str) -> list[str]:
    return [text.split(": ")[1] for text in listener.messages if text.startswith(f"{stage}: ") and "scale" not in text]


def test_a_target_that_collapses_is_noticed_everywhere(tiny_folder, tmp_path):
    listener, folder = Listener(), tmp_path / "run"
    run_experiment(failing(tiny_folder), folder, progress=listener)
    assert rules(folder, COLLAPSED) == told(listener, COLLAPSED) == OF_ANSWERS
    assert rules(folder, STILL)[0] == told(listener, STILL)[0] == "dead training"
    assert list(noticed([read_run(folder)])) == [*OF_ANSWERS[:2], "dead training", OF_ANSWERS[2], ENDLESS]
    write_report(folder)
    for name in ("report.html", "report.md"):
        text = (folder / name).read_text(encoding="utf-8")
        assert "Is it learning?" in text
        assert "100 % of the answers are" in text
        assert "no trained tensor has moved" in text


@pytest.mark.parametrize("kill", [3, 8, 12])
def test_it_is_told_once_by_a_run_that_goes_on(tiny_folder, tmp_path, kill):
    folder, second = tmp_path / "run", Listener()
    experiment = failing(tiny_folder)
    with pytest.raises(Killed):
        run_experiment(experiment, folder, progress=KillAt(kill))
    run_experiment(experiment, folder, resume=True, progress=second)
    written = rules(folder, COLLAPSED)
    assert written == told(second, COLLAPSED) == OF_ANSWERS
    # The first eight steps are those of the prompt, which were told about before they were counted.
    assert (told(second, STILL).count("dead training"), rules(folder, STILL).count("dead training")) == (kill < 8, 1)


def test_what_was_said_before_the_result_is_not_said_again(tiny_folder, tmp_path, monkeypatch):
    folder, first, second = tmp_path / "run", Listener(), Listener()

    def killed(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("multiprompt.runs.execute.finish_stage", killed)
        with pytest.raises(Killed):
            run_experiment(failing(tiny_folder), folder, progress=first)
    run_experiment(failing(tiny_folder), folder, resume=True, progress=second)
    assert told(first, STILL) + told(second, STILL) == rules(folder, STILL)
    assert "dead training" in told(first, STILL)
    assert "invalid answers" in told(first, STILL)


def test_a_training_that_learns_gives_no_finding(tmp_path):
    training = {"steps": 60, "batch_size": 16, "log_every": 2, "evaluate_every": None, "select": "last"}
    experiment = build_experiment(
        {
            "name": "healthy",
            "seeds": [1],
            "data": {"max_train": 400, "max_dev": 20, "max_test": 100},
            "prompt": {"length": 8},
            "targets": {
                "tasks": ["mini-wsc"],
                "methods": {"prompt_tuning": {"learning_rate": 0.1}},
                "training": training | {"dropout": False},
            },
        }
    )
    listener, folder = Listener(), tmp_path / "run"
    run_experiment(experiment, folder, progress=listener)
    run = read_run(folder)
    assert run.scores[0].interval[0] > run.scores[0].majority
    assert noticed([run]) == {}
    assert "finding" not in (folder / "seed-1" / "target-mini-wsc-prompt_tuning-all" / "log.jsonl").read_text(
        encoding="utf-8"
    )
    assert not listener.said("try")
    page = write_report(folder).read_text(encoding="utf-8")
    assert (
        "Nothing noticed. Checked: constant predictions, no better than a constant answer, nothing to learn, dead"
        in page
    )


def test_a_training_on_several_tasks_logs_their_shares(tiny_folder, tmp_path):
    folder = tmp_path / "run"
    targets = {"tasks": ["mini-rte", "mini-boolq"], "methods": {"mpt": {}, "fine_tuning": {}}, "group": True}
    run_experiment(small_experiment(tiny_folder, targets=targets), folder)
    logs = {
        stage: [
            json.loads(line)
            for line in (folder / "seed-1" / stage / "log.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        for stage in ("source", "target-group-mpt-all", "target-group-fine_tuning-all", "teacher-mini-qqp")
    }
    for stage, own in (("source", 3), ("target-group-mpt-all", 2), ("target-group-fine_tuning-all", 2)):
        record = logs[stage][0]
        assert list(record["mixing"].values()) == pytest.approx([1 / own] * own, abs=1e-5)
        assert sum(record["examples"].values()) == 6
        assert ("gradients" in record) == ("fine_tuning" not in stage), "there are no factors"
    assert "examples" not in logs["teacher-mini-qqp"][0]
    table = write_report(folder).with_suffix(".md").read_text(encoding="utf-8")
    assert "| task | by the mixing rates | of the examples |" in table
    assert "Shares of the tasks, target-group-mpt-all" in table


def test_scales_of_task_matrices_are_told_where_they_are_unusual():
    listener = Listener()
    place = Place("target-x-mpt-all", progress=listener)
    _tell_scales({"rte": 1.12, "mrpc": 0.5, "cb": 2.0}, place)
    assert listener.messages == []
    _tell_scales({"rte": 1.12, "mrpc": 0.31}, place)
    assert listener.said("target-x-mpt-all: prompts of another size than the shared one: mrpc 0.31 times.")
