"""The few-shot protocol: several draws of k examples from one source prompt, and what is kept of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from multiprompt.config import build_experiment, load_experiment
from multiprompt.data import load_task_data
from multiprompt.data.few_shot import draw_few_shot
from multiprompt.evaluation.results import read_results
from multiprompt.files import read_json, write_json
from multiprompt.options import DataOptions, Experiment
from multiprompt.plan import plan_stages
from multiprompt.prompts import load_prompt
from multiprompt.recipes import load_task, recipe_path
from multiprompt.reports import headline_tables, read_run
from multiprompt.runs import open_run, run_experiment
from multiprompt.runs.graph import build_graph
from multiprompt.runs.materials import Materials, load_materials
from multiprompt.studies import experiments_of, load_study
from multiprompt.tasks import TASKS
from multiprompt.training import SILENT
from recipes.every_kind import GROUPED, JOINED
from recipes.small import Listener, small_experiment

MPT, TUNING = "target-mini-rte-mpt-4", "target-mini-rte-prompt_tuning-4"


def few_shot(backbone: Path, **targets) -> Experiment:
    training = {"steps": 2, "batch_size": 4, "evaluate_every": 1, "log_every": 1}
    chosen = {"tasks": ["mini-rte"], "methods": {"mpt": {}, "prompt_tuning": {}}, "shots": [4], "draws": 2}
    return small_experiment(
        backbone,
        source={"tasks": ["mini-sst2", "mini-qqp"], "training": training, "distillation": {"kind": "none"}},
        targets=chosen | {"few_shot_training": training} | targets,
    )


def inputs_of(experiment: Experiment) -> Materials:
    return load_materials(experiment, plan_stages(experiment), SILENT)


def test_every_draw_is_a_stage_and_the_first_has_the_name_it_always_had():
    targets = {"tasks": ["rte", "cb"], "methods": {"prompt_tuning": {}, "bitfit": {}}, "shots": [4, "all"], "draws": 3}
    stages = plan_stages(build_experiment({"name": "x", "targets": targets}))
    names = [f"target-{task}-{method}-4" for method in ("prompt_tuning", "bitfit") for task in ("rte", "cb")]
    assert [stage.name for stage in stages] == [
        *names,
        *(f"{name}-draw1" for name in names),
        *(f"{name}-draw2" for name in names),
        *(name.replace("-4", "-all") for name in names),
    ]
    assert [stage.draw for stage in stages] == [0] * 4 + [1] * 4 + [2] * 4 + [0] * 4


def test_all_draws_of_a_seed_start_from_its_source_prompt(tiny_folder):
    experiment = replace(few_shot(tiny_folder, draws=3), seeds=(1, 2))
    nodes = build_graph(inputs_of(experiment), experiment.seeds, plan_stages(experiment))
    for seed in (1, 2):
        for name in (MPT, f"{MPT}-draw1", f"{MPT}-draw2"):
            assert nodes[f"seed-{seed}/{name}"].needs == (f"seed-{seed}/source",)
    assert len({node.identity for node in nodes.values()}) == len(nodes)


def test_more_draws_leave_the_identities_of_the_first_ones_alone(tiny_folder):
    def identities(draws: int) -> dict[str, str]:
        experiment = few_shot(tiny_folder, draws=draws)
        nodes = build_graph(inputs_of(experiment), experiment.seeds, plan_stages(experiment))
        return {key: node.identity for key, node in nodes.items()}

    one, three = identities(1), identities(3)
    assert one.items() < three.items()


def test_the_constant_answer_of_a_draw_is_that_of_all_training_rows(tiny_backbone):
    """A balanced draw ties, and would take "0" for MRPC, where two thirds are "1"."""
    task = load_task("mini-mrpc", tiny_backbone, DataOptions(max_train=20, max_dev=2, max_test=4))
    ones = [row for row in task.data.train if row.target == "1"]
    zeros = [row for row in task.data.train if row.target == "0"]
    uneven = replace(task, data=replace(task.data, train=(*ones, *zeros[: len(ones) // 2])))
    draw = uneven.few_shot(4, 1, True, tiny_backbone)
    assert Counter(row.target for row in draw.data.train) == {"0": 2, "1": 2}
    assert draw.baselines == uneven.baselines
    assert draw.baselines.constant == "1"
    assert draw.few_shot(2, 1, True, tiny_backbone).baselines == uneven.baselines


def test_an_unbalanced_draw_is_another_stage(tiny_folder):
    def stages(**targets) -> dict[str, str]:
        experiment = few_shot(tiny_folder, shots=[4, "all"], **targets)
        nodes = build_graph(inputs_of(experiment), experiment.seeds, plan_stages(experiment))
        return {node.stage.name: node.identity for node in nodes.values()}

    balanced, unbalanced = stages(), stages(balanced=False)
    changed = {name for name in balanced if balanced[name] != unbalanced[name]}
    assert changed == {MPT, TUNING, f"{MPT}-draw1", f"{TUNING}-draw1"}


def test_a_draw_is_nested_in_the_larger_one_of_the_same_number_and_apart_from_other_draws(tiny_folder):
    experiment = few_shot(tiny_folder, shots=[4, 16], draws=3)
    inputs = inputs_of(experiment)
    rows = {}
    for stage in plan_stages(experiment):
        if stage.kind == "target":
            (task,) = inputs.tasks_of(stage, 1)
            drawn = tuple(example.row_id for example in task.data.train)
            assert rows.setdefault((stage.shots, stage.draw), drawn) == drawn, "all methods have the same rows"
            assert set(Counter(example.target for example in task.data.train).values()) == {stage.shots // 2}
    for draw in range(3):
        assert set(rows[4, draw]) < set(rows[16, draw])
    assert len({rows[4, draw] for draw in range(3)}) == 3
    train = load_task_data(TASKS["mini-rte"], max_train=20).train
    assert rows[4, 0] == tuple(example.row_id for example in draw_few_shot(train, 4, seed=1)), (
        "as before there were more"
    )


def test_draws_are_trained_scored_kept_and_added_to(tiny_folder, tmp_path):
    folder = tmp_path / "run"
    experiment = few_shot(tiny_folder, draws=1)
    run_experiment(experiment, folder)
    first = (folder / "seed-1" / MPT / "result.json").read_bytes()
    listener = Listener()
    run_experiment(few_shot(tiny_folder), folder, resume=True, progress=listener)
    assert listener.trained == [f"{MPT}-draw1", f"{TUNING}-draw1"]
    assert (folder / "seed-1" / MPT / "result.json").read_bytes() == first

    scores = [s for s in read_results(folder / "results.json")[1] if s.task == "mini-rte"]
    assert [(s.method, s.draw) for s in scores] == [(m, d) for d in (0, 1) for m in ("mpt", "prompt_tuning")]
    assert {s.selection for s in scores} == {"full-dev"}
    records = [read_json(folder / "seed-1" / name / "result.json") for name in (MPT, f"{MPT}-draw1")]
    assert records[0]["few_shot_rows"] != records[1]["few_shot_rows"]
    for record in records:
        assert len(record["few_shot_rows"]["mini-rte"]) == 4
        assert record["few_shot_labels"] == {"mini-rte": dict.fromkeys(TASKS["mini-rte"].labels, 2)}
    starts = [
        load_prompt(folder / "seed-1" / name / "merged.safetensors").prompt.all_tasks()
        for name in (MPT, f"{MPT}-draw1")
    ]
    assert not torch.equal(*starts)

    again = [s for s in open_run(folder).evaluate(tasks=["mini-rte"]) if s.method == "mpt"]
    assert [(s.draw, s.value) for s in again] == [(s.draw, s.value) for s in scores if s.method == "mpt"]
    assert len(open_run(folder).answer("mini-rte", ["a text"], method="mpt")) == 1
    caption = "Target tasks, 4 training examples, 2 draws, full-dev"
    assert caption in [table.caption for table in headline_tables({"x": read_run(folder).scores})]


def test_results_from_before_there_were_draws_go_on(tiny_folder, tmp_path):
    """Their records have neither the draw nor the selection."""
    folder = tmp_path / "run"
    experiment = few_shot(tiny_folder, draws=1, methods={"prompt_tuning": {}})
    run_experiment(experiment, folder)
    paths = list((folder / "seed-1").glob("*/result.json"))
    assert len(paths) >= 2
    for path in paths:
        record = read_json(path)
        for score in record["scores"]:
            del score["draw"], score["selection"]
        write_json(path, record)
    listener = Listener()
    run_experiment(few_shot(tiny_folder, methods={"prompt_tuning": {}}), folder, resume=True, progress=listener)
    assert listener.trained == [f"{TUNING}-draw1"]
    scores = [s for s in read_run(folder).scores if s.task == "mini-rte"]
    assert [(s.draw, s.selection) for s in scores] == [(0, "full-dev"), (1, "full-dev")]
    assert {s.selection for s in open_run(folder).evaluate(tasks=["mini-rte"])} == {"full-dev"}


def test_the_tensors_of_the_last_step_are_reported_as_such_and_evaluations_do_not_change_them(tiny_folder, tmp_path):
    tensors = []
    for every in (1, None):
        training = {"steps": 2, "batch_size": 4, "evaluate_every": every, "select": "last"}
        experiment = few_shot(tiny_folder, draws=1, methods={"prompt_tuning": {}}, few_shot_training=training)
        folder = tmp_path / str(every)
        run_experiment(replace(experiment, source=None), folder)
        (score,) = read_results(folder / "results.json")[1]
        assert (score.selection, score.best_step) == ("last-step", 2)
        tensors.append(load_prompt(folder / "seed-1" / TUNING / "merged.safetensors").prompt.all_tasks())
    assert torch.equal(*tensors)


def test_a_group_draws_for_every_task(tiny_folder):
    experiment = few_shot(tiny_folder, tasks=["mini-rte", "mini-boolq"], methods={"mpt": {}}, group=True)
    inputs = inputs_of(experiment)
    stages = [stage for stage in plan_stages(experiment) if stage.kind == "target"]
    assert [stage.name for stage in stages] == ["target-group-mpt-4", "target-group-mpt-4-draw1"]
    rows = [[[e.row_id for e in task.data.train] for task in inputs.tasks_of(stage, 1)] for stage in stages]
    assert all(len(drawn) == 4 for tasks in rows for drawn in tasks)
    assert rows[0][0] != rows[1][0]
    assert rows[0][1] != rows[1][1]


def recipe(name: str) -> dict:
    return yaml.safe_load(recipe_path(name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["few-shot", "group"])
def test_recipes_give_a_method_the_same_options(name):
    every, chosen = recipe("all-methods"), recipe(name)
    for method, options in chosen["targets"]["methods"].items():
        assert options == every["targets"]["methods"][method], method
    for section in ("backbone", "data", "prompt", "teachers", "source"):
        assert chosen[section] == every[section], section


def test_the_few_shot_recipe_is_the_protocol_of_the_study():
    experiment = load_experiment(recipe_path("few-shot"))
    assert experiment.targets.shots == (4, 16, 32)
    targets = [stage for stage in plan_stages(experiment) if stage.kind == "target"]
    assert len(targets) == 3 * 3 * 7 * 10
    training = experiment.targets.few_shot_training
    assert training.selection(training.steps) == "last-step"
    changes = ["targets.few_shot_training.select=best", "targets.few_shot_training.evaluate_every=20"]
    changed = load_experiment(recipe_path("few-shot"), changes).targets.few_shot_training
    assert changed.selection(changed.steps) == "full-dev"


def test_the_quickstart_compares_two_methods_on_draws_of_unseen_tasks():
    experiment = load_experiment(recipe_path("quickstart"))
    assert len(experiment.seeds) == 1
    assert not set(experiment.source.tasks) & set(experiment.targets.tasks), "the targets are unseen"
    stages = plan_stages(experiment)
    assert sum(stage.kind == "teacher" for stage in stages) == len(experiment.source.tasks)
    targets = [stage for stage in stages if stage.kind == "target"]
    assert {stage.shots for stage in targets} == {4}
    of_method = {
        method: [(stage.tasks, stage.draw) for stage in targets if stage.method == method]
        for method in ("mpt", "prompt_tuning")
    }
    assert of_method["mpt"] == of_method["prompt_tuning"]
    assert len(targets) == 2 * len(of_method["mpt"]) == 2 * 3 * 20
    assert {stage.method for stage in targets} <= set(JOINED), "all of them are trained side by side"


def test_the_quickstart_is_few_shot_table_4_with_qqp_left_out():
    """Rates, steps and source tasks are not the quickstart's own: they are what the study's ten seeds were run with."""
    quickstart = load_experiment(recipe_path("quickstart"))
    study = experiments_of("table4", load_study("table4", "mini"), "mini")["no-qqp"]
    assert quickstart.backbone == study.backbone
    assert (quickstart.prompt, quickstart.teachers, quickstart.source) == (study.prompt, study.teachers, study.source)
    assert quickstart.targets.few_shot_training == study.targets.few_shot_training
    assert quickstart.targets.methods == study.targets.methods
    assert set(study.targets.tasks) < set(quickstart.targets.tasks)
    assert set(quickstart.targets.shots) < set(study.targets.shots)


def test_the_group_recipe_has_a_stage_for_every_method_that_shares():
    experiment = load_experiment(recipe_path("group"))
    assert experiment.targets.tasks == load_experiment(recipe_path("all-methods")).targets.tasks
    names = [stage.name for stage in plan_stages(experiment) if stage.kind == "target"]
    assert sorted(names) == sorted(f"target-group-{method}-all" for method in GROUPED)
