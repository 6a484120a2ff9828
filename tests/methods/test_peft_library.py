"""LoRA, IA3 and prefix tuning: the equations, peft's own loss, and what is left in the model."""

from __future__ import annotations

import copy
import inspect
import sys
import warnings
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from transformers import DynamicCache, EncoderDecoderCache

from conftest import build_tiny_model, build_tiny_tokenizer, random_batch
from multiprompt.backbone import T5Backbone
from multiprompt.backbone.t5.fast import is_accelerated
from multiprompt.batch import IGNORED
from multiprompt.errors import CheckpointError, ConfigError
from multiprompt.methods import build_method
from multiprompt.methods.peft_library import PeftMethod, PrefixTuning, cache_by_its_name, ia3, lora
from multiprompt.options import TrainingOptions
from recipes.every_kind import start_of
from rounding import assert_clear, assert_same

LENGTH = 5
BUILDERS = {
    "lora": lambda backbone, seed=1: lora(backbone, 3, 6.0, 1e-2, False, seed),
    "ia3": lambda backbone, seed=1: ia3(backbone, 1e-2, False, seed),
    "prefix_tuning": lambda backbone, seed=1: PrefixTuning(backbone, LENGTH, 1e-2, False, seed),
}
each_method = pytest.mark.parametrize("name", BUILDERS)


def tiny(**changes) -> T5Backbone:
    return T5Backbone(build_tiny_model(**changes), build_tiny_tokenizer(), "tiny")


def randomise(method: PeftMethod) -> dict[str, torch.Tensor]:
    """Random values for all trained tensors, so that nothing is zero or one."""
    generator = torch.Generator().manual_seed(4)
    tensors = {key: torch.randn(tensor.shape, generator=generator) for key, tensor in method.tensors().items()}
    method.load(tensors)
    return tensors


def bare_losses(model, batch, **options) -> torch.Tensor:
    """Summed cross-entropy of every example by transformers alone."""
    decoder_input_ids = model._shift_right(batch.labels)
    logits = model(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask, decoder_input_ids=decoder_input_ids, **options
    ).logits
    return F.cross_entropy(logits.transpose(1, 2), batch.labels, ignore_index=IGNORED, reduction="none").sum(1)


def test_lora_is_a_low_rank_change_of_queries_and_values():
    backbone, batch = tiny(), random_batch()
    changed = copy.deepcopy(build_tiny_model())
    with BUILDERS["lora"](backbone) as method:
        tensors = randomise(method)
        losses = method.losses(batch)[0].sums
    targets = [name for name, _ in changed.named_modules() if name.split(".")[-1] in ("q", "v")]
    assert len(targets) == 2 * (2 + 2 + 2), "self-attention of both stacks and cross-attention"
    assert set(tensors) == {f"{name}.lora_{part}.weight" for name in targets for part in "AB"}
    with torch.no_grad():
        for name in targets:
            update = tensors[f"{name}.lora_B.weight"] @ tensors[f"{name}.lora_A.weight"]
            changed.get_submodule(name).weight += 6.0 / 3 * update
    assert_same(losses, bare_losses(changed, batch))


def test_ia3_scales_keys_values_and_the_feed_forward_activations():
    backbone, batch = tiny(), random_batch()
    changed = build_tiny_model()
    with BUILDERS["ia3"](backbone) as method:
        tensors = randomise(method)
        losses = method.losses(batch)[0].sums
    targets = [name for name, _ in changed.named_modules() if name.split(".")[-1] in ("k", "v", "wo")]
    assert set(tensors) == {f"{name}.ia3_l" for name in targets}
    with torch.no_grad():
        for name in targets:
            # [O, 1] for keys and values: rows of the weight; [1, I] for the feed-forward layer: its columns
            changed.get_submodule(name).weight *= tensors[f"{name}.ia3_l"]
    assert_same(losses, bare_losses(changed, batch))


@pytest.mark.parametrize("blocks", [2, 3, 4])
def test_a_prefix_is_earlier_keys_and_values_of_decoder_self_attention(blocks):
    backbone, batch = tiny(num_decoder_layers=blocks), random_batch()
    with BUILDERS["prefix_tuning"](backbone) as method:
        prefix = randomise(method)["prefix"]
        losses = method.losses(batch)[0].sums
        losses.sum().backward()
    heads, width = 2, 8
    slots = prefix.view(LENGTH, 2 * blocks, heads, width).permute(1, 2, 0, 3).expand(len(batch), -1, -1, -1, -1)
    # The quirk that the class describes: four slots are dealt to every block, around and around; two of them are used.
    used = [(4 * block % (2 * blocks), (4 * block + 1) % (2 * blocks)) for block in range(blocks)]
    cache = DynamicCache([(slots[:, key], slots[:, value]) for key, value in used])
    model = build_tiny_model(num_decoder_layers=blocks)
    name = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
    reference = bare_losses(model, batch, **{name: EncoderDecoderCache(cache, DynamicCache())})
    assert_same(losses, reference)
    moved = method.parameters()["prefix"].grad.view(LENGTH, 2 * blocks, -1).abs().sum((0, 2)) > 0
    assert moved.tolist() == [slot in {each for pair in used for each in pair} for slot in range(2 * blocks)]
    assert sum(moved.tolist()) == (blocks if blocks % 2 == 0 else 2 * blocks)


@each_method
def test_losses_are_those_of_peft_itself(name):
    import peft

    configs = {
        "lora": peft.LoraConfig(task_type="SEQ_2_SEQ_LM", r=3, lora_alpha=6.0),
        "ia3": peft.IA3Config(task_type="SEQ_2_SEQ_LM"),
        "prefix_tuning": peft.PrefixTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=LENGTH),
    }
    batch = random_batch()
    with BUILDERS[name](tiny()) as method:
        tensors = randomise(method)
        total = method.losses(batch)[0].sums.sum() / method.terms(batch)[0].counts.sum()
        answers = assert_clear(method.backbone, lambda: method.generate(batch, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        theirs = peft.get_peft_model(build_tiny_model(), configs[name]).eval()
    parameters = {
        key.removeprefix("base_model.model.").replace(".default", ""): parameter
        for key, parameter in theirs.named_parameters()
        if parameter.requires_grad
    }
    if name == "prefix_tuning":
        parameters = {"prefix": parameters["prompt_encoder.embedding.weight"]}
    assert parameters.keys() == tensors.keys()
    with torch.no_grad():
        for key, parameter in parameters.items():
            parameter.copy_(tensors[key])
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    prefix = name == "prefix_tuning"  # which peft itself loses on its way into newer releases of transformers
    with cache_by_its_name(theirs.base_model) if prefix else nullcontext():
        assert_same(total, theirs(**inputs, labels=batch.labels).loss)
        assert torch.equal(answers, theirs.generate(**inputs, do_sample=False, max_new_tokens=4))


@each_method
def test_the_backbone_is_changed_inside_the_block_only(name, tiny_backbone):
    model, batch = tiny_backbone.model, random_batch()
    attributes, plain = set(vars(model)), bare_losses(build_tiny_model(), batch)
    method = BUILDERS[name](tiny_backbone)
    assert_same(bare_losses(model, batch), plain)
    for _ in range(2):  # a second block goes on with the same tensors
        with method:
            stored = randomise(method)
            assert not is_accelerated(model)
            changed = method.losses(batch)[0].sums
            assert not torch.allclose(changed, plain, rtol=1e-2)
            method.generate(batch, 2)
        assert is_accelerated(model)
        assert tiny_backbone.packs
        assert set(vars(model)) == attributes
        assert not any(parameter.requires_grad for parameter in model.parameters())
        assert_same(bare_losses(model, batch), plain)
        assert all(torch.equal(tensor, stored[key]) for key, tensor in method.tensors().items())


@each_method
def test_the_block_may_end_in_an_error(name, tiny_backbone):
    modules = dict(tiny_backbone.model.named_modules())
    with pytest.raises(ZeroDivisionError), BUILDERS[name](tiny_backbone):
        _ = 1 / 0
    assert dict(tiny_backbone.model.named_modules()) == modules
    assert is_accelerated(tiny_backbone.model)


@each_method
def test_the_global_generator_is_left_alone(name, tiny_backbone):
    before = torch.get_rng_state()
    BUILDERS[name](tiny_backbone)
    assert torch.equal(torch.get_rng_state(), before)


@each_method
def test_a_model_of_another_shape_and_precision(name):
    """As in T5 v1.1: a gate, and heads that together are not as wide as the model; and bfloat16, as on a GPU."""
    changes = {"feed_forward_proj": "gated-gelu", "d_kv": 4, "num_heads": 3}
    model = build_tiny_model(**changes).bfloat16()
    batch = random_batch()
    with BUILDERS[name](T5Backbone(model, build_tiny_tokenizer(), "gated")) as method:
        assert {tensor.dtype for tensor in method.tensors().values()} == {torch.float32}
        losses = method.losses(batch)[0].sums
        losses.sum().backward()
        assert losses.dtype == torch.float32
        assert all(parameter.grad is not None for parameter in method.parameters().values())
        assert method.generate(batch, 2).shape[0] == len(batch)


@each_method
def test_tensors_of_another_shape_are_refused(name, tiny_backbone):
    with BUILDERS[name](tiny_backbone) as method:
        tensors = method.tensors()
        first = next(iter(tensors))
        with pytest.raises(CheckpointError, match=f"{first!r} of the tensors of peft has shape"):
            method.load(tensors | {first: torch.zeros(3, 3, 3)})
        with pytest.raises(CheckpointError, match="unknown .*'another'"):
            method.load(tensors | {"another": torch.zeros(1)})


@each_method
def test_without_the_library_the_error_names_the_extra(name, tiny_backbone, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match=r'install it with pip install "multiprompt\[peft\]"'):
        build_method(name, start_of(name, tiny_backbone, TrainingOptions()))


@each_method
def test_ranked_answers_have_the_probability_that_training_sees(tiny_backbone, name):
    batch, answers = random_batch(num_tasks=1), [[40, 1], [41, 42, 1]]
    with BUILDERS[name](tiny_backbone) as method:
        randomise(method)
        scores = method.rank(batch, answers)
        for column, answer in enumerate(answers):
            labels = torch.tensor([answer]).expand(len(batch), -1)
            with torch.no_grad():
                expected = method.losses(replace(batch, labels=labels))[0].sums
            assert_same(scores[:, column], -expected)
