"""HyperFormer++: the generated adapters, against a loop over rows with the network written out."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from conftest import build_tiny_model, random_batch
from methods.sublayers import check_updates, gelu_new, pass_through, randomise, rows_of
from multiprompt.backbone import Inputs, T5Backbone
from multiprompt.methods.hyperformer import PLACES, HyperFormer
from multiprompt.methods.inserted import InsertedMethod
from rounding import assert_clear

GATED = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
WIDTH, INNER = 16, 4


def hyperformer_of(backbone: T5Backbone) -> InsertedMethod:
    layers = HyperFormer(backbone, INNER, 6, 8, 3, torch.Generator().manual_seed(1))
    return InsertedMethod(backbone, layers, 1e-2, dropout=False)


def applied(linear: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
    return linear.weight @ x + linear.bias


def normed(x: torch.Tensor, eps: float) -> torch.Tensor:
    return (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, unbiased=False, keepdim=True) + eps)


def generated_update(layers: HyperFormer, stack: str, block: int, place: str, task: int, states: torch.Tensor):
    """What the adapter of one task adds to the states ``[S, D]`` of one row."""
    network = layers.generators[stack]
    inputs = torch.cat([layers.tasks[task], network.blocks[block], network.places[PLACES.index(place)]])
    projected = applied(network.project_out, applied(network.project_in, inputs).clamp_min(0))
    code = normed(projected, 1e-6) * network.norm.weight + network.norm.bias
    down = applied(network.writer.down, code).reshape(WIDTH, INNER)
    up = applied(network.writer.up, code).reshape(INNER, WIDTH)
    inner = gelu_new(states @ down + applied(network.writer.down_bias, code))
    update = inner @ up + applied(network.writer.up_bias, code)
    return normed(update, 1e-5) * applied(network.scale, code) + applied(network.shift, code)


@pytest.mark.parametrize("changes", [{}, GATED])
def test_every_row_goes_through_the_adapter_that_is_generated_for_its_task(tiny_backbone, changes):
    backbone = T5Backbone(build_tiny_model(**changes), tiny_backbone.tokenizer, "tiny")
    method, batch = hyperformer_of(backbone), random_batch()
    randomise(method.inserted.tasks)
    randomise(method.inserted.generators)
    seen = pass_through(backbone, method, batch)
    for place in PLACES:

        def expected(one, update, row, place=place):
            task = int(batch.task_ids[row])
            return update + generated_update(method.inserted, one.stack, one.block, place, task, update)

        check_updates(backbone, seen[place], expected)


def test_the_norms_of_the_model_are_trained_and_shared_and_come_out_as_they_were(tiny_backbone):
    method, batch = hyperformer_of(tiny_backbone), random_batch()
    norms = [norm.weight for norm in tiny_backbone.norms()]
    # two in every encoder block, three in every decoder block, one at the end of each stack; no axis of tasks
    assert [tuple(norm.shape) for norm in method.inserted.norms] == [(WIDTH,)] * (2 * 2 + 2 * 3 + 2)
    with method:
        begun = method.losses(batch)[0].sums.detach()
        method.losses(batch)[0].sums.sum().backward()
        assert all(norm.grad is not None and norm.grad.any() for norm in method.inserted.norms)
        randomise(method.inserted.norms)
        assert not torch.allclose(method.losses(batch)[0].sums, begun)
    inside = [norm.weight for norm in tiny_backbone.norms()]
    assert all(one is other and one.grad is None for one, other in zip(inside, norms, strict=True))


def test_rows_of_beam_search_keep_the_task_of_their_example(tiny_backbone):
    method, batch = hyperformer_of(tiny_backbone), random_batch()
    randomise(method.inserted)

    def beams(one):
        method.inserted.batch = one
        return tiny_backbone.generate([Inputs(one, None)], 4, num_beams=3)

    with method:
        together = assert_clear(tiny_backbone, lambda: beams(batch))
        for answer, alone in zip(together, rows_of(batch), strict=True):
            one = beams(alone)[0]
            assert torch.equal(answer[: len(one)], one)
        assert not torch.equal(beams(batch), beams(random_batch(num_tasks=1))), "tasks matter"


def test_first_values_depend_on_the_seed_alone(tiny_backbone):
    drawn = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        drawn.append(HyperFormer(tiny_backbone, INNER, 6, 8, 3, torch.Generator().manual_seed(1)).state_dict())
    for name, value in drawn[0].items():
        assert torch.equal(value, drawn[1][name]), name


def test_the_start_is_the_published_one():
    layers = HyperFormer(
        T5Backbone(build_tiny_model(d_model=64), None, "tiny"), 16, 64, 128, 200, torch.Generator().manual_seed(1)
    )
    tasks = torch.stack(list(layers.tasks))
    assert_close(tasks.std(), torch.tensor(1.0), rtol=0.03, atol=0)
    network = layers.generators["decoder"]
    for layer in (network.project_in, network.writer.down, network.writer.up, network.scale):
        assert_close(layer.weight.std(), torch.tensor(0.01), rtol=0.05, atol=0)
        assert not layer.bias.any()
