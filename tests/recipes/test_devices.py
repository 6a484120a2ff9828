"""Every kind of stage and every method with the model on a GPU that is pretended, and all that was stored elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import torch
from torch import Tensor

from conftest import build_tiny_model, build_tiny_tokenizer
from multiprompt.backbone import T5Backbone
from multiprompt.backbone.t5.fast import restore
from multiprompt.evaluation.results import read_results
from multiprompt.methods import Method, build_method
from multiprompt.methods.prompt_starts import start_rows
from multiprompt.options import MixingOptions, PromptOptions, SourceOptions, TeacherOptions, TrainingOptions
from multiprompt.prompts import SoftPrompt, StoredPrompt, load_prompt, save_prompt
from multiprompt.recipes import adapt_target, answer, evaluate, train_source, train_teacher
from multiprompt.recipes.stage_training import Place, stage_training
from multiprompt.runs import open_run, run_experiment
from multiprompt.training import TrainingReport, train, train_together
from pretended_device import pretended_cuda
from recipes.every_kind import JOINED, KINDS, LENGTH, TASKS, data_of, prepared, start_of
from recipes.small import KillAt, Killed, small_experiment, stored_tensors

TRAINING = TrainingOptions(steps=2, batch_size=4, evaluate_every=1, log_every=1, checkpoint_seconds=1e-6)
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "spot": [{"start": "retrieved", "early_steps": 1}, {"start": "weighted", "early_steps": 1}, {"start": "mixture"}],
}
CASES = [(kind, changes) for kind in KINDS for changes in VARIANTS.get(kind, [{}])]


def tiny(device: str) -> T5Backbone:
    """A random backbone on a device that goes the way of a GPU."""
    model = build_tiny_model(num_layers=1, num_decoder_layers=1)
    model.set_attn_implementation("sdpa")
    backbone = T5Backbone(model.to(device), build_tiny_tokenizer(), "tiny")
    restore(backbone.model)
    return backbone


def learn(kind: str, changes: dict[str, Any], device: str, folder: Path) -> tuple[dict[str, Tensor], list[list[int]]]:
    """Train with an interruption, and give the trained tensors and answers of a beam search."""
    backbone = tiny(device)
    tasks = prepared(backbone)
    start = start_of(kind, backbone, TRAINING, **changes)

    def training(method: Method, folder: Path | None):
        return stage_training(method, data_of(start, tasks), TRAINING, MixingOptions(), 1, 1, Place(kind, folder))

    with build_method(kind, start) as method, pytest.raises(Killed):
        train(training(method, folder), KillAt(1))
    with build_method(kind, start) as method:
        train(training(method, folder))
        trained = [p for group in method.parameter_groups() for p in group.parameters]
        assert {tensor.device.type for tensor in (*trained, *method.tensors().values())} == {device}
        tensors = {name: tensor.cpu().clone() for name, tensor in method.tensors().items()}
        method.load(tensors)
        batch = next(training(method, None).stream)[0].to(backbone.device)
        beams = method.generate(batch, 2, beams=2)
        assert beams.device.type == device
    return tensors, beams.tolist()


@pytest.mark.parametrize(
    ("kind", "changes"), CASES, ids=[f"{kind}-{'-'.join(map(str, c.values()))}" for kind, c in CASES]
)
def test_with_the_model_on_a_gpu_a_stage_ends_as_on_the_processor(kind, changes, tmp_path):
    expected, beams = learn(kind, changes, "cpu", tmp_path / "cpu")
    with pretended_cuda():
        tensors, answers = learn(kind, changes, "cuda", tmp_path / "cuda")
    assert answers == beams
    assert tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(tensors[name], tensor, rtol=1e-5, atol=1e-6)


def test_runs_that_share_their_passes_end_as_on_the_processor():
    def together(device: str) -> list[dict[str, Tensor]]:
        backbone = tiny(device)
        tasks = prepared(backbone)
        trainings = []
        for kind in JOINED:
            start = start_of(kind, backbone, TRAINING, **VARIANTS.get(kind, [{}])[-1])
            method = build_method(kind, start)
            trainings.append(
                stage_training(method, data_of(start, tasks), TRAINING, MixingOptions(), 1, 1, Place(kind))
            )
        for report in train_together(trainings):
            assert isinstance(report, TrainingReport)
        return [{n: t.cpu() for n, t in training.method.tensors().items()} for training in trainings]

    expected = together("cpu")
    with pretended_cuda():
        found = together("cuda")
    for kind, ours, theirs in zip(JOINED, found, expected, strict=True):
        for name, tensor in theirs.items():
            torch.testing.assert_close(ours[name], tensor, rtol=1e-5, atol=1e-6, msg=f"{kind}, {name}")


@pytest.mark.parametrize("start", get_args(get_type_hints(PromptOptions)["start"]))
def test_first_values_are_on_the_processor(start, tmp_path):
    stored = StoredPrompt(SoftPrompt([torch.randn(LENGTH, 16)]), ("a",), "tiny")
    save_prompt(tmp_path / "prompt.safetensors", stored)
    text, path = ("a text" if start == "text" else None), str(tmp_path / "prompt.safetensors")
    options = PromptOptions(length=LENGTH, start=start, text=text, path=path if start == "saved" else None)
    with pretended_cuda():
        rows = start_rows(options, tiny("cuda"), 1)
    assert rows.device.type == "cpu"
    assert torch.equal(rows, start_rows(options, tiny("cpu"), 1))


def test_the_whole_method_from_python(tmp_path):
    """Prompts that were trained here and prompts that were read from files, side by side."""
    options = TrainingOptions(steps=1, batch_size=4)
    with pretended_cuda():
        backbone = tiny("cuda")
        tasks = [prepared(backbone)[name] for name in TASKS]
        shape = PromptOptions(length=LENGTH)
        teachers = []
        for task in tasks:
            teacher, _ = train_teacher(backbone, task, TeacherOptions(training=options), shape)
            teachers.append(teacher)
        path = tmp_path / "teacher.safetensors"
        save_prompt(path, StoredPrompt(teachers[0], (tasks[0].name,), "tiny"))
        stored = load_prompt(path).prompt
        source_options = SourceOptions(tasks=TASKS, training=options)
        source, _ = train_source(backbone, tasks, [stored, teachers[1]], source_options, shape)
        for prompt in (source, teachers[1], stored):
            adapted, _ = adapt_target(backbone, tasks[1:], prompt, training=options)
            assert evaluate(backbone, tasks[1], adapted).predictions
            assert len(answer(backbone, tasks[1], adapted, ["a question"])) == 1


def test_a_whole_experiment_is_interrupted_gone_on_with_and_used(tmp_path):
    training = {"steps": 2, "batch_size": 4, "checkpoint_seconds": 1e-6}
    sections = {"source": {"tasks": list(TASKS), "training": training}, "teachers": {"training": training}}
    methods = {"spot": {"early_steps": 1}, "fine_tuning": {}}
    targets = {"tasks": ["mini-rte"], "methods": methods, "training": training}
    data = {"max_train": 8, "max_dev": 2, "max_test": 2, "max_source_length": 16}
    tiny("cpu").model.save_pretrained(tmp_path / "tiny")
    build_tiny_tokenizer().save_pretrained(tmp_path / "tiny")
    experiment = small_experiment(tmp_path / "tiny", data=data, targets=targets, **sections)
    experiment = replace(experiment, backbone=replace(experiment.backbone, device="cuda"))
    run = tmp_path / "run"
    with pretended_cuda(bfloat16=True):  # which is what a GPU takes by itself
        with pytest.raises(Killed):
            run_experiment(experiment, run, progress=KillAt(1))
        run_experiment(experiment, run, resume=True)
        scores = [score for score in read_results(run / "results.json")[1] if score.task == "mini-rte"]
        assert {score.method for score in scores} >= methods.keys()
        opened = open_run(run)
        assert [score.value for score in opened.evaluate(["mini-rte"])] == [score.value for score in scores]
        assert len(opened.answer("mini-rte", ["a question"], method="spot")) == 1
    assert {tensor.dtype for tensor in stored_tensors(run).values()} == {torch.float32}
