"""SPoT: what is chosen among source prompts, in cases that are made so that the answer is known."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from multiprompt.methods.spot import prompt_similarities, retrieved_start, weighted_start

SOURCES = torch.stack([torch.diag(torch.ones(4))[i].expand(3, -1) * 2.0 for i in range(3)])
"""Three prompts whose rows all point along an axis of their own."""


@pytest.mark.parametrize("nearest", range(3))
def test_the_source_that_the_target_leans_to_is_retrieved(nearest):
    noise = torch.randn(3, 4, generator=torch.Generator().manual_seed(nearest))
    target = 0.3 * SOURCES[nearest] + 0.05 * noise
    assert torch.equal(retrieved_start(target, SOURCES), SOURCES[nearest])
    similarities = prompt_similarities(target, SOURCES)
    assert int(similarities.argmax()) == nearest
    assert similarities[nearest] > 0.9


def test_similarity_is_the_cosine_of_mean_rows():
    generator = torch.Generator().manual_seed(0)
    target, sources = torch.randn(3, 4, generator=generator), torch.randn(2, 3, 4, generator=generator)
    for similarity, source in zip(prompt_similarities(target, sources), sources, strict=True):
        ours, theirs = target.mean(0), source.mean(0)
        assert_close(similarity, ours @ theirs / (ours.norm() * theirs.norm()))


@given(st.integers(0, 1000), st.floats(0.01, 100), st.permutations(range(3)))
def test_neither_the_scale_nor_the_order_of_rows_matters(seed, scale, order):
    generator = torch.Generator().manual_seed(seed)
    target, sources = torch.randn(3, 4, generator=generator), torch.randn(2, 3, 4, generator=generator)
    expected = prompt_similarities(target, sources)
    assert_close(prompt_similarities(scale * target[order], sources), expected, rtol=1e-3, atol=1e-5)


def test_weights_are_the_similarities_over_their_sum():
    # cosines 0.6 and 0.8 with the first two axes, 0 with the third
    target = torch.tensor([0.6, 0.8, 0.0, 0.0]).expand(3, -1)
    assert_close(weighted_start(target, SOURCES), (0.6 * SOURCES[0] + 0.8 * SOURCES[1]) / 1.4)


def test_what_points_the_other_way_has_no_weight():
    target = torch.tensor([0.6, -0.8, 0.0, 0.0]).expand(3, -1)
    assert_close(weighted_start(target, SOURCES), SOURCES[0])


def test_a_target_that_is_like_no_source_starts_from_their_mean():
    target = torch.tensor([0.0, 0.0, 0.0, 1.0]).expand(3, -1)
    assert_close(weighted_start(target, SOURCES), SOURCES.mean(0))
