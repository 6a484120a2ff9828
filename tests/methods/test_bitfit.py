"""BitFit: which layers have a bias, that it is added to what they give, and that zeros change nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from conftest import build_tiny_model, random_batch
from methods.sublayers import frozen, randomise
from multiprompt.backbone import T5Backbone
from multiprompt.backbone.t5.fast import restore
from multiprompt.methods.bitfit import Biases
from multiprompt.methods.inserted import InsertedMethod
from rounding import assert_same

GATED = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}


def bitfit_of(backbone: T5Backbone) -> InsertedMethod:
    return InsertedMethod(backbone, Biases(backbone), 1e-2, dropout=False)


@pytest.mark.parametrize(("changes", "inner"), [({}, ["wi", "wo"]), (GATED, ["wi_0", "wi_1", "wo"])])
def test_every_layer_and_norm_but_the_last_norms_has_a_bias(changes, inner):
    names = set(T5Backbone(build_tiny_model(**changes), None, "tiny").outputs())
    attention = [f"SelfAttention.{layer}" for layer in "qkvo"]
    crossed = [f"EncDecAttention.{layer}" for layer in "qkvo"]
    feed_forward = [f"DenseReluDense.{layer}" for layer in inner]
    expected = {"lm_head"}
    for stack, sublayers in (("encoder", [attention, feed_forward]), ("decoder", [attention, crossed, feed_forward])):
        for block in range(2):
            for number, layers in enumerate(sublayers):
                expected |= {f"{stack}.block.{block}.layer.{number}.{name}" for name in [*layers, "layer_norm"]}
    assert names == expected


@pytest.mark.parametrize("changes", [{}, GATED])
def test_zeros_leave_the_logits_exactly_as_they_are(tiny_backbone, changes):
    backbone = T5Backbone(build_tiny_model(**changes), tiny_backbone.tokenizer, "tiny")
    batch = random_batch()
    with frozen(backbone):
        expected = backbone.forward(batch, None).logits
    with bitfit_of(backbone), torch.no_grad():
        assert torch.equal(backbone.forward(batch, None).logits, expected)


def test_the_biases_are_those_of_layers_that_have_one(tiny_backbone):
    # transformers' T5 has room for a bias in its linear layers: put them there, and into norms that add one.
    batch, method = random_batch(), bitfit_of(tiny_backbone)
    randomise(method.inserted)
    with method, torch.no_grad():
        given = tiny_backbone.forward(batch, None).logits

    class WithBias(nn.Module):
        def __init__(self, norm, bias):
            super().__init__()
            self.norm, self.bias = norm, bias

        def forward(self, states):
            return self.norm(states) + self.bias

    model = build_tiny_model()
    outputs = T5Backbone(model, None, "tiny").outputs()
    restore(model)  # transformers' own code knows the biases
    for (name, (module, _)), bias in zip(outputs.items(), method.inserted.biases, strict=True):
        if isinstance(module, nn.Linear):
            module.bias = nn.Parameter(bias.detach().clone())
        else:
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, WithBias(module, bias.detach()))
    with torch.no_grad():
        logits = model(batch.input_ids, batch.attention_mask, labels=batch.labels).logits[batch.target_mask]
    assert_same(given, logits)
