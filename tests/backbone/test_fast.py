"""The faster passes give what transformers gives, and can be taken away again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from conftest import build_tiny_model, build_tiny_tokenizer, random_batch
from multiprompt.backbone import Inputs, T5Backbone, load_backbone
from multiprompt.backbone.packing import at_the_end
from multiprompt.backbone.t5.attention import position_bias
from multiprompt.backbone.t5.fast import accelerate, is_fast, restore
from multiprompt.batch import IGNORED, Batch
from rounding import assert_clear, assert_same, assert_same_gradients, far_from_kinks

RELU = {}
GATED = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}


both_ways = pytest.mark.parametrize("packs", [True, False], ids=["packed", "padded"])


def backbone_of(changes: dict, fast: bool, packs: bool = True) -> T5Backbone:
    backbone = T5Backbone(build_tiny_model(**changes), build_tiny_tokenizer(), "tiny")
    backbone.packs = packs
    if not fast:
        restore(backbone.model)
    return backbone


def fresh_prompts(batch: Batch) -> torch.Tensor:
    return torch.randn(len(batch), 5, 16, generator=torch.Generator().manual_seed(9)).requires_grad_()


def everything(backbone: T5Backbone, batch: Batch, hidden: str = "all") -> list[torch.Tensor]:
    """Logits, hidden states at the positions that count, and the gradient of all of these for the prompts."""
    prompts = fresh_prompts(batch)
    with far_from_kinks(backbone.model):
        output = backbone.forward(batch, prompts, hidden)
    tensors = [output.logits]
    tensors += [state[states.mask] for states in output.states.values() for state in states.values]
    sum(tensor.sin().sum() for tensor in tensors).backward()
    return [*(tensor.detach() for tensor in tensors), prompts.grad]


@both_ways
@pytest.mark.parametrize("changes", [RELU, GATED])
@pytest.mark.parametrize("hidden", ["none", "last", "all"])
def test_outputs_states_and_gradients_are_those_of_transformers(changes, hidden, packs):
    batch = random_batch()
    ours, theirs = (everything(backbone_of(changes, fast, packs=packs), batch, hidden) for fast in (True, False))
    assert len(ours) == len(theirs) == {"none": 2, "last": 4, "all": 6}[hidden]
    for own, other in zip(ours, theirs, strict=True):
        assert_same(own, other)


@both_ways
@pytest.mark.parametrize("changes", [RELU, GATED])
def test_a_batch_without_padding_and_one_of_a_single_example(changes, packs):
    full = random_batch()
    for batch in (
        Batch(full.input_ids[:1], full.attention_mask[:1], full.labels[:1], full.task_ids[:1]),
        Batch(full.input_ids, torch.ones_like(full.input_ids), full.labels.clamp_min(3), full.task_ids),
    ):
        ours, theirs = (everything(backbone_of(changes, fast, packs=packs), batch) for fast in (True, False))
        for own, other in zip(ours, theirs, strict=True):
            assert_same(own, other)


@both_ways
@pytest.mark.parametrize("changes", [RELU, GATED])
def test_restore_gives_back_transformers_bit_by_bit(changes, packs):
    batch = random_batch()
    plain = backbone_of(changes, fast=False, packs=packs)
    before = everything(plain, batch)
    weights = {name: tensor.clone() for name, tensor in plain.model.state_dict().items()}
    classes = [type(module) for module in plain.model.modules()]
    accelerate(plain.model)
    accelerate(plain.model)  # twice is once
    everything(plain, batch)
    assert list(plain.model.state_dict()) == list(weights)
    assert [type(module) for module in plain.model.modules()] == classes
    restore(plain.model)
    for tensor, other in zip(everything(plain, batch), before, strict=True):
        assert torch.equal(tensor, other)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in plain.model.state_dict().items())
    assert not any("forward" in vars(module) for module in plain.model.modules())


@both_ways
@pytest.mark.parametrize("changes", [RELU, GATED])
def test_generation_and_its_scores_are_those_of_transformers(changes, packs):
    batch = random_batch()

    def answer(backbone: T5Backbone, **options):
        prompts = fresh_prompts(batch).detach()
        return backbone.generate([Inputs(batch, prompts)], 8, **options)

    backbones = [backbone_of(changes, fast, packs=packs) for fast in (True, False)]
    ours, theirs = (assert_clear(each, lambda each=each: answer(each)) for each in backbones)
    assert ours.tolist() == theirs.tolist()
    outputs = [answer(each, output_logits=True, return_dict_in_generate=True) for each in backbones]
    assert_same(torch.stack(outputs[0].logits), torch.stack(outputs[1].logits))


@both_ways
@pytest.mark.parametrize("changes", [RELU, GATED])
def test_fine_tuning_has_the_gradients_of_transformers(changes, packs):
    batch = random_batch()
    gradients = []
    for fast in (True, False):
        backbone = backbone_of(changes, fast, packs=packs)
        backbone.model.requires_grad_(True)
        with far_from_kinks(backbone.model):
            backbone.forward(batch, None).logits.sin().sum().backward()
        gradients.append({name: weight.grad for name, weight in backbone.model.named_parameters()})
    assert all(gradient is not None for gradient in gradients[0].values())
    assert_same_gradients(*(list(each.values()) for each in gradients))


@both_ways
def test_training_some_weights_only_is_right_too(packs):
    batch = random_batch()
    gradients = []
    for fast in (True, False):
        backbone = backbone_of(RELU, fast, packs=packs)
        trained = [p for name, p in backbone.model.named_parameters() if "layer_norm" in name]
        for parameter in trained:
            parameter.requires_grad_(True)
        with far_from_kinks(backbone.model):
            backbone.forward(batch, None).logits.sin().sum().backward()
        gradients.append([parameter.grad for parameter in trained])
    assert_same_gradients(*gradients)


@both_ways
@pytest.mark.parametrize("changes", [RELU, GATED])
def test_dropout_follows_the_seed(changes, packs):
    backbone = backbone_of(changes, fast=True, packs=packs)
    batch = random_batch()
    results = []
    for seed in (1, 1, 2):
        with backbone.dropout(True):
            torch.manual_seed(seed)
            results.append(everything(backbone, batch))
    assert all(torch.equal(one, other) for one, other in zip(results[0], results[1], strict=True))
    assert not torch.allclose(results[0][0], results[2][0])


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.3])
def test_a_dropout_module_drops_at_its_rate_and_keeps_the_mean(rate):
    model = build_tiny_model(dropout_rate=rate).train()
    accelerate(model)
    count = 4_000_001
    values = torch.ones(count, requires_grad=True)
    torch.manual_seed(0)
    dropped = model.encoder.dropout(values)
    deviation = (rate * (1 - rate) / count) ** 0.5  # of the share of dropped elements
    assert abs(float((dropped == 0).double().mean()) - rate) < 4 * deviation
    assert_close(dropped[dropped != 0].unique(), torch.tensor([1 / (1 - rate)]))
    neighbours = ((dropped[1:] == 0) & (dropped[:-1] == 0)).double().mean()
    assert abs(float(neighbours) - rate**2) < 6 * deviation
    dropped.sum().backward()
    assert torch.equal(values.grad, dropped.detach())  # the same mask, the same scale


@both_ways
@pytest.mark.parametrize("changes", [RELU, GATED])
def test_gradients_belong_to_the_masks_of_the_forward_pass(changes, packs):
    # In double precision this would be gradcheck; in single precision a difference along the gradient does, where the
    # slope is far above the rounding of the value. The weights of the elements let none of them hide behind the others.
    backbone = backbone_of(changes, fast=True, packs=packs)
    batch = random_batch()

    def value(prompts: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(3)
        with backbone.dropout(True):
            output = backbone.forward(batch, prompts, "last")
        return output.logits.double().sin().sum() + output.states["encoder"].values[0].double().sin().sum()

    prompts = fresh_prompts(batch)
    value(prompts).backward()
    for seed in range(3):
        weights = torch.rand(prompts.shape, generator=torch.Generator().manual_seed(seed))
        direction = weights * prompts.grad
        step = float(0.03 / direction.norm())
        with torch.no_grad():
            near, far = (value(prompts + n * step * direction) - value(prompts - n * step * direction) for n in (1, 2))
        slope = (8 * near - far) / (12 * step)
        assert_close(float((prompts.grad * direction).sum()), float(slope), rtol=2e-3, atol=0)


@both_ways
@pytest.mark.parametrize("changes", [RELU, GATED])
def test_dropout_has_the_mean_and_the_spread_of_torch(changes, packs):
    # 600 copies of two examples in three passes: each copy has masks of its own
    batch = random_batch(batch_size=2, max_source=4)
    copies = Batch(
        *(torch.cat([t] * 200) for t in (batch.input_ids, batch.attention_mask, batch.labels, batch.task_ids))
    )
    prompts = torch.cat([fresh_prompts(batch).detach()] * 200)
    statistics = []
    for fast in (True, False):
        backbone = backbone_of(changes, fast, packs=packs)
        torch.manual_seed(0)
        with backbone.dropout(True), torch.no_grad():
            outputs = torch.cat([backbone.forward(copies, prompts).logits for _ in range(3)])
        stacked = outputs.unflatten(0, (600, -1))  # tokens of the targets
        statistics.append((stacked.mean(0), stacked.std(0)))
    (mean, spread), (other_mean, other_spread) = statistics
    error = float(other_spread.mean()) * (2 / 600) ** 0.5
    assert float((mean - other_mean).pow(2).mean().sqrt()) < 1.6 * error
    assert abs(float(spread.mean() / other_spread.mean()) - 1) < 0.05


def test_padding_in_front_is_not_packed():
    batch = random_batch()
    flipped = batch.attention_mask.flip(1)
    assert at_the_end(batch.known.sources)
    assert at_the_end(batch.known.targets)
    assert not at_the_end(batch.known.sources[:, ::-1])
    assert not at_the_end(np.zeros_like(batch.known.sources))
    labels = batch.labels.clone()
    labels[0, 1] = IGNORED
    holed = Batch(batch.input_ids, flipped, labels, batch.task_ids)
    ours, theirs = (everything(backbone_of(RELU, fast), holed) for fast in (True, False))
    for own, other in zip(ours, theirs, strict=True):
        assert_same(own, other)


def test_a_failure_inside_leaves_the_model_usable():
    backbone = backbone_of(RELU, fast=True)
    batch = random_batch()
    before = backbone.forward(batch, fresh_prompts(batch)).logits
    with pytest.raises(RuntimeError):
        backbone.forward(batch, torch.randn(len(batch), 5, 17))
    assert torch.equal(backbone.forward(batch, fresh_prompts(batch)).logits, before)


@pytest.mark.parametrize("changes", [{"dropout_rate": 0.6}, {"feed_forward_proj": "gated-silu"}])
def test_an_unusual_model_is_left_alone(changes):
    model = build_tiny_model(**changes)
    accelerate(model)
    assert not any("forward" in vars(module) for module in model.modules())


def test_a_loaded_backbone_is_accelerated(tiny_folder):
    model = load_backbone(str(tiny_folder), device="cpu").model
    assert is_fast(model)
    restore(model)
    assert not is_fast(model)


@pytest.mark.parametrize("changes", [RELU, GATED])
def test_an_example_without_a_token_is_that_of_transformers(changes):
    batch = random_batch()
    mask = batch.attention_mask.clone()
    mask[1] = 0
    empty = Batch(batch.input_ids, mask, batch.labels, batch.task_ids)
    ours, theirs = (backbone_of(changes, fast, packs=False).forward(empty, None).logits for fast in (True, False))
    assert_same(ours, theirs)


@both_ways
def test_only_frozen_models_leave_the_code_of_transformers(packs):
    batch = random_batch()
    backbone = backbone_of(RELU, True, packs)
    calls = []
    handle = backbone.model.encoder.register_forward_hook(lambda *_: calls.append(1))
    backbone.forward(batch, None)
    backbone.generate([Inputs(batch, None)], 2)
    assert not calls
    backbone.model.encoder.block[0].layer[0].SelfAttention.q.weight.requires_grad_(True)
    backbone.forward(batch, None)
    backbone.model.requires_grad_(False).double()
    backbone.forward(batch, None)
    assert len(calls) == 2
    handle.remove()


@pytest.mark.parametrize("longest", [1, 2, 7, 40, 300])
def test_the_position_bias_is_that_of_transformers(longest):
    model = build_tiny_model()
    for stack in (model.encoder, model.decoder):
        attention = stack.block[0].layer[0].SelfAttention
        expected = attention.compute_bias(longest, longest)[0]
        seen = torch.ones(longest, longest).tril().bool() if stack.is_decoder else slice(None)
        bias = position_bias(attention, longest)
        assert torch.equal(bias[:, seen], expected[:, seen])
        if stack.is_decoder:
            assert (bias[:, ~seen] == -torch.inf).all()
