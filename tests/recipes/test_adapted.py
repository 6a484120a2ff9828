"""``adapt``: every method without an experiment, against the stages of one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import multiprompt as mp
from conftest import save_tiny
from multiprompt.errors import CheckpointError, ConfigError, UnknownNameError
from multiprompt.evaluation.results import read_results
from multiprompt.files import tensors_digest
from multiprompt.methods import StoredMethod, load_learned
from multiprompt.recipes.stage_training import Place
from multiprompt.reports import write_report
from multiprompt.runs import run_experiment
from recipes.every_kind import GROUPED, METHODS, MULTITASK
from recipes.small import Listener, small_experiment

SOURCES, TARGET = ("mini-sst2", "mini-qqp"), "mini-rte"
TRAINING = {"steps": 1, "batch_size": 4, "select": "last"}
SPOT = {"early_steps": 1}
DATA = {"max_train": 8, "max_dev": 1, "max_test": 2, "max_source_length": 24}
PROMPT = mp.PromptOptions(length=4, factor_start="near_one")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The folder of an experiment with every method."""
    folder = tmp_path_factory.mktemp("adapted")
    experiment = small_experiment(
        save_tiny(folder / "backbone"),
        together=False,
        data=DATA,
        teachers={"training": TRAINING},
        source={"tasks": list(SOURCES), "training": TRAINING, "distillation": {"kind": "none"}},
        targets={"tasks": [TARGET], "methods": {name: {} for name in METHODS} | {"spot": SPOT}, "training": TRAINING},
    )
    run_experiment(experiment, folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def backbone(run):
    return mp.load_backbone(str(run.parent / "backbone"))


@pytest.fixture(scope="module")
def task(backbone):
    return mp.load_task(TARGET, backbone, mp.DataOptions(**DATA))


def source_of(run: Path, method: str):
    """What a method starts from, as an earlier run has stored it."""
    if method == "mpt":
        return mp.load_prompt(run / "seed-1" / "source" / "prompt.safetensors")
    if method in ("spot", "attempt"):
        return [mp.load_prompt(run / "seed-1" / f"teacher-{task}" / "prompt.safetensors") for task in SOURCES]
    return None


@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns_what_a_stage_does_and_is_used_saved_and_loaded(run, backbone, task, name, tmp_path):
    before = tensors_digest(dict(backbone.model.named_parameters()))
    source, method = source_of(run, name), mp.SpotOptions(**SPOT) if name == "spot" else name
    training = mp.TrainingOptions(**TRAINING)
    adapted = mp.adapt(backbone, task, method, source=source, training=training, prompt=PROMPT, seed=1)
    folder = run / "seed-1" / f"target-{TARGET}-{name}-all"
    stage = load_learned(folder)
    expected = stage.tensors if isinstance(stage, StoredMethod) else dict(stage.named_parameters())
    assert adapted.tensors.keys() == expected.keys()
    for key, tensor in expected.items():
        assert torch.equal(adapted.tensors[key], tensor), key
    texts = [example.source for example in task.data.test]
    lines = (folder / f"predictions-{TARGET}.jsonl").read_text(encoding="utf-8").splitlines()
    answers = [json.loads(line)["prediction"] for line in lines]
    assert adapted.answer(texts) == answers
    score = next(
        score for score in read_results(run / "results.json")[1] if (score.task, score.method) == (TARGET, name)
    )
    assert adapted.evaluate().metrics == score.metrics
    adapted.save(tmp_path / "learned.safetensors")
    again = mp.load_adapted(tmp_path / "learned.safetensors", backbone, task, source=source, prompt=PROMPT)
    assert again.answer(texts, TARGET) == answers
    assert tensors_digest(dict(backbone.model.named_parameters())) == before
    assert repr(adapted).startswith(f"Adapted({name!r}, mini-rte, ")
    assert "\n" not in repr(adapted)


def test_a_method_starts_from_what_it_has_learned_on_other_tasks(backbone, task):
    """At a rate of next to nothing it stays there."""
    others = [mp.load_task(name, backbone, mp.DataOptions(**DATA)) for name in SOURCES]
    training = mp.TrainingOptions(**TRAINING, weight_decay=0.0)
    first = mp.adapt(backbone, others, mp.AdapterOptions(learning_rate=0.1), training=training)
    assert [each.answer(["a text"], name) for each in [first] for name in SOURCES]
    still = mp.AdapterOptions(learning_rate=1e-30)
    second = mp.adapt(backbone, task, still, source=first, training=training)
    norms = [key for key in second.tensors if key.startswith("norms")]
    assert norms
    for key in norms:
        assert torch.allclose(second.tensors[key], first.tensors[key], rtol=0, atol=1e-20), key


def test_what_was_learned_with_another_model_is_not_taken_without_a_word(run, task, tmp_path):
    other = mp.load_backbone(str(save_tiny(tmp_path / "other", num_decoder_layers=1)))
    stages = run / "seed-1"
    for file in (f"target-{TARGET}-lora-all/method.safetensors", "source/prompt.safetensors"):
        tasks = [task] if "target" in file else [mp.load_task(name, other, mp.DataOptions(**DATA)) for name in SOURCES]
        with pytest.raises(
            CheckpointError, match="cannot be used here: it was trained with .*, which is not used here"
        ):
            mp.load_adapted(stages / file, other, tasks)
    listener, training = Listener(), mp.TrainingOptions(**TRAINING)
    place = Place("adapted", progress=listener)
    mp.adapt(other, task, "mpt", source=source_of(run, "mpt"), training=training, place=place)
    assert listener.said("a source: it was trained with ")


def test_what_cannot_be_adapted_is_said_before_anything_is_trained(run, backbone, task, tmp_path):
    prompt = source_of(run, "mpt")
    narrow = mp.SoftPrompt([torch.zeros(4, 8)])
    for arguments, error, message in [
        ({"method": "adaptors"}, UnknownNameError, "unknown method 'adaptors'; did you mean 'adapters'"),
        ({"method": "mpt"}, ConfigError, "mpt starts from a source prompt: give source"),
        ({"method": "spot"}, ConfigError, "spot starts from the prompts of source tasks"),
        ({"method": "lora", "source": prompt}, ConfigError, "lora starts from nothing that was learned before"),
        ({"method": "adapters", "source": prompt}, ConfigError, "can start from what adapters has learned"),
        ({"method": "mpt", "source": [prompt, prompt]}, ConfigError, "mpt starts from one source prompt; there are 2"),
        ({"method": "mpt", "source": narrow}, CheckpointError, "the prompt has width 8; the backbone .* has 16"),
        ({"method": mp.AttemptOptions(pretrained=True)}, ConfigError, "which an experiment does"),
        (
            {"method": mp.AdapterOptions(source_tasks=SOURCES)},
            ConfigError,
            "give what it has learned on them as source",
        ),
    ]:
        with pytest.raises(error, match=message):
            mp.adapt(backbone, task, **arguments)
    for name in set(METHODS) - set(GROUPED) - {"spot"}:
        with pytest.raises(ConfigError, match=f"{name} adapts to one task at a time"):
            mp.adapt(backbone, [task, task], name)
    stage = run / "seed-1" / f"target-{TARGET}-lora-all" / "method.safetensors"
    with pytest.raises(CheckpointError, match="holds what lora has trained, not ia3"):
        mp.load_adapted(stage, backbone, task, "ia3")
    with pytest.raises(CheckpointError, match="does not exist"):
        mp.load_adapted(tmp_path / "nothing", backbone, task)
    assert set(MULTITASK.values()) <= set(GROUPED)


def test_a_path_may_be_a_text(run, tmp_path):
    experiment = mp.load_experiment(str(run / "config.yaml"))
    with pytest.raises(CheckpointError, match="holds a run already"):
        mp.run_experiment(experiment, str(run), reuse=[str(run)])
    stored = mp.load_prompt(str(run / "seed-1" / "source" / "prompt.safetensors"))
    mp.save_prompt(str(tmp_path / "prompt.safetensors"), stored)
    assert len(mp.open_run(str(run)).answer(TARGET, ["a text"], method="mpt")) == 1
    assert len(mp.open_run(str(run)).scores()) == len(mp.open_run(str(run)).evaluate(tasks=SOURCES)) + len(METHODS)
    assert write_report(str(run), str(tmp_path / "page.html")) == tmp_path / "page.html"


def test_representations_are_one_short_line(run, backbone, task):
    prompt = source_of(run, "mpt")
    stored = load_learned(run / "seed-1" / f"target-{TARGET}-fine_tuning-all")
    values = [backbone, task, task.data, task.task, task.train, task.train.sources, prompt, prompt.prompt, stored]
    values.append(mp.evaluate(backbone, task, prompt.prompt))
    for value in values:
        assert repr(value).startswith(f"{type(value).__name__}(")
        assert len(repr(value)) < 160
        assert "\n" not in repr(value)
    assert repr(task) == "PreparedTask('mini-rte', 8 train, 1 dev, 2 test)"
    assert repr(task.task) == "Task('mini-rte', mini, answers 0/1, reports accuracy)"
    assert repr(prompt.prompt) == "DecomposedPrompt(2 x [4, 16])"
