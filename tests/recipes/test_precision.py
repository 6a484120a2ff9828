"""With a backbone in bfloat16, as on a GPU, everything that is trained is float32 and learns as it does in float32."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from conftest import Again, build_tiny_model, build_tiny_tokenizer, random_batch, run_on, step_of
from multiprompt.backbone import T5Backbone
from multiprompt.backbone.t5.fast import restore
from multiprompt.batch import Batch
from multiprompt.files import read_tensors
from multiprompt.methods import FineTuning, Method
from multiprompt.options import MixingOptions, TrainingOptions
from multiprompt.recipes.build import build_method
from multiprompt.recipes.stage_training import Place, stage_training
from multiprompt.training import train
from recipes.every_kind import KINDS, default_options, prepared, start_of, tasks_of
from recipes.small import KillAt, Killed

SMALL = 1e-4
"""A learning rate that moves few numbers in bfloat16: those below 512 times as much."""

STEPS = 3
TRAINING = TrainingOptions(steps=2, batch_size=4, evaluate_every=1, checkpoint_seconds=1e-6)
each_kind = pytest.mark.parametrize("kind", KINDS)


def tiny(precision: torch.dtype, attention: str = "eager") -> T5Backbone:
    """A random backbone; its weights have the same values in both precisions."""
    model = build_tiny_model(num_layers=1, num_decoder_layers=1).bfloat16().to(precision)
    model.set_attn_implementation(attention)
    backbone = T5Backbone(model, build_tiny_tokenizer(), "tiny")
    restore(model)
    return backbone


def build(kind: str, backbone: T5Backbone, tasks: Any = None) -> Method:
    """A method whose learning rates are small, without dropout."""
    options = default_options(kind)
    changes = {field.name: SMALL for field in dataclasses.fields(options) if field.name.endswith("learning_rate")}
    if kind == "spot":
        changes |= {"start": "mixture"}
    return build_method(kind, start_of(kind, backbone, dataclasses.replace(TRAINING, dropout=False), tasks, **changes))


def batch_for(kind: str) -> Batch:
    return random_batch(num_tasks=len(tasks_of(kind)))


def numbers(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().flatten().double() for tensor in tensors])


def moved(kind: str, precision: torch.dtype) -> float:
    """The share of all trained numbers that a few steps have moved."""
    with build(kind, tiny(precision)) as method:
        parameters = [p for group in method.parameter_groups() for p in group.parameters]
        before = numbers(parameters)
        run = run_on(method, Again([batch_for(kind)]), weight_decay=0.0)
        for _ in range(STEPS):
            step_of(run)
        states = [value for state in run.optimiser.state.values() for value in state.values()]
        assert {tensor.dtype for tensor in (*parameters, *method.tensors().values(), *states)} == {torch.float32}
        return float((numbers(parameters) != before).double().mean())


@each_kind
def test_small_steps_move_as_much_as_in_float32(kind):
    share, expected = moved(kind, torch.bfloat16), moved(kind, torch.float32)
    assert expected > 0.2
    assert share == pytest.approx(expected, abs=0.02)


def loss_and_gradient(kind: str, precision: torch.dtype) -> tuple[float, Tensor]:
    with build(kind, tiny(precision)) as method:
        loss = sum(term.weight * term.sums.sum() for term in method.losses(batch_for(kind)))
        loss.backward()
        parameters = [p for group in method.parameter_groups() for p in group.parameters]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        assert {gradient.dtype for gradient in gradients} == {torch.float32}
        return loss.item(), numbers(gradients)


@each_kind
def test_loss_and_gradient_are_those_of_float32_up_to_the_rounding_of_bfloat16(kind):
    loss, gradient = loss_and_gradient(kind, torch.bfloat16)
    expected_loss, expected = loss_and_gradient(kind, torch.float32)
    assert loss == pytest.approx(expected_loss, rel=0.01)
    assert float((gradient - expected).norm() / expected.norm()) < 0.1


@each_kind
def test_what_is_stored_is_exact_and_the_backbone_comes_out_as_it_went_in(kind, tmp_path):
    backbone = tiny(torch.bfloat16)
    model = backbone.model
    weights = {name: (id(p), p.data_ptr(), p.clone()) for name, p in model.named_parameters()}
    tasks = prepared(backbone)

    def train_in(folder, progress=None):
        with build(kind, backbone, tasks) as method:
            data = [tasks[name] for name in tasks_of(kind)]
            training = stage_training(method, data, TRAINING, MixingOptions(), 1, 1, Place(kind, folder))
            train(training, *([progress] if progress else []))
            return {name: tensor.clone() for name, tensor in method.tensors().items()}

    whole = train_in(tmp_path / "whole")
    with pytest.raises(Killed):
        train_in(tmp_path / "killed", KillAt(1))
    again = train_in(tmp_path / "killed")
    stored, _ = read_tensors(tmp_path / "whole" / "checkpoint.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32}
    for name, tensor in whole.items():
        assert torch.equal(again[name], tensor), name
        assert torch.equal(stored[f"best/{name}"], tensor) or torch.equal(stored[f"trained/{name}"], tensor), name
    for name, parameter in model.named_parameters():
        assert weights[name][:2] == (id(parameter), parameter.data_ptr()), name
        assert torch.equal(parameter, weights[name][2]), name
        assert parameter.dtype == torch.bfloat16
        assert parameter.grad is None
        assert not parameter.requires_grad


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_fine_tuning_answers_with_its_trained_weights(attention):
    """Logits of zeros: every token is as likely as any other, and the first one is the answer."""
    backbone, batch = tiny(torch.bfloat16, attention), random_batch(num_tasks=1)
    before = backbone.forward(batch, None).logits
    with FineTuning(backbone, dropout=False) as method:
        started = method.losses(batch)[0].sums.detach()
        reference = T5Backbone(tiny(torch.float32, attention).model, backbone.tokenizer, "float32")
        with FineTuning(reference, dropout=False) as exact:
            torch.testing.assert_close(started, exact.losses(batch)[0].sums.detach(), rtol=0.02, atol=0)
            step_of(run_on(method, Again([batch])))
            trained = method.losses(batch)[0].sums.detach()
            assert (trained < started).all()
            exact.load(method.tensors())
            torch.testing.assert_close(trained, exact.losses(batch)[0].sums.detach(), rtol=0.02, atol=0)
        method.load({name: torch.zeros_like(tensor) for name, tensor in method.tensors().items()})
        expected = math.log(backbone.model.config.vocab_size) * torch.from_numpy(batch.target_lengths).float()
        torch.testing.assert_close(method.losses(batch)[0].sums.detach(), expected)
        assert not method.generate(batch, 3)[:, 1:].any()
    assert torch.equal(backbone.forward(batch, None).logits, before)


def test_fine_tuning_that_fails_on_its_way_in_leaves_the_backbone_as_it_was(monkeypatch):
    backbone = tiny(torch.bfloat16)
    before = {name: parameter.clone() for name, parameter in backbone.model.named_parameters()}

    def out_of_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(backbone.model, "requires_grad_", out_of_memory)
    with pytest.raises(MemoryError), FineTuning(backbone):
        pass
    for name, parameter in backbone.model.named_parameters():
        assert parameter.dtype == torch.bfloat16
        assert torch.equal(parameter, before[name])
