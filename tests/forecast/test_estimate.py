"""Planning a run: its stages and how things are with them, the estimates, and that nothing is written."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from conftest import save_tiny
from multiprompt.cli.plan import group_stages
from multiprompt.errors import CheckpointError
from multiprompt.forecast import estimate as estimate_module
from multiprompt.forecast import estimate_run
from multiprompt.forecast.estimate import Estimate
from multiprompt.forecast.stand_ins import open_stand_in
from multiprompt.forecast.workload import Workload, stretches_of
from multiprompt.options import (
    AdapterOptions,
    AttemptOptions,
    BitFitOptions,
    DecomposedPromptTuningOptions,
    DeptOptions,
    Experiment,
    FineTuningOptions,
    HyperDecoderOptions,
    HyperFormerOptions,
    Ia3Options,
    LoraOptions,
    Methods,
    MptOptions,
    PrefixTuningOptions,
    PromptTuningOptions,
    SpotOptions,
)
from multiprompt.plan import plan_stages
from multiprompt.reports import write_report
from multiprompt.runs import run_experiment
from multiprompt.runs.execute import open_node
from multiprompt.runs.graph import build_graph, joint_trainings
from multiprompt.runs.materials import load_materials
from multiprompt.runs.run_folder import only_process
from multiprompt.training import SILENT
from recipes.small import KillAt, Killed, small_experiment

ALL = Methods(
    mpt=MptOptions(0.1, 0.05),
    prompt_tuning=PromptTuningOptions(0.1),
    fine_tuning=FineTuningOptions(1e-3),
    spot=SpotOptions(0.1, start="retrieved", early_steps=3),
    attempt=AttemptOptions(0.1, 0.05, bottleneck=4, pretrained=True),
    adapters=AdapterOptions(1e-2, reduction=4),
    bitfit=BitFitOptions(1e-2),
    hyperformer=HyperFormerOptions(1e-2, reduction=4, embedding=6, hidden=8),
    hyperdecoder=HyperDecoderOptions(1e-2, bottleneck=4, layer_embedding=3, hidden=8),
    dept=DeptOptions(0.1, 0.05),
    decomposed_prompt_tuning=DecomposedPromptTuningOptions(0.1, rank=2),
    lora=LoraOptions(1e-2, rank=2),
    ia3=Ia3Options(1e-1),
    prefix_tuning=PrefixTuningOptions(0.1),
)


def two_sources(backbone: Path, **changes) -> Experiment:
    source = {"tasks": ["mini-sst2", "mini-qqp"]}
    targets = {"tasks": ["mini-rte"], "methods": {"mpt": {}, "prompt_tuning": {}}}
    return small_experiment(backbone, **({"source": source, "targets": targets} | changes))


def with_all_methods(experiment: Experiment, **changes) -> Experiment:
    assert experiment.targets is not None
    short = experiment.targets.training  # few examples have many steps otherwise
    targets = replace(experiment.targets, methods=ALL, few_shot_training=short, **changes)
    return replace(experiment, targets=targets)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def finished(backbone, tmp_path_factory) -> Path:
    """A finished run of ``two_sources``; tests that change it take a copy."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    run_experiment(two_sources(backbone), folder)
    return folder


def every_method(backbone: Path) -> Experiment:
    return with_all_methods(two_sources(backbone, data={"max_test": 60}), shots=(6,))


@pytest.fixture(scope="module")
def run_of_every_method(backbone, tmp_path_factory) -> Path:
    """A finished run of ``every_method`` with its report."""
    folder = tmp_path_factory.mktemp("every-method") / "run"
    run_experiment(every_method(backbone), folder)
    write_report(folder)
    return folder


def looked_at(experiment: Experiment, folder: Path, **options) -> Estimate:
    return estimate_run(experiment, folder, seconds=0, **options)


def states(estimate: Estimate) -> dict[str, str]:
    return {each.job.node.key.partition("/")[2]: each.standing.state for each in estimate.stages}


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_stages_of_one_kind_method_and_shots_share_a_row(tiny_folder, tmp_path):
    targets = {"tasks": ["mini-rte", "mini-boolq"], "methods": {"mpt": {}, "prompt_tuning": {}}, "shots": [4, "all"]}
    estimate = looked_at(two_sources(tiny_folder, targets=targets, seeds=[1, 2]), tmp_path / "run")
    rows = [(g[0].job.node.stage.method, g[0].job.node.stage.shots, len(g)) for g in group_stages(estimate.stages)]
    assert rows == [
        ("teacher", "all", 4),
        ("student", "all", 2),
        ("mpt", 4, 4),
        ("prompt_tuning", 4, 4),
        ("mpt", "all", 4),
        ("prompt_tuning", "all", 4),
    ]


def test_a_new_run_is_all_new_and_its_trainings_are_those_of_the_run(tiny_folder, tmp_path):
    experiment = two_sources(tiny_folder)
    estimate = looked_at(experiment, tmp_path / "run")
    assert set(states(estimate).values()) == {"new"}
    assert [len(keys) for keys in estimate.trainings] == [3, 1, 1]  # both teachers with prompt tuning
    assert [len(keys) for keys in looked_at(replace(experiment, together=False), tmp_path / "run").trainings] == [1] * 5
    assert (estimate.holds_run, estimate.changes, estimate.to_set_aside) == (False, (), ())
    assert not (tmp_path / "run").exists()


def test_done_begun_changed_set_aside_and_reused_stages_are_told_apart(backbone, finished, tmp_path):
    experiment, run = two_sources(backbone), shutil.copytree(finished, tmp_path / "run")
    estimate = looked_at(experiment, run)
    assert set(states(estimate).values()) == {"done"}
    assert (estimate.trainings, estimate.bytes_left, estimate.holds_run) == ((), 0, True)

    assert experiment.source is not None
    other = replace(experiment, source=replace(experiment.source, learning_rate=0.7))
    estimate = looked_at(other, run)
    kept = {"teacher-mini-sst2": "done", "teacher-mini-qqp": "done", "target-mini-rte-prompt_tuning-all": "done"}
    made = ("source", "target-mini-rte-mpt-all")
    assert states(estimate) == kept | dict.fromkeys(made, "changed")
    assert estimate.changes == ("source.learning_rate: the folder has 0.3, asked for is 0.7",)
    assert sorted(estimate.to_set_aside) == [f"seed-1/{name}" for name in made]
    reasons = [reason for each in estimate.stages for reason in each.standing.reasons]
    assert reasons == ["options.learning_rate: the folder has 0.3, asked for is 0.7", "source is another"]
    assert estimate.trainings == (("seed-1/source",), ("seed-1/target-mini-rte-mpt-all",))

    elsewhere = looked_at(other, tmp_path / "other", reuse=[run])
    assert states(elsewhere) == dict.fromkeys(kept, "reused") | dict.fromkeys(made, "new")

    with pytest.raises(Killed):
        run_experiment(other, run, resume=True, progress=KillAt(3))
    after = looked_at(other, run)
    assert states(after)["source"] == "begun"
    assert next(each.standing.steps_done for each in after.stages if each.standing.state == "begun") == 2
    assert states(looked_at(experiment, run)) == kept | dict.fromkeys(made, "set aside")


def test_other_rows_are_named_as_a_reason(tiny_folder, tmp_path):
    targets = {"tasks": ["mini-rte"], "methods": {"prompt_tuning": {}}}
    experiment = small_experiment(tiny_folder, source=None, targets=targets)
    run_experiment(experiment, tmp_path / "run")
    fewer = replace(experiment, data=replace(experiment.data, max_train=15))
    (stage,) = looked_at(fewer, tmp_path / "run").stages
    assert stage.standing.reasons == ("other rows, texts or limits of mini-rte",)


def test_nothing_is_written_and_no_lock_is_needed(tiny_folder, tmp_path):
    experiment, run = two_sources(tiny_folder), tmp_path / "run"
    with pytest.raises(Killed):
        run_experiment(experiment, run, progress=KillAt(6))
    before = content(tmp_path)
    with only_process(run):
        held = content(tmp_path)
        assert estimate_run(experiment, run, seconds=0.5).seconds(left=True)
        assert content(tmp_path) == held
    shutil.rmtree(tmp_path / "none", ignore_errors=True)
    estimate_run(experiment, tmp_path / "none" / "run", seconds=0.5)
    assert content(tmp_path).keys() == before.keys()
    assert not (tmp_path / "none").exists()


def test_a_folder_that_holds_no_run_and_damage_are_refused_as_a_run_refuses_them(backbone, finished, tmp_path):
    experiment, run = two_sources(backbone), tmp_path / "run"
    run.mkdir()
    (run / "letter.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(CheckpointError, match="holds files but no run"):
        looked_at(experiment, run)
    shutil.rmtree(run)
    shutil.copytree(finished, run)
    (run / "seed-1/source/prompt.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"source/prompt\.safetensors is missing"):
        looked_at(experiment, run)


def test_without_measuring_nothing_runs_through_the_model(tiny_folder, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("work was done")

    monkeypatch.setattr("multiprompt.backbone.T5Backbone.forward_together", refuse)
    monkeypatch.setattr("multiprompt.backbone.T5Backbone.forward", refuse)
    monkeypatch.setattr("multiprompt.backbone.T5Backbone.generate", refuse)
    estimate = looked_at(with_all_methods(two_sources(tiny_folder)), tmp_path / "run")
    assert len(estimate.stages) == 4 + 14 + 1, "and the early stage before SPoT"
    assert (estimate.seconds(left=True), estimate.memory) == (None, None)
    assert estimate.bytes > 0


def test_there_are_stand_ins_for_every_method_and_they_have_the_shapes_of_the_real_ones(backbone, run_of_every_method):
    experiment, run = every_method(backbone), run_of_every_method
    stages = plan_stages(experiment)
    inputs = load_materials(experiment, stages, SILENT)
    nodes = build_graph(inputs, experiment.seeds, stages)
    assert {node.stage.method for node in nodes.values()} >= set(ALL.chosen())
    for node in nodes.values():
        stand_in, real = open_stand_in(inputs, node), open_node(inputs, node, run, SILENT)
        shapes = [{name: t.shape for name, t in each.method.tensors().items()} for each in (stand_in, real)]
        assert shapes[0] == shapes[1], node.key
        assert stand_in.method.prompt_length == real.method.prompt_length


@pytest.mark.parametrize("seconds", [0.001, 5])
def test_every_stage_gets_its_time_whether_it_was_measured_or_not(tiny_folder, tmp_path, monkeypatch, seconds):
    weights: list[dict[str, torch.Tensor]] = []
    measure = estimate_module.measure

    def watched(inputs, *arguments):
        model = inputs.backbone.model
        weights.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        speeds = measure(inputs, *arguments)
        weights.append(model.state_dict())
        assert model.generation_config.min_new_tokens is None
        return speeds

    monkeypatch.setattr(estimate_module, "measure", watched)
    experiment = with_all_methods(two_sources(tiny_folder), shots=(4, "all"))
    estimate = estimate_run(experiment, tmp_path / "run", seconds=seconds)
    assert all(torch.equal(weights[0][name], tensor) for name, tensor in weights[1].items())
    for each in estimate.stages:
        assert each.whole is not None
        assert each.left == each.whole  # nothing is done
        assert min(each.whole.training, each.whole.files) > 0
        answers = each.whole.dev, each.whole.test
        assert min(answers) > 0 if each.job.node.stage.scored else answers == (0, 0)
    early = [each for each in estimate.stages if each.job.kind.method == "early"]
    assert {each.job.steps for each in early} == {3}
    assert len(early) == 2, "before SPoT with 4 examples and with all"
    assert estimate.memory is not None
    assert estimate.memory > 1e8


def test_what_is_done_takes_no_time_and_half_of_the_steps_half_of_it(tiny_folder, tmp_path):
    targets = {"tasks": ["mini-rte"], "methods": {"prompt_tuning": {}}}
    experiment, run = two_sources(tiny_folder, targets=targets, together=False), tmp_path / "run"
    with pytest.raises(Killed):
        run_experiment(experiment, run, progress=KillAt(7))  # the first teacher, and two steps of the second
    estimate = estimate_run(experiment, run, seconds=60)
    first, second, *others = estimate.stages
    assert first.left is not None
    assert second.left is not None
    assert second.whole is not None
    assert first.left.total == 0
    assert second.standing.steps_done == 2
    assert second.left.training == pytest.approx(second.whole.training / 2)
    assert second.left.dev == pytest.approx(second.whole.dev / 2)
    assert all(each.left == each.whole for each in others)


def test_the_whole_run_is_estimated_where_some_tasks_have_nothing_left(tiny_folder, tmp_path):
    targets = {"tasks": ["mini-rte"], "methods": {"prompt_tuning": {}}}
    experiment, run = two_sources(tiny_folder, targets=targets), tmp_path / "run"
    run_experiment(experiment, run)
    targets = targets | {"methods": {"prompt_tuning": {"learning_rate": 0.7}}}
    estimate = estimate_run(two_sources(tiny_folder, targets=targets), run, seconds=0.5)
    assert Counter(states(estimate).values()) == {"done": 3, "changed": 1}
    left, whole = estimate.seconds(left=True), estimate.seconds(left=False)
    assert left is not None
    assert whole is not None
    assert left < whole


def test_a_joint_training_is_cut_where_a_stage_ends(tiny_folder):
    targets = {"tasks": ["mini-rte"], "methods": {"prompt_tuning": {}}, "training": {"steps": 10, "batch_size": 6}}
    experiment = two_sources(tiny_folder, targets=targets)
    stages = plan_stages(experiment)
    inputs = load_materials(experiment, stages, SILENT)
    nodes = build_graph(inputs, experiment.seeds, stages)
    jobs = Workload(inputs).jobs(nodes)
    training = [jobs[node.key] for node in joint_trainings(nodes, (), together=True)[0]]
    steps_done = {"seed-1/teacher-mini-qqp": 1}
    cut = [(len(stretch.jobs), stretch.steps) for stretch in stretches_of(training, steps_done)]
    assert cut == [(3, 3), (2, 1), (1, 6)]
    assert stretches_of(training[:1], {"seed-1/teacher-mini-sst2": 4}) == []
    assert [jobs["seed-1/source"].evaluations(done) for done in range(5)] == [2, 2, 1, 1, 0]
    again = replace(experiment, seeds=(1, 2))
    both = Workload(inputs).jobs(build_graph(load_materials(again, stages, SILENT), (1, 2), stages))
    kinds = Counter(job.kind for job in both.values())
    assert set(kinds.values()) == {2}, "stages that differ in their seed alone are one kind of work"


@pytest.mark.parametrize("methods", ["two methods", "every method"])
def test_the_disk_is_estimated_within_30_per_cent(backbone, run_of_every_method, tmp_path, methods):
    if methods == "every method":
        experiment, run = every_method(backbone), run_of_every_method
    else:
        experiment, run = two_sources(backbone, data={"max_test": 60}, seeds=[1, 2]), tmp_path / "run"
        run_experiment(experiment, run)
        write_report(run)
    estimate = looked_at(experiment, tmp_path / "new")
    assert estimate.bytes_left == estimate.bytes
    assert estimate.stages
    size = sum(p.stat().st_size for p in run.rglob("*") if p.is_file() and not p.name.startswith(".lock"))
    assert estimate.bytes == pytest.approx(size, rel=0.3)
    for each in estimate.stages:
        folder = run / each.job.node.key
        stage = sum(path.stat().st_size for path in folder.iterdir() if not path.name.startswith(".lock"))
        assert each.bytes == pytest.approx(stage, rel=0.3), each.job.node.key


def test_the_largest_checkpoint_is_estimated(tiny_folder, tmp_path):
    targets = {"tasks": ["mini-rte"], "methods": {"fine_tuning": {}}}
    experiment = small_experiment(tiny_folder, source=None, targets=targets)
    estimate = looked_at(experiment, tmp_path / "run")
    with pytest.raises(Killed):
        run_experiment(
            experiment, tmp_path / "run", progress=KillAt(4)
        )  # after an evaluation, so with the best tensors
    size = (tmp_path / "run/seed-1/target-mini-rte-fine_tuning-all/checkpoint.safetensors").stat().st_size
    assert estimate.checkpoint == pytest.approx(size, rel=0.3)
