"""The transfer matrix: equal to the evaluation of a run, on dev rows, once for each content, and going on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from multiprompt.analysis.advice import advice, rank_agreement, spearman, verdicts
from multiprompt.analysis.analysis_tables import transfer_tables
from multiprompt.analysis.transfer import NEW, Transfer, transfer_matrix
from multiprompt.analysis.transfer_store import Cell
from multiprompt.backbone import load_backbone
from multiprompt.config import load_experiment
from multiprompt.errors import CheckpointError, ConfigError, UnknownNameError
from multiprompt.evaluation.scoring import dev_value, evaluate_task
from multiprompt.files import read_json, write_json
from multiprompt.methods import PromptTuning
from multiprompt.methods.prompt_starts import start_rows, start_target_prompt
from multiprompt.options import PromptOptions, TeacherOptions
from multiprompt.prompts import load_prompt
from multiprompt.recipes import load_task
from multiprompt.recipes.stage_training import Place
from multiprompt.recipes.teacher import train_teacher
from multiprompt.runs import run_experiment
from multiprompt.seeding import derive_seed
from recipes.small import KillAt, Killed, Listener, small_experiment


class Counter(Listener):
    """Counts joint steps too."""

    steps = 0

    def step(self, step, loss, speed):
        self.steps += 1


TEACHERS = tuple(f"teacher {task}" for task in ("mini-sst2", "mini-qqp", "mini-squad"))


@pytest.fixture
def scored(monkeypatch) -> list[tuple[str, torch.Tensor]]:
    """Task and prompt of every score that is asked for. Random models seldom answer right, so scores say little."""
    seen = []

    def listen(method, prepared, *arguments):
        seen.append((prepared.name, method.prompt.all_tasks()[0].detach().clone()))
        return evaluate_task(method, prepared, *arguments)

    monkeypatch.setattr("multiprompt.analysis.transfer_cells.evaluate_task", listen)
    return seen


def test_zero_shot_is_the_evaluation_of_the_stored_prompts_on_dev_rows(own_run, scored):
    transfer = transfer_matrix(own_run, seed=2)
    assert transfer.sources == (*TEACHERS, NEW)
    assert transfer.targets == ("mini-rte", "mini-boolq")
    experiment = load_experiment(own_run / "config.yaml")
    backbone = load_backbone(experiment.backbone.name)
    for target in transfer.targets:
        task = load_task(target, backbone, experiment.data)
        of_target = [prompt for name, prompt in scored if name == target]
        assert len(of_target) == 4
        for name, evaluated in zip(("mini-sst2", "mini-qqp", "mini-squad"), of_target, strict=False):
            prompt = load_prompt(own_run / f"seed-2/teacher-{name}/prompt.safetensors").prompt
            assert torch.equal(evaluated, prompt.all_tasks()[0])
            cell = transfer.cells[f"teacher {name}", target, 0]
            assert cell.value == dev_value(PromptTuning(backbone, prompt), task.task, task.data.dev, task.dev, 0)
            assert (cell.n, cell.metric) == (6, "accuracy")
    assert not (own_run / "analysis" / "trainings").exists()


def test_adapted_scores_are_those_of_prompt_tuning_from_the_prompt(own_run, scored):
    """The public recipe, given the teacher's prompt as a start, under the name that the order of examples hangs on."""
    transfer = transfer_matrix(own_run, steps=5, tasks=["mini-rte"])
    experiment = load_experiment(own_run / "config.yaml")
    backbone = load_backbone(experiment.backbone.name)
    task = load_task("mini-rte", backbone, experiment.data)
    assert experiment.targets is not None
    training = replace(experiment.targets.training, steps=5, evaluate_every=None, select="last")
    start = PromptOptions(length=4, start="saved", path=str(own_run / "seed-1/teacher-mini-qqp/prompt.safetensors"))
    options = TeacherOptions(learning_rate=0.3, training=training)
    tuned, report = train_teacher(backbone, task, options, start, seed=1, place=Place("transfer-mini-rte"))
    assert transfer.cells["teacher mini-qqp", "mini-rte", 5].value == report.dev_value
    mine = tuned.all_tasks()[0].detach()
    nearest, second, *_ = sorted(float((prompt - mine).norm()) for _, prompt in scored)
    assert nearest < 0.1 * second  # trained side by side there, and alone here: the same up to rounding
    assert transfer.learning_rate == 0.3


def test_the_new_prompt_is_the_start_of_the_runs_own_prompt_tuning(own_run, scored):
    transfer_matrix(own_run, tasks=["mini-rte"])
    experiment = load_experiment(own_run / "config.yaml")
    seed = derive_seed(1, "target-mini-rte-prompt_tuning-all", "start")
    expected = start_rows(experiment.prompt, load_backbone(experiment.backbone.name), seed)
    assert len(scored) == 4
    assert torch.equal(scored[-1][1], expected)


def test_with_the_student_the_start_of_targets_is_a_source(own_run):
    transfer = transfer_matrix(own_run, with_student=True, tasks=["mini-boolq"])
    students = [f"student {task}" for task in ("mini-sst2", "mini-qqp", "mini-squad")]
    assert transfer.sources == (*TEACHERS, "source start", *students, NEW)
    source = load_prompt(own_run / "seed-1/source/prompt.safetensors").prompt
    mine, theirs = (
        prompt.all_tasks()[0].detach().double().numpy().mean(0)
        for prompt in (
            start_target_prompt(source, 1),
            load_prompt(own_run / "seed-1/target-mini-boolq-prompt_tuning-all/prompt.safetensors").prompt,
        )
    )
    expected = mine @ theirs / np.linalg.norm(mine) / np.linalg.norm(theirs)
    assert transfer.cosines["mini-boolq"]["source start"] == pytest.approx(expected)
    assert transfer.compared_with == {"mini-boolq": "target-mini-boolq-prompt_tuning-all"}


@pytest.fixture(scope="module")
def six_steps(finished, tmp_path_factory) -> Transfer:
    """The matrix of one that was not stopped."""
    return transfer_matrix(shutil.copytree(finished, tmp_path_factory.mktemp("six-steps") / "run"), steps=6)


@pytest.mark.parametrize("step", [4, 7, 10])
def test_one_that_was_stopped_goes_on(own_run, six_steps, step, monkeypatch):
    monkeypatch.setattr("multiprompt.analysis.transfer.JOINT_STEP_EXAMPLES", 24)  # four at a time
    with pytest.raises(Killed):
        transfer_matrix(own_run, steps=6, progress=KillAt(step))
    stored = read_json(own_run / "analysis" / "transfer.json")["cells"]
    assert len(stored) == (8 if step < 7 else 12)  # what could be said without training, and what was trained
    again = Counter()
    transfer = transfer_matrix(own_run, steps=6, progress=again)
    assert again.steps == {4: 3 + 6, 7: 6, 10: 3}[step]  # of two times six; those before a checkpoint are not redone
    assert again.said(f"{len(stored)} of 16 scores are in")
    assert len(again.trained) == 16 - len(stored)
    assert transfer.cells == six_steps.cells
    third = Listener()
    assert transfer_matrix(own_run, steps=6, progress=third) == transfer
    assert third.begun == third.trained == []


def test_trainings_are_joined_and_equal_prompts_trained_once(own_run):
    for name in ("prompt.safetensors", "merged.safetensors"):  # a teacher that is another's twin
        path = own_run / "seed-1" / "teacher-mini-squad"
        shutil.copy(own_run / "seed-1" / "teacher-mini-qqp" / name, path / name)
        record = read_json(path / "result.json")
        record["files"][name] = read_json(own_run / "seed-1" / "teacher-mini-qqp" / "result.json")["files"][name]
        write_json(path / "result.json", record)
    listener = Listener()
    transfer = transfer_matrix(own_run, steps=2, tasks=["mini-rte"], progress=listener)
    assert len(listener.trained) == 6
    assert sum("together" in title for title in listener.begun) == 1
    for steps in (0, 2):
        twins = (transfer.cells[f"teacher {task}", "mini-rte", steps] for task in ("mini-qqp", "mini-squad"))
        assert len(set(twins)) == 1


def test_other_steps_or_another_seed_are_other_scores(own_run):
    transfer_matrix(own_run, steps=2, tasks=["mini-rte"])
    listener = Listener()
    transfer_matrix(own_run, steps=3, tasks=["mini-rte"], progress=listener)
    assert listener.said("4 of 8 scores")
    transfer_matrix(own_run, steps=3, tasks=["mini-rte"], seed=2)
    assert len(read_json(own_run / "analysis" / "transfer.json")["cells"]) == 4 + 4 + 4 + 8


def test_what_cannot_be_analysed_is_said(own_run, tmp_path):
    with pytest.raises(CheckpointError, match="is not a run folder"):
        transfer_matrix(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="no seed 9; it has 1, 2"):
        transfer_matrix(own_run, seed=9)
    with pytest.raises(UnknownNameError, match="target task of this run"):
        transfer_matrix(own_run, tasks=["mini-sst2"])
    with pytest.raises(ConfigError, match="expected 0 or more"):
        transfer_matrix(own_run, steps=-1)
    (own_run / "analysis").mkdir()
    (own_run / "analysis" / "transfer.json").write_text(
        '{"version": 2, "cells": {"a": {"source": "x"}}}', encoding="utf-8"
    )
    with pytest.raises(CheckpointError, match=r"is damaged .*Move it elsewhere"):
        transfer_matrix(own_run)
    (own_run / "analysis" / "transfer.json").write_text('{"version": 99}', encoding="utf-8")
    with pytest.raises(CheckpointError, match="no transfer matrix of this release"):
        transfer_matrix(own_run)
    (own_run / "seed-1" / "teacher-mini-qqp" / "result.json").unlink()
    with pytest.raises(CheckpointError, match=r"teacher-mini-qqp is not finished"):
        transfer_matrix(own_run)


def test_runs_without_teachers_or_source_training(tiny_folder, tmp_path):
    targets = {"tasks": ["mini-rte"], "methods": {"prompt_tuning": {}}, "training": {"steps": 1}}
    run_experiment(small_experiment(tiny_folder, source=None, targets=targets), tmp_path / "run")
    with pytest.raises(ConfigError, match="no teachers"):
        transfer_matrix(tmp_path / "run")
    with pytest.raises(ConfigError, match="no source training"):
        transfer_matrix(tmp_path / "run", with_student=True)
    source_only = small_experiment(tiny_folder, targets=None)
    run_experiment(source_only, tmp_path / "source")
    with pytest.raises(ConfigError, match="no target tasks"):
        transfer_matrix(tmp_path / "source")


def made(values: dict[str, float], spread: float, majority: float = 50.0, cosines=None) -> Transfer:
    cells = {
        (name, "t", 0): Cell(name, "t", 0, 0, "accuracy", value, (value - spread, value + spread), majority, 0.0, 100)
        for name, value in values.items()
    }
    own = dict(zip(values, cosines, strict=False)) if cosines else {}
    return Transfer("run", 0, 0, tuple(values), ("t",), cells, {"t": own}, {"t": "stage"} if own else {}, 0.3)


@pytest.mark.parametrize(
    ("values", "spread", "majority", "helps", "others"),
    [
        ({"a": 80, "b": 75, "c": 70, NEW: 60}, 5, 50, "yes", ("b",)),  # c: 65 to 75, the new prompt 55 to 65
        ({"a": 69, "b": 62, NEW: 60}, 5, 50, "perhaps", ()),  # 64 is above the new prompt's value, not above its 65
        ({"a": 70, "b": 62, NEW: 60}, 12, 50, "perhaps", ()),
        ({"a": 59, "b": 55, NEW: 60}, 1, 50, "no", ()),
        ({"a": 70, "b": 55, NEW: 60}, 5, 71, "no", ()),  # not above the constant answer
    ],
)
def test_advice_asks_for_more_than_a_new_prompt_and_the_constant_answer(values, spread, majority, helps, others):
    transfer = made(values, spread, majority)
    (verdict,) = verdicts(transfer)
    assert (verdict.best.source, verdict.helps, verdict.others) == ("a", helps, others)
    said = advice(transfer)
    assert said[0] == "Scores are on 100 dev rows of each target, seed 0. No test row was scored."
    word = {"yes": "a helps:", "perhaps": "a may help", "no": "no source helps"}[helps]
    assert word in said[1]
    assert ("So does b." in said[1]) == bool(others)
    assert any("no finished prompt" in line for line in said)


def test_how_cosines_rank_the_sources_is_spearmans_correlation():
    scores, cosines = [80.0, 75.0, 75.0, 40.0], [0.9, 0.2, 0.5, 0.4]
    assert spearman(scores, cosines) == pytest.approx(stats.spearmanr(scores, cosines).statistic)
    assert spearman([1, 1, 1], [1, 2, 3]) is None
    assert spearman([1, 2], [1, 2]) is None
    transfer = made(dict(zip([*"abcd", NEW], [*scores, 60.0], strict=True)), 5, cosines=cosines)
    assert rank_agreement(transfer, 0) == {"t": pytest.approx(stats.spearmanr(scores, cosines).statistic)}
    assert any("ranks the 4 sources" in line for line in advice(transfer))


def test_tables_have_a_row_for_every_source_and_mark_what_is_low():
    transfer = made({"a": 80, "b": 45, NEW: 60}, 5, cosines=[0.5, 0.25])
    scores, cosines = transfer_tables(transfer)
    assert [[str(cell) for cell in row] for row in scores.rows] == [["a", "80.0"], ["b", "45.0 †"], [NEW, "60.0"]]
    assert [[str(cell) for cell in row] for row in cosines.rows] == [["a", "0.500"], ["b", "0.250"]]
    assert json.dumps(transfer.to_json(), allow_nan=False)
