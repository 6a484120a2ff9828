"""HyperDecoder: every example's decoder adapters, against a loop over examples with the network written out."""

from __future__ import annotations

import pytest
import torch

from conftest import build_tiny_model, random_batch
from methods.sublayers import check_updates, padded, pass_through, randomise, rows_of
from multiprompt.backbone import Inputs, T5Backbone
from multiprompt.methods.adapters import WEIGHT_SPREAD
from multiprompt.methods.hyperdecoder import HyperDecoder
from multiprompt.methods.inserted import InsertedMethod
from rounding import assert_clear, assert_same

GATED = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
WIDTH, INNER = 16, 4


def hyperdecoder_of(backbone: T5Backbone) -> InsertedMethod:
    layers = HyperDecoder(backbone, INNER, 3, 8, torch.Generator().manual_seed(1))
    return InsertedMethod(backbone, layers, 1e-2, dropout=False)


def applied(linear: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
    return linear.weight @ x + linear.bias


@pytest.mark.parametrize("changes", [{}, GATED])
def test_every_example_has_adapters_of_its_own(tiny_backbone, changes):
    backbone = T5Backbone(build_tiny_model(**changes), tiny_backbone.tokenizer, "tiny")
    method, batch = hyperdecoder_of(backbone), random_batch()
    layers = method.inserted
    randomise(layers)
    with method, torch.no_grad():
        states = backbone.forward(batch, None, hidden="last").states["encoder"].values[0]
    seen = pass_through(backbone, method, batch)

    def expected(one, update, row):
        read = one.normed()[row]
        if one.stack == "encoder":
            adapter = layers.encoder[one.block]
            inner = (read @ adapter.down[0] + adapter.down_bias[0]).clamp_min(0)
            return update + inner @ adapter.up[0] + adapter.up_bias[0]
        length = int(batch.source_lengths[row])
        code = torch.stack([states[row, position] for position in range(length)]).sum(0) / length
        hidden = applied(layers.project, torch.cat([code, layers.blocks[one.block]])).clamp_min(0)
        down = applied(layers.writer.down, hidden).reshape(WIDTH, INNER)
        up = applied(layers.writer.up, hidden).reshape(INNER, WIDTH)
        inner = (read @ down + applied(layers.writer.down_bias, hidden)).clamp_min(0)
        return update + inner @ up + applied(layers.writer.up_bias, hidden)

    check_updates(backbone, seen["feed_forward"], expected)
    check_updates(backbone, seen["self_attention"], lambda one, update, row: update)


def test_padding_does_not_matter(tiny_backbone):
    method, batch = hyperdecoder_of(tiny_backbone), random_batch()
    randomise(method.inserted)
    with method, torch.no_grad():
        expected, more = method.losses(batch)[0].sums, method.losses(padded(batch, 5))[0].sums
    assert_same(more, expected)


def test_rows_of_beam_search_keep_the_adapters_of_their_example(tiny_backbone):
    method, batch = hyperdecoder_of(tiny_backbone), random_batch()
    randomise(method.inserted, 1.0)

    def beams(one):
        return tiny_backbone.generate([Inputs(one, None)], 4, num_beams=3)

    with method:
        together = assert_clear(tiny_backbone, lambda: beams(batch))
        assert len(set(map(tuple, together.tolist()))) > 1, "examples differ"
        for answer, alone in zip(together, rows_of(batch), strict=True):
            one = beams(alone)[0]
            assert torch.equal(answer[: len(one)], one)


def test_gradients_reach_the_encoder_through_the_codes(tiny_backbone):
    method, batch = hyperdecoder_of(tiny_backbone), random_batch()
    randomise(method.inserted)
    with method:
        method.losses(batch)[0].sums.sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in method.inserted.parameters())


def test_all_adapters_start_next_to_nothing(tiny_backbone):
    model = build_tiny_model(d_model=64)
    layers = HyperDecoder(T5Backbone(model, None, "tiny"), 32, 10, 128, torch.Generator().manual_seed(1))
    weights = torch.cat([w.flatten() for layer in layers.encoder for w in (*layer.down, *layer.up)])
    assert weights.std().item() == pytest.approx(WEIGHT_SPREAD, rel=0.03)
    with torch.no_grad():
        written = layers.adapters(torch.randn(5, 64, generator=torch.Generator().manual_seed(0)), 1)
    assert max(float(part.std()) for part in written) < 0.2
    assert not layers.writer.up.bias.any()
