"""Adapters: where they stand and what they compute, against a loop over the rows; norms and starts."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from conftest import build_tiny_model, random_batch
from methods.sublayers import check_updates, frozen, gelu_new, pass_through, randomise
from multiprompt.backbone import T5Backbone
from multiprompt.methods.adapters import WEIGHT_SPREAD, Adapters
from multiprompt.methods.inserted import InsertedMethod
from rounding import assert_same

PLACES = ("self_attention", "feed_forward")
GATED = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}


def adapters_of(backbone: T5Backbone, num_tasks: int = 3, places=PLACES) -> InsertedMethod:
    layers = Adapters(backbone, 4, num_tasks, places, torch.Generator().manual_seed(1))
    return InsertedMethod(backbone, layers, 1e-2, dropout=False)


@pytest.mark.parametrize("places", [PLACES, PLACES[:1]])
@pytest.mark.parametrize("changes", [{}, GATED])
def test_every_row_goes_through_the_adapter_of_its_task(tiny_backbone, places, changes):
    backbone = T5Backbone(build_tiny_model(**changes), tiny_backbone.tokenizer, "tiny")
    method, batch = adapters_of(backbone, places=places), random_batch()
    randomise(method.inserted.layers)
    seen = pass_through(backbone, method, batch)
    order = [(stack, block, place) for stack in ("encoder", "decoder") for block in range(2) for place in places]
    assert len(method.inserted.layers) == len(order)
    for place in PLACES:

        def expected(one, update, row, place=place):
            if place not in places:
                return update
            layer = method.inserted.layers[order.index((one.stack, one.block, place))]
            task = int(batch.task_ids[row])
            inner = gelu_new(update @ layer.down[task] + layer.down_bias[task])
            return update + inner @ layer.up[task] + layer.up_bias[task]

        check_updates(backbone, seen[place], expected)


def test_a_sublayer_without_an_adapter_is_the_frozen_one(tiny_backbone):
    method = adapters_of(tiny_backbone)
    with method:
        hooked = [name for name, module in tiny_backbone.model.named_modules() if module._forward_hooks]
    assert not any("EncDecAttention" in name for name in hooked)


def test_with_nothing_behind_the_bottleneck_the_logits_are_those_of_the_backbone(tiny_backbone):
    method, batch = adapters_of(tiny_backbone), random_batch()
    with frozen(tiny_backbone):
        expected = tiny_backbone.forward(batch, None).logits
    with method, torch.no_grad():
        begun = tiny_backbone.forward(batch, None).logits
        for layer in method.inserted.layers:
            for up in layer.up:
                up.zero_()
        assert torch.equal(tiny_backbone.forward(batch, None).logits, expected)
    assert not torch.equal(begun, expected), "a bottleneck starts small, not at zero"
    assert_close(begun, expected, rtol=0.01, atol=0.01)


def test_the_start_is_the_published_one(tiny_backbone):
    layers = Adapters(
        T5Backbone(build_tiny_model(d_model=64), None, "tiny"), 32, 2, PLACES, torch.Generator().manual_seed(1)
    ).layers
    weights = torch.cat([w.flatten() for layer in layers for w in (*layer.down, *layer.up)])
    assert weights.std().item() == pytest.approx(WEIGHT_SPREAD, rel=0.02)
    assert weights.mean().abs().item() < 0.03 * WEIGHT_SPREAD
    assert not any(bias.any() for layer in layers for bias in (*layer.down_bias, *layer.up_bias))


def test_trained_norms_take_the_place_of_the_frozen_ones_and_leave_it(tiny_backbone):
    method, batch = adapters_of(tiny_backbone), random_batch()
    norms = [norm.weight for norm in tiny_backbone.norms()]
    # two in every encoder block, three in every decoder block, one at the end of each stack
    assert len(norms) == len(method.inserted.norms) == 2 * 2 + 2 * 3 + 2
    before = [norm.clone() for norm in norms]
    with frozen(tiny_backbone):
        expected = tiny_backbone.forward(batch, None).logits
    randomise(method.inserted.norms)
    with method, torch.no_grad():
        for layer in method.inserted.layers:
            for up in layer.up:
                up.zero_()
        changed = tiny_backbone.forward(batch, None).logits
    assert not torch.allclose(changed, expected)
    assert all(norm.weight is weight for norm, weight in zip(tiny_backbone.norms(), norms, strict=True))
    assert all(torch.equal(norm, weight) for norm, weight in zip(norms, before, strict=True))
    # the same as a model that has these weights for its own
    other = T5Backbone(build_tiny_model(), tiny_backbone.tokenizer, "other")
    for norm, weight in zip(other.norms(), method.inserted.norms, strict=True):
        norm.weight.data.copy_(weight)
    with frozen(other):
        assert_same(other.forward(batch, None).logits, changed)
