"""SPoT: what is chosen among source prompts, in cases that are made so that the answer is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from conftest import save_tiny
from multiprompt.evaluation.results import read_results
from multiprompt.files import read_json
from multiprompt.forecast import estimate_run
from multiprompt.methods.spot import prompt_similarities, retrieved_start, weighted_start
from multiprompt.options import Experiment
from multiprompt.plan import plan_stages
from multiprompt.prompts import load_prompt
from multiprompt.reports import write_report
from multiprompt.runs import open_run, run_experiment, run_node
from multiprompt.runs.execute import open_node
from multiprompt.runs.graph import build_graph, company, ready_nodes
from multiprompt.runs.materials import load_materials
from multiprompt.training import SILENT
from recipes.small import KillAt, Killed, Listener, small_experiment, stored_tensors

SOURCES = torch.stack([torch.diag(torch.ones(4))[i].expand(3, -1) * 2.0 for i in range(3)])
"""Three prompts whose rows all point along an axis of their own."""


@pytest.mark.parametrize("nearest", range(3))
def test_the_source_that_the_target_leans_to_is_retrieved(nearest):
    noise = torch.randn(3, 4, generator=torch.Generator().manual_seed(nearest))
    target = 0.3 * SOURCES[nearest] + 0.05 * noise
    assert torch.equal(retrieved_start(target, SOURCES), SOURCES[nearest])
    similarities = prompt_similarities(target, SOURCES)
    assert int(similarities.argmax()) == nearest
    assert similarities[nearest] > 0.9


def test_similarity_is_the_cosine_of_mean_rows():
    generator = torch.Generator().manual_seed(0)
    target, sources = torch.randn(3, 4, generator=generator), torch.randn(2, 3, 4, generator=generator)
    for similarity, source in zip(prompt_similarities(target, sources), sources, strict=True):
        ours, theirs = target.mean(0), source.mean(0)
        assert_close(similarity, ours @ theirs / (ours.norm() * theirs.norm()))


@given(st.integers(0, 1000), st.floats(0.01, 100), st.permutations(range(3)))
def test_neither_the_scale_nor_the_order_of_rows_matters(seed, scale, order):
    generator = torch.Generator().manual_seed(seed)
    target, sources = torch.randn(3, 4, generator=generator), torch.randn(2, 3, 4, generator=generator)
    expected = prompt_similarities(target, sources)
    assert_close(prompt_similarities(scale * target[order], sources), expected, rtol=1e-3, atol=1e-5)


def test_weights_are_the_similarities_over_their_sum():
    # cosines 0.6 and 0.8 with the first two axes, 0 with the third
    target = torch.tensor([0.6, 0.8, 0.0, 0.0]).expand(3, -1)
    assert_close(weighted_start(target, SOURCES), (0.6 * SOURCES[0] + 0.8 * SOURCES[1]) / 1.4)


def test_what_points_the_other_way_has_no_weight():
    target = torch.tensor([0.6, -0.8, 0.0, 0.0]).expand(3, -1)
    assert_close(weighted_start(target, SOURCES), SOURCES[0])


def test_a_target_that_is_like_no_source_starts_from_their_mean():
    target = torch.tensor([0.0, 0.0, 0.0, 1.0]).expand(3, -1)
    assert_close(weighted_start(target, SOURCES), SOURCES.mean(0))


TRAINING = {"steps": 2, "batch_size": 4, "select": "last", "checkpoint_seconds": 0.0001}


def experiment_of(backbone: Path, start: str = "retrieved", together: bool = False, **targets) -> Experiment:
    """SPoT with three early steps on one target, from two source prompts."""
    spot = {"start": start, "early_steps": 3, "learning_rate": 0.5}
    return small_experiment(
        backbone,
        data={"max_train": 8, "max_dev": 2, "max_test": 4, "max_source_length": 24},
        teachers={"training": TRAINING, "learning_rate": 5.0},
        source={"tasks": ["mini-sst2", "mini-qqp"], "training": TRAINING},
        targets={
            "tasks": ["mini-rte"],
            "methods": {"spot": spot},
            "training": TRAINING,
            "few_shot_training": TRAINING,
        }
        | targets,
        together=together,
    )


@pytest.fixture(scope="module")
def backbone(tmp_path_factory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def run(backbone, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("spot") / "run"
    run_experiment(experiment_of(backbone), folder)
    return folder


RECORDED = {
    ("retrieved", "all"): ([-0.79798, 1.37519, -1.10969], [-7.07222, 7.40942, 4.62423]),
    ("retrieved", 4): ([-1.14693, 1.40800, -0.41847], [6.59151, 7.30914, 6.77261]),
    ("weighted", "all"): ([-0.79798, 1.37519, -1.10969], [-1.60246, 7.36928, 5.48425]),
    ("weighted", 4): ([-1.14693, 1.40800, -0.41847], [-0.19730, 7.35897, 5.70519]),
}
"""First numbers of the early prompt and of the start, as they were when the early steps were a part of the stage."""


@pytest.mark.parametrize(("start", "shots"), RECORDED)
def test_the_early_stage_trains_what_the_early_steps_did(backbone, tmp_path, start, shots):
    experiment = experiment_of(backbone, start, shots=[shots])
    run_experiment(experiment, tmp_path)
    early, rows = RECORDED[start, shots]
    name = f"target-mini-rte-spot-{shots}"
    stored = load_prompt(tmp_path / "seed-1" / f"{name}-early" / "prompt.safetensors").prompt.all_tasks()[0]
    assert_close(stored[0, :3], torch.tensor(early), rtol=0, atol=1e-2)
    stages = plan_stages(experiment)
    inputs = load_materials(experiment, stages, SILENT)
    node = build_graph(inputs, [1], stages)[f"seed-1/{name}"]
    method = open_node(inputs, node, tmp_path, SILENT).method
    assert_close(method.tensors()["prompts.0"][0, :3], torch.tensor(rows), rtol=0, atol=1e-2)


def test_an_early_stage_has_a_log_and_tensors_and_no_score(run):
    folder = run / "seed-1" / "target-mini-rte-spot-all-early"
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["step"] for line in lines] == [3]
    assert not [line for line in lines if "dev" in line], "no dev row is decoded for nothing"
    record = read_json(folder / "result.json")
    assert record["scores"] == []
    assert sorted(record["files"]) == ["log.jsonl", "merged.safetensors", "prompt.safetensors"]
    scores = read_results(run / "results.json")[1]
    assert [score.method for score in scores if score.task == "mini-rte"] == ["spot"]
    assert len(open_run(run).evaluate()) == len(scores)
    write_report(run)
    assert "-early" not in (run / "report.md").read_text(encoding="utf-8")


def test_a_run_that_is_stopped_in_an_early_stage_goes_on_there(run, backbone, tmp_path):
    experiment, listener = experiment_of(backbone), Listener()
    stages = [stage.name for stage in plan_stages(experiment)]
    steps_before = 2 * stages.index("target-mini-rte-spot-all-early")
    with pytest.raises(Killed):
        run_experiment(experiment, tmp_path, progress=KillAt(steps_before + 2))
    early = tmp_path / "seed-1" / "target-mini-rte-spot-all-early"
    assert (early / "checkpoint.safetensors").exists()
    run_experiment(experiment, tmp_path, resume=True, progress=listener)
    assert listener.trained == ["target-mini-rte-spot-all-early", "target-mini-rte-spot-all"]
    expected, tensors = stored_tensors(run), stored_tensors(tmp_path)
    assert expected.keys() == tensors.keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in expected.items())


def test_an_early_stage_is_reused_where_only_the_start_is_chosen_otherwise(run, backbone, tmp_path):
    listener = Listener()
    run_experiment(experiment_of(backbone, "weighted"), tmp_path / "other", reuse=[run], progress=listener)
    assert listener.trained == ["target-mini-rte-spot-all"]
    states = {
        each.job.node.stage.name: each.standing.state for each in estimate_run(experiment_of(backbone), run).stages
    }
    assert set(states.values()) == {"done"}


def test_one_node_alone_is_an_early_stage_too(run, backbone, tmp_path):
    assert run_node(experiment_of(backbone), run, "seed-1/target-mini-rte-spot-all-early") == []


def test_early_stages_share_passes_with_teachers(backbone, tmp_path):
    experiment = experiment_of(backbone, together=True)
    stages = plan_stages(experiment)
    nodes = build_graph(load_materials(experiment, stages, SILENT), [1], stages)
    together = [node.stage.name for node in company(ready_nodes(nodes, ()))]
    assert together == ["teacher-mini-sst2", "teacher-mini-qqp", "target-mini-rte-spot-all-early"]
