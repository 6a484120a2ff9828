"""The same tests on the processor and, marked ``gpu``, on a GPU; ``benchmarks/gpu_check.py`` runs the latter.

What a device computes is compared with what transformers computes on the processor in float32. In float32 it may differ
by rounding. In bfloat16 every product rounds to three digits; a random model of two blocks is off by some hundredths.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from conftest import Again, build_tiny_model, build_tiny_tokenizer, random_batch, run_on, step_of
from multiprompt.backbone import T5Backbone
from multiprompt.backbone.t5.fast import restore
from multiprompt.batch import IGNORED, Batch
from multiprompt.methods import Method, PromptTuning, build_method
from multiprompt.options import MixingOptions, TrainingOptions
from multiprompt.prompts import SoftPrompt
from multiprompt.recipes.stage_training import Place, stage_training
from multiprompt.training import TrainingReport, step, train, train_together
from recipes.every_kind import KINDS, data_of, prepared, start_of
from recipes.small import KillAt, Killed
from recipes.test_devices import VARIANTS

LENGTH, WIDTH = 5, 16
TRAINING = TrainingOptions(steps=4, batch_size=4, dropout=False, log_every=1, checkpoint_seconds=1e-6, select="last")
GPU = pytest.param(
    "cuda",
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")],
)
each_device = pytest.mark.parametrize("device", ["cpu", GPU])
each_precision = pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
each_shape = pytest.mark.parametrize(
    "shape", [{}, {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}], ids=["v1.0", "v1.1"]
)


def backbone_on(device: str, precision: torch.dtype = torch.float32, **shape: object) -> T5Backbone:
    model = build_tiny_model(**shape)
    if device == "cuda":
        model.set_attn_implementation("sdpa")
    return T5Backbone(model.to(device, precision), build_tiny_tokenizer(), "tiny")


def reference(**shape: object) -> T5Backbone:
    """transformers on the processor, in float32."""
    backbone = backbone_on("cpu", **shape)
    restore(backbone.model)
    return backbone


def prompts_for(batch: Batch, device: str) -> Tensor:
    return torch.randn(len(batch), LENGTH, WIDTH, generator=torch.Generator().manual_seed(1)).to(device)


def lack(found: Tensor, expected: Tensor) -> float:
    """The norm of the difference over that of what is expected."""
    return float((found.detach().cpu().double() - expected.double()).norm() / expected.double().norm())


def limit(precision: torch.dtype) -> float:
    return 1e-5 if precision == torch.float32 else 0.05


@each_shape
@each_precision
@each_device
def test_the_backbone_is_that_of_transformers(device, precision, shape):
    batch = random_batch()
    expected = reference(**shape).forward(batch, prompts_for(batch, "cpu"), hidden="all")
    backbone = backbone_on(device, precision, **shape)
    found = backbone.forward(batch.to(device), prompts_for(batch, device), hidden="all")
    assert lack(found.logits, expected.logits) < limit(precision)
    assert found.labels.tolist() == expected.labels.tolist()
    assert found.example_ids.tolist() == expected.example_ids.tolist()
    encoder, decoder = expected.states["encoder"].mask, batch.target_mask
    for ours, theirs, mask in (
        (found.states["encoder"].values, expected.states["encoder"].values, encoder),
        (found.states["decoder"].values, expected.states["decoder"].values, decoder),
    ):
        assert len(ours) == len(theirs) == 2
        for own, other in zip(ours, theirs, strict=True):
            assert lack(own.cpu()[mask], other[mask]) < limit(precision)


def gradients_of(kind: str, backbone: T5Backbone) -> dict[str, Tensor]:
    """Of one step without dropout."""
    tasks = prepared(backbone)
    start = start_of(kind, backbone, TRAINING, **VARIANTS.get(kind, [{}])[-1])
    with build_method(kind, start) as method:
        batches = next(
            stage_training(method, data_of(start, tasks), TRAINING, MixingOptions(), 1, 1, Place(kind)).stream
        )
        step_of(run_on(method, Again(batches), clip=1e9, dropout=False))
        named = zip(method.tensors(), _parameters(method), strict=False)
        return {name: p.grad.detach().float().cpu().clone() for name, p in named if p.grad is not None}


def _parameters(method: Method) -> list[torch.nn.Parameter]:
    return [parameter for group in method.parameter_groups() for parameter in group.parameters]


@pytest.mark.parametrize("kind", KINDS)
@each_precision
@each_device
def test_every_kind_has_the_gradients_of_the_processor(device, precision, kind):
    expected = gradients_of(kind, reference())
    found = gradients_of(kind, backbone_on(device, precision))
    assert found.keys() == expected.keys()
    whole, other = (torch.cat([each[name].flatten() for name in expected]) for each in (found, expected))
    assert other.norm() > 0
    assert lack(whole, other) < (1e-4 if precision == torch.float32 else 0.2)


@pytest.mark.parametrize("kind", KINDS)
@each_device
def test_an_interrupted_training_goes_on(device, kind, tmp_path):
    def learn(folder, kill_at: int | None) -> dict[str, Tensor]:
        backbone = backbone_on(device)
        start, tasks = start_of(kind, backbone, TRAINING, **VARIANTS.get(kind, [{}])[-1]), prepared(backbone)
        with build_method(kind, start) as method:
            training = stage_training(
                method, data_of(start, tasks), TRAINING, MixingOptions(), 1, 1, Place(kind, folder)
            )
            train(training, *([KillAt(kill_at)] if kill_at else []))
            return {name: tensor.cpu().clone() for name, tensor in method.tensors().items()}

    expected = learn(None, None)
    with pytest.raises(Killed):
        learn(tmp_path, 2)
    found = learn(tmp_path, None)
    for name, tensor in expected.items():
        if device == "cpu":
            assert torch.equal(found[name], tensor), name
        else:  # sums on a GPU are taken in an order that changes, and AdamW divides by small numbers
            assert lack(found[name], tensor) < 1e-2 or float(tensor.norm()) < 1e-6, name


@each_device
def test_joint_runs_are_as_alone(device):
    def trainings(backbone: T5Backbone) -> list:
        tasks = prepared(backbone)
        start = start_of("prompt_tuning", backbone, TRAINING)
        return [
            stage_training(
                build_method("prompt_tuning", replace(start, seed=seed)),
                data_of(start, tasks),
                replace(TRAINING, optimiser="adafactor"),
                MixingOptions(),
                1,
                seed,
                Place("a"),
            )
            for seed in range(3)
        ]

    backbone = backbone_on(device)
    alone, together = trainings(backbone), trainings(backbone)
    for training in alone:
        train(training)
    assert all(isinstance(report, TrainingReport) for report in train_together(together))
    for one, other in zip(alone, together, strict=True):
        for name, tensor in one.method.tensors().items():
            assert lack(other.method.tensors()[name], tensor.cpu()) < 1e-4, name


@each_precision
@each_device
def test_generated_answers_are_what_the_model_says_when_it_reads_them(device, precision):
    backbone = backbone_on(device, precision)
    batch = random_batch(batch_size=8).to(device)
    method = PromptTuning(backbone, SoftPrompt([prompts_for(batch, "cpu")[0]]), dropout=False)
    batch = replace(batch, task_ids=torch.zeros_like(batch.task_ids))
    for beams in (1, 3):
        answers = method.generate(batch, 6, beams)
        assert answers.shape[0] == 8
        assert answers.device.type == device
        if beams > 1:
            continue
        ids = answers[:, 1:].cpu()
        ended = (ids == 1).cumsum(1) - (ids == 1).long() > 0
        forced = replace(batch, labels=ids.masked_fill(ended, IGNORED).to(device))
        with torch.no_grad():
            output = backbone.forward(forced, method.prompts(forced))
        best = output.logits.max(1).values
        given = output.logits.gather(1, output.labels[:, None])[:, 0]
        assert ((best - given) / output.logits.std(1)).max() < (1e-4 if precision == torch.float32 else 0.05)


@each_device
def test_a_step_is_the_same_however_it_is_cut(device):
    backbone = backbone_on(device)
    gradients = []
    for parts in (1, 3):
        batch = random_batch(num_tasks=1)
        rows = torch.arange(len(batch)).chunk(parts)
        cut = [
            Batch(*(t[r] for t in (batch.input_ids, batch.attention_mask, batch.labels, batch.task_ids))) for r in rows
        ]
        method = PromptTuning(backbone, SoftPrompt([prompts_for(batch, "cpu")[0]]), dropout=False)
        run = run_on(method, Again(cut), clip=1e9, dropout=False)
        step([run])
        gradients.append(method.prompt.prompts[0].grad.cpu())
    assert lack(gradients[1], gradients[0]) < 1e-5
