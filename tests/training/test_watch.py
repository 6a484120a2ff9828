"""What a training notices about itself: into the log and to a person, once, however often it is stopped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from conftest import run_on, step_of
from multiprompt.options import TrainingOptions
from multiprompt.training import Training, train, train_together
from multiprompt.training.active import _largest_change, _sample
from training.test_loop import Batches, build

OPTIONS = TrainingOptions(steps=8, dropout=False, log_every=1, checkpoint_seconds=0)


class Killed(Exception):
    pass


class Ear:
    def __init__(self, die_after: int | None = None) -> None:
        self.said: list[str] = []
        self.die_after = die_after

    def begin(self, stage, total): ...
    def end(self, stage, summary): ...
    def message(self, text):
        self.said.append(text)

    def step(self, step, loss, speed):
        if step == self.die_after:
            raise Killed


def training(backbone, folder: Path, rate: float = 0.1, **changes) -> Training:
    method = build("target", backbone)
    method.learning_rate = method.factor_learning_rate = rate
    values = {
        "options": OPTIONS,
        "steps": 8,
        "seed": 7,
        "checkpoint": folder / "checkpoint.safetensors",
        "log": folder / "log.jsonl",
        "task_names": ("a", "b", "c"),
        "mixing": (0.3, 0.3, 0.4),
        "title": "it",
    }
    return Training(method, Batches(), **(values | changes))


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_log_has_what_the_rules_need(tiny_backbone, tmp_path):
    ear = Ear()
    train(training(tiny_backbone, tmp_path), ear)
    records = lines(tmp_path)
    assert records[0]["mixing"] == {"a": 0.3, "b": 0.3, "c": 0.4}
    assert [sum(record["examples"].values()) for record in records] == [6 * step for step in range(1, 9)]
    assert all(set(record["gradients"]) == set(record["tasks"]) for record in records)
    assert ["mixing" in record for record in records] == [True] + 7 * [False]
    assert ["moved" in record for record in records] == 7 * [False] + [True]
    assert records[-1]["moved"] > 0.01
    assert ear.said == []
    assert not [record for record in records if "finding" in record]


def test_a_training_on_one_task_logs_nothing_by_task(tiny_backbone, tmp_path):
    batches = Batches(tasks=[0] * 6)
    train(replace(training(tiny_backbone, tmp_path, mixing=()), stream=batches))
    assert not [record for record in lines(tmp_path) if {"examples", "gradients", "mixing"} & set(record)]


def test_gradients_of_the_factors_are_those_before_clipping(tiny_backbone):
    results = []
    for clip in (1e9, 1e-3):
        method = build("target", tiny_backbone)
        method.dropout = False
        run = run_on(method, Batches(), clip=clip, log_every=1)
        results.append(step_of(run))
        norms = {
            task: float(torch.cat([u.grad.flatten(), v.grad.flatten()]).norm())
            for task, (u, v) in enumerate(zip(method.prompt.u, method.prompt.v, strict=True))
            if u.grad is not None
        }
        if clip == 1e9:
            assert results[0].gradients == pytest.approx(norms)
        else:
            assert max(norms.values()) < 1e-3
    assert results[0].gradients == results[1].gradients


def test_a_step_that_is_not_logged_has_no_gradients_by_task(tiny_backbone):
    run = run_on(build("target", tiny_backbone), Batches(), log_every=2, steps=9)
    assert step_of(run).gradients == {}


@pytest.mark.parametrize("die_after", [3, 5, 6, 8])
def test_a_finding_is_told_and_written_once_when_a_training_goes_on(tiny_backbone, tmp_path, die_after):
    # Without a gradient the rule speaks at the fifth line. Between checkpoints far apart, steps are done anew.
    options = replace(OPTIONS, checkpoint_seconds=3600 if die_after != 6 else 0)

    def dead() -> Training:
        one = training(tiny_backbone, tmp_path, options=options)
        with torch.no_grad():
            for factor in (*one.method.prompt.u, *one.method.prompt.v, one.method.prompt.shared):
                factor.zero_()
        return one

    first, second = Ear(die_after), Ear()
    with pytest.raises(Killed):
        train(dead(), first)
    train(dead(), second)
    said = first.said + second.said
    assert len(said) == 1
    assert said[0].startswith(
        "it: dead training: the norm of the gradient has stayed below 1e-05 in all of 5 logged lines"
    )
    findings = [record for record in lines(tmp_path) if "finding" in record]
    assert [(record["step"], record["finding"]["rule"]) for record in findings] == [(5, "dead training")]


def test_tensors_that_do_not_move_are_noticed_at_the_end(tiny_backbone, tmp_path):
    ear = Ear()
    train(training(tiny_backbone, tmp_path, rate=1e-7), ear)
    assert len(ear.said) == 1
    assert "no trained tensor has moved" in ear.said[0]
    assert lines(tmp_path)[-1]["step"] == 8


def test_a_training_that_goes_on_measures_from_its_start(tiny_backbone, tmp_path):
    train(training(tiny_backbone, tmp_path / "whole"))
    with pytest.raises(Killed):
        train(training(tiny_backbone, tmp_path / "killed"), Ear(5))
    train(training(tiny_backbone, tmp_path / "killed"))
    assert lines(tmp_path / "killed")[-1]["moved"] == lines(tmp_path / "whole")[-1]["moved"]


def test_examples_of_a_checkpoint_that_did_not_count_them_are_not_logged(tiny_backbone, tmp_path, monkeypatch):
    with monkeypatch.context() as earlier:
        earlier.setattr("multiprompt.training.active.LiveTraining.after_step", _as_before)
        with pytest.raises(Killed):
            train(training(tiny_backbone, tmp_path), Ear(4))
    train(training(tiny_backbone, tmp_path))
    assert not [record for record in lines(tmp_path) if "examples" in record]


def _as_before(run, result, seconds):
    run.state.step += 1
    run.state.examples += sum(result.examples.values())
    return []


def test_each_of_several_trainings_tells_for_itself(tiny_backbone, tmp_path):
    ear = Ear()
    rates = {"moves": 0.1, "stays": 1e-7, "stays too": 1e-7}
    train_together([training(tiny_backbone, tmp_path / name, rate, title=name) for name, rate in rates.items()], ear)
    assert [text.split(":")[0] for text in ear.said] == ["stays", "stays too"]
    written = {name: sum("finding" in record for record in lines(tmp_path / name)) for name in rates}
    assert written == {"moves": 0, "stays": 1, "stays too": 1}


def test_a_training_without_a_log_tells_too(tiny_backbone, tmp_path):
    ear = Ear()
    train(training(tiny_backbone, tmp_path, rate=1e-7, log=None, checkpoint=None), ear)
    assert len(ear.said) == 1


def test_the_largest_change_is_over_tensors_that_have_a_scale():
    start = [_sample(torch.ones(5000)), _sample(torch.zeros(3)), _sample(torch.full((2, 2), 2.0))]
    assert len(start[0]) == 1000
    assert _largest_change(start, [torch.ones(5000), torch.ones(3), torch.full((2, 2), 2.5)]) == pytest.approx(0.25)
    assert _largest_change([torch.zeros(3)], [torch.ones(3)]) is None
