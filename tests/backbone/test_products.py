"""Products with copied weights are the products, also after the weights have changed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from conftest import build_tiny_model, build_tiny_tokenizer, random_batch
from multiprompt.backbone import T5Backbone, products
from multiprompt.backbone.t5.fast import TILED_WIDTH, restore
from rounding import assert_same, far_from_kinks


@pytest.fixture(params=[products.tile, products.transpose])
def weight(request):
    matrix = torch.nn.Parameter(torch.randn(48, 32, generator=torch.Generator().manual_seed(0)), requires_grad=False)
    request.param([matrix])
    yield matrix
    products.forget([matrix])


def rows(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5), (2, 3, 4)])
def test_products_are_those_of_double_precision(weight, shape):
    for _ in range(2):  # the first call makes the copies, the second finds them
        given = rows(*shape, 32)
        assert_same(products.apply(weight, given), (given.double() @ weight.double().T).float())
        given = rows(*shape, 48)
        assert_same(products.apply_transposed(weight, given), (given.double() @ weight.double()).float())


def test_rows_need_not_lie_in_order(weight):
    given = rows(32, 6).T
    assert_same(products.apply(weight, given), given @ weight.T)


def test_products_can_be_added_to_what_is_there(weight):
    given, sums = rows(2, 3, 48), rows(2, 3, 32)
    expected = sums + given @ weight
    assert products.apply_transposed(weight, given, onto=sums) is sums
    assert_same(sums, expected)


def test_a_weight_that_is_written_to_gets_new_copies(weight):
    given = rows(4, 32)
    products.apply(weight, given)
    products.apply_transposed(weight, rows(4, 48))
    with torch.no_grad():
        weight.mul_(-3)
    assert_same(products.apply(weight, given), given @ weight.T)
    assert_same(products.apply_transposed(weight, rows(4, 48)), rows(4, 48) @ weight)


def test_a_model_too_large_for_the_memory_is_left_alone(monkeypatch, weight):
    products.forget([weight])
    monkeypatch.setattr(products, "MEMORY_SHARE", 0.0)
    products.tile([weight])
    assert torch.equal(products.apply(weight, rows(4, 32)), torch.nn.functional.linear(rows(4, 32), weight))
    assert weight not in products._copied


@pytest.mark.parametrize("kind", [{}, {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}])
def test_a_wide_model_gives_what_transformers_gives(kind):
    batch = random_batch()
    prompts = rows(len(batch), 5, TILED_WIDTH)
    outcomes = []
    backbone = T5Backbone(build_tiny_model(d_model=TILED_WIDTH, **kind), build_tiny_tokenizer(), "wide")
    used = [module.weight for module in backbone.model.modules() if isinstance(module, torch.nn.Linear)]
    for fast in (True, False):
        if not fast:
            known = [products._copied[matrix] for matrix in used if matrix in products._copied]
            assert bool(known) == torch.backends.mkldnn.is_available()
            assert all(copies.tiled for copies in known)
            restore(backbone.model)
            assert not any(matrix in products._copied for matrix in used)
        given = prompts.clone().requires_grad_()
        with far_from_kinks(backbone.model):
            logits = backbone.forward(batch, given).logits
        logits.sin().sum().backward()
        outcomes.append((logits.detach(), given.grad))
    for ours, theirs in zip(*outcomes, strict=True):
        assert_same(ours, theirs)
