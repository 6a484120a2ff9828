"""Every method in whole experiments: alone, on a group of tasks, and from a handful of examples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from conftest import build_tiny_model, save_tiny
from multiprompt.config import build_experiment
from multiprompt.data import load_task_data
from multiprompt.evaluation.results import read_results
from multiprompt.files import read_json
from multiprompt.options import Experiment
from multiprompt.plan import plan_stages
from multiprompt.prompts import load_prompt
from multiprompt.runs import open_run, run_experiment
from multiprompt.tasks import TASKS
from recipes.every_kind import GROUPED
from recipes.small import KillAt, Killed, Listener, small_experiment, stored_tensors

METHODS = {
    "mpt": {},
    "prompt_tuning": {},
    "fine_tuning": {"learning_rate": 0.001},
    "spot": {"early_steps": 2},
    "attempt": {"bottleneck": 4, "temperature": 1.0},
    "adapters": {"learning_rate": 0.01, "reduction": 4},
    "bitfit": {"learning_rate": 0.01},
    "hyperformer": {"learning_rate": 0.01, "reduction": 4, "embedding": 4, "hidden": 4},
    "hyperdecoder": {"learning_rate": 0.01, "bottleneck": 4, "layer_embedding": 2, "hidden": 4},
    "dept": {"matrix_learning_rate": 0.1},
    "decomposed_prompt_tuning": {"rank": 2},
}
SOURCES, TARGETS = ["mini-sst2", "mini-qqp"], ["mini-rte", "mini-boolq"]
SHORT = {"steps": 2, "batch_size": 4, "select": "last", "log_every": 1, "checkpoint_seconds": 0.0001}
MIXTURE = {"start": "mixture"}
PRETRAINED = METHODS["attempt"] | {"pretrained": True}
MULTITASK = {name: METHODS[name] | {"source_tasks": SOURCES} for name in ("fine_tuning", "adapters", "hyperformer")}

SETTINGS = {
    "single": {"tasks": TARGETS[:1], "methods": METHODS},
    "group": {
        "tasks": TARGETS,
        "group": True,
        "methods": METHODS | MULTITASK | {"spot": MIXTURE, "attempt": PRETRAINED},
    },
    "few-shot": {"tasks": TARGETS[:1], "shots": [4], "methods": METHODS | MULTITASK | {"spot": {"start": "mini-qqp"}}},
}


def experiment_of(backbone: Path, targets: dict, **changes) -> Experiment:
    return small_experiment(
        backbone,
        data={"max_train": 12, "max_dev": 2, "max_test": 4, "max_source_length": 24},
        teachers={"training": SHORT},
        source={"tasks": SOURCES, "training": SHORT, "distillation": {"kind": "none"}},
        targets={"training": SHORT, "few_shot_training": SHORT} | targets,
        **changes,
    )


@pytest.fixture(scope="module")
def backbone(tmp_path_factory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module", params=SETTINGS)
def run(request, backbone, tmp_path_factory) -> Path:
    """The folder of a finished run in one of the settings."""
    folder = tmp_path_factory.mktemp("runs") / request.param
    run_experiment(experiment_of(backbone, SETTINGS[request.param]), folder)
    return folder


def test_every_method_is_trained_scored_and_used_again(run):
    scores = read_results(run / "results.json")[1]
    targets = [score for score in scores if score.task in TARGETS]
    assert {(s.task, s.method) for s in targets} == {(t, m) for t in SETTINGS[run.name]["tasks"] for m in METHODS}
    assert {(s.task, s.method): (s.value, s.metrics) for s in open_run(run).evaluate()} == {
        (s.task, s.method): (s.value, s.metrics) for s in scores
    }
    for score in targets:
        if score.task != TARGETS[0]:
            continue
        group = run.name == "group" and score.method in GROUPED
        stage = run / "seed-1" / f"target-{'group' if group else score.task}-{score.method}-{score.shots}"
        stored = [
            json.loads(line)
            for line in (stage / f"predictions-{score.task}.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        texts = [example.source for example in load_task_data(TASKS[score.task], max_test=4).test]
        assert open_run(run).answer(score.task, texts, method=score.method) == [each["prediction"] for each in stored]


def test_a_stage_stores_what_it_trained_and_nothing_else(run):
    parameters = {(s.task, s.method): s.parameters for s in read_results(run / "results.json")[1]}
    backbone = sum(parameter.numel() for parameter in build_tiny_model().parameters())
    stages = list((run / "seed-1").iterdir())
    assert len(stages) >= len(SOURCES) + len(METHODS)
    for stage in stages:
        files = sorted(path.name for path in stage.iterdir() if path.suffix == ".safetensors")
        assert files in (["merged.safetensors", "prompt.safetensors"], ["method.safetensors"]), stage.name
        record = read_json(stage / "result.json")["scores"]
        numbers = sum(tensor.numel() for name, tensor in stored_tensors(stage).items() if not name.startswith("merged"))
        assert {parameters[s["task"], s["method"]] for s in record} == {round(numbers / len(record)) for _ in record}
        assert bool(record) != stage.name.endswith("-early")
        assert numbers <= backbone


def test_stages_that_are_killed_again_and_again_end_bitwise_the_same(backbone, tmp_path):
    methods = MULTITASK | {"hyperdecoder": METHODS["hyperdecoder"], "spot": MIXTURE, "attempt": PRETRAINED}
    targets = {"tasks": TARGETS, "group": True, "methods": methods}
    experiment = experiment_of(backbone, targets, together=False)
    stages = [stage.name for stage in plan_stages(experiment)]
    first = {f"source-multitask_{name}" for name in MULTITASK}
    assert first | {"source-mixture", "source-attention", "target-group-attempt-all"} < set(stages)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run_experiment(experiment, whole)
    for number, stage in enumerate(stages):
        # In the second of its two steps: from the checkpoint after the first one each goes on, then the next begins.
        with pytest.raises(Killed):
            run_experiment(experiment, killed, resume=number > 0, progress=KillAt(3 if number else 2))
        assert (killed / "seed-1" / stage / "checkpoint.safetensors").exists()
        assert not (killed / "seed-1" / stage / "result.json").exists()
    run_experiment(experiment, killed, resume=True)
    expected, tensors = stored_tensors(whole), stored_tensors(killed)
    assert expected.keys() == tensors.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensors[name], tensor), name


@pytest.mark.parametrize(
    ("methods", "stages"),
    [
        *(
            (
                {"spot": {"start": start}},
                ["teacher-mnli", "teacher-sst2", "source", "target-rte-spot-all-early", "target-rte-spot-all"],
            )
            for start in ("retrieved", "weighted")
        ),
        ({"spot": {"start": "sst2"}}, ["teacher-sst2", "source", "target-rte-spot-all"]),
        ({"spot": {"start": "mixture"}}, ["source", "source-mixture", "target-rte-spot-all"]),
        ({"attempt": {}}, ["teacher-mnli", "teacher-sst2", "source", "target-rte-attempt-all"]),
        (
            {"attempt": {"pretrained": True}},
            ["teacher-mnli", "teacher-sst2", "source", "source-attention", "target-rte-attempt-all"],
        ),
        ({"adapters": {}}, ["source", "target-rte-adapters-all"]),
        *(
            (
                {name: {"source_tasks": ["sst2", "cola"]}},
                ["source", f"source-multitask_{name}", f"target-rte-{name}-all"],
            )
            for name in MULTITASK
        ),
    ],
)
def test_only_the_stages_that_a_method_needs_are_planned(methods, stages):
    experiment = build_experiment(
        {
            "name": "x",
            "source": {"tasks": ["mnli", "sst2"], "distillation": {"kind": "none"}},
            "targets": {"tasks": ["rte"], "methods": methods},
        }
    )
    planned = plan_stages(experiment)
    assert [stage.name for stage in planned] == stages
    for number, stage in enumerate(planned):
        assert set(stage.needs) <= set(stages[:number]), "what a stage needs comes before it"
    expected = [name for name in stages if name.startswith(("teacher-", "source-")) or name.endswith("-early")]
    assert list(planned[-1].needs) == expected


def stored_prompt(run: Path, stage: str) -> torch.Tensor:
    return load_prompt(run / "seed-1" / stage / "merged.safetensors").prompt.all_tasks()[0]


@pytest.mark.parametrize("start", ["mini-qqp", "mixture", "retrieved", "weighted"])
def test_spot_starts_from_what_it_says(backbone, tmp_path, start):
    # a rate of nothing leaves the target where it started
    spot = {"learning_rate": 1e-30, "early_steps": 1, "start": start}
    run_experiment(experiment_of(backbone, {"tasks": TARGETS[:1], "methods": {"spot": spot}}), tmp_path)
    begun = stored_prompt(tmp_path, "target-mini-rte-spot-all")
    if start == "mixture":
        assert torch.equal(begun, stored_prompt(tmp_path, "source-mixture"))
    elif start == "mini-qqp":
        assert torch.equal(begun, stored_prompt(tmp_path, "teacher-mini-qqp"))
    else:
        sources = [stored_prompt(tmp_path, f"teacher-{task}") for task in SOURCES]
        lower, upper = torch.stack(sources).aminmax(dim=0)
        assert start == "weighted" or any(torch.equal(begun, source) for source in sources)
        assert ((lower - 1e-5 <= begun) & (begun <= upper + 1e-5)).all(), "a mean lies between its terms"


def test_pretrained_attention_is_where_the_targets_begin(backbone, tmp_path):
    # rates of nothing for the targets; the network's own stage has them too, so its first values are compared
    frozen = {"learning_rate": 1e-30, "attention_learning_rate": 1e-30, "bottleneck": 4}
    target = "target-mini-rte-attempt-all/method.safetensors/"
    begun = {}
    for pretrained in (True, False):
        folder = tmp_path / str(pretrained)
        targets = {"tasks": TARGETS[:1], "methods": {"attempt": frozen | {"pretrained": pretrained}}}
        run_experiment(experiment_of(backbone, targets), folder)
        tensors = stored_tensors(folder / "seed-1")
        begun[pretrained] = tensors[f"{target}attention.down"]
        first = stored_prompt(folder, f"teacher-{SOURCES[0]}")
        assert torch.equal(tensors[f"{target}prompts.0"], first), "the first source prompt is the start"
        if pretrained:
            learned = tensors["source-attention/method.safetensors/attention.down"]
            assert torch.equal(begun[pretrained], learned)
    assert not torch.equal(begun[True], begun[False])


@pytest.mark.parametrize("shots", ["all", 4])
@pytest.mark.parametrize("group", [False, True])
def test_targets_start_from_a_training_on_source_tasks(backbone, tmp_path, shots, group):
    """A rate of next to nothing leaves them there; rte names its nearest task, boolq takes the first one."""
    still = {name: options | {"learning_rate": 1e-30} for name, options in MULTITASK.items()}
    for name in ("adapters", "hyperformer"):
        still[name] = still[name] | {"nearest": {"mini-rte": "mini-qqp"}}
    training = SHORT | {"weight_decay": 0.0}
    targets = {"tasks": TARGETS, "methods": still, "group": group, "shots": [shots]}
    sources = {"tasks": SOURCES, "training": training, "distillation": {"kind": "none"}}
    experiment = small_experiment(
        backbone,
        data={"max_train": 12, "max_dev": 2, "max_test": 4, "max_source_length": 24},
        source=sources,
        targets={"training": training, "few_shot_training": training} | targets,
    )
    run_experiment(experiment, tmp_path)
    seed = tmp_path / "seed-1"
    for name in still:
        learned = load_file(seed / f"source-multitask_{name}" / "method.safetensors")
        for task in [TARGETS] if group else [[target] for target in TARGETS]:
            where = "group" if group else task[0]
            started = load_file(seed / f"target-{where}-{name}-{shots}" / "method.safetensors")
            own = 0
            for key, tensor in started.items():
                stem, _, number = key.rpartition(".")
                elsewhere = key
                if key.startswith("tasks.") or (name == "adapters" and key.startswith("layers.")):
                    elsewhere, own = f"{stem}.{1 if task[int(number)] == 'mini-rte' else 0}", own + 1
                assert torch.allclose(tensor, learned[elsewhere], rtol=0, atol=1e-20), (name, key)
            assert own == len(task) * {"fine_tuning": 0, "adapters": 4 * 2 * 4, "hyperformer": 1}[name]


def test_a_training_on_source_tasks_is_reused(backbone, tmp_path):
    def trained(targets: dict, folder: str, **options) -> list[str]:
        listener = Listener()
        run_experiment(experiment_of(backbone, targets), tmp_path / folder, progress=listener, **options)
        return listener.trained

    first = {"tasks": TARGETS[:1], "methods": MULTITASK}
    assert [name for name in trained(first, "one") if "multitask" in name] == [
        f"source-multitask_{name}" for name in MULTITASK
    ]
    # other targets, from another task: the training on source tasks is the same
    near = {
        name: options | ({} if name == "fine_tuning" else {"nearest": {"mini-boolq": "mini-qqp"}})
        for name, options in MULTITASK.items()
    }
    second = {"tasks": TARGETS, "methods": near}
    assert trained(second, "two", reuse=[tmp_path / "one"]) == [f"target-mini-boolq-{name}-all" for name in MULTITASK]
