"""ATTEMPT: the prompt of every example, against the formula written as a loop."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from conftest import random_batch
from methods.sublayers import padded, rows_of
from multiprompt.backbone import Inputs, T5Backbone
from multiprompt.methods.attempt import Attempt, Attention, MixedPrompts, mixture
from rounding import SAME, assert_clear, assert_same

LENGTH, WIDTH, SOURCES = 5, 16, 3


def attempt_of(backbone: T5Backbone, temperature: float | None = 1.0, num_tasks: int = 3) -> Attempt:
    generator = torch.Generator().manual_seed(1)
    sources = torch.randn(SOURCES, LENGTH, WIDTH, generator=generator)
    starts = torch.randn(num_tasks, LENGTH, WIDTH, generator=generator)
    mixed = MixedPrompts(list(starts), Attention(WIDTH, 4, generator))
    with torch.no_grad():
        mixed.attention.norm.weight += torch.randn(WIDTH, generator=generator)
        mixed.attention.norm.bias += torch.randn(WIDTH, generator=generator)
    return Attempt(backbone, mixed, sources, 0.3, 0.1, temperature, dropout=False)


def prompt_by_hand(method: Attempt, embedded: torch.Tensor, task: int, temperature: float):
    """The prompt for the embeddings ``[S, D]`` of one source without padding, and its shares."""
    attention = method.mixed.attention
    pooled = torch.tensor([max(float(token[d]) for token in embedded) for d in range(WIDTH)])
    inner = pooled @ attention.down
    raw = (inner * torch.sigmoid(inner)) @ attention.up
    query = (raw - raw.mean()) / torch.sqrt(raw.var(unbiased=False) + 1e-5)
    query = query * attention.norm.weight + attention.norm.bias
    own = method.mixed.prompts[task]
    candidates = [*method.sources, own]
    scores = []
    for prompt in candidates:
        key = torch.stack([max(prompt[row, d] for row in range(LENGTH)) for d in range(WIDTH)])
        scores.append(sum(query[d] * key[d] for d in range(WIDTH)) / temperature)
    total = sum(math.exp(score) for score in scores)
    shares = [math.exp(score) / total for score in scores]
    mixed = own.clone()
    for share, prompt in zip(shares, candidates, strict=True):
        mixed = mixed + share * prompt
    return mixed, shares


@pytest.mark.parametrize("temperature", [0.5, 3.0, None])
def test_the_prompt_is_that_of_the_formula(tiny_backbone, temperature):
    method, batch = attempt_of(tiny_backbone, temperature), random_batch()
    with torch.no_grad():
        prompts, shares = method.mix(batch)
        for row in range(len(batch)):
            length, task = int(batch.source_lengths[row]), int(batch.task_ids[row])
            embedded = tiny_backbone.embedding[batch.input_ids[row, :length]]
            # without a temperature: e times the width, 2,087 on T5-base
            expected, own = prompt_by_hand(method, embedded, task, temperature or math.e * WIDTH)
            assert_same(prompts[row], expected)
            assert_same(shares[row], torch.tensor(own))


def test_padding_does_not_matter(tiny_backbone):
    method, batch = attempt_of(tiny_backbone), random_batch()
    with torch.no_grad():
        expected, more = method.mix(batch), method.mix(padded(batch, 4))
    assert torch.equal(more[0], expected[0])
    assert torch.equal(more[1], expected[1])


tensors = st.integers(0, 10_000).map(lambda seed: torch.Generator().manual_seed(seed))


@given(tensors, st.integers(1, 6), st.floats(0.05, 1e4), st.permutations(range(6)))
def test_shares_sum_to_one_and_the_order_of_the_sources_does_not_matter(generator, count, temperature, order):
    query = torch.randn(2, 4, generator=generator)
    sources, targets = torch.randn(count, 3, 4, generator=generator), torch.randn(2, 3, 4, generator=generator)
    prompts, shares = mixture(query, sources, targets, temperature)
    assert shares.shape == (2, count + 1)
    assert (shares >= 0).all()
    assert_close(shares.sum(1), torch.ones(2))
    chosen = [place for place in order if place < count]
    again, moved = mixture(query, sources[chosen], targets, temperature)
    # A score is a sum of four products of about 1, and its rounding divided by the temperature is that of a share.
    most = max(SAME, 1e-5 / temperature)
    assert_close(again, prompts, rtol=most, atol=most)
    assert_close(moved[:, :-1], shares[:, chosen], rtol=most, atol=1e-6)


def test_cold_attention_takes_one_prompt_and_hot_attention_the_mean():
    sources = torch.stack([torch.full((2, 4), value) for value in (-1.0, 2.0)])
    targets = torch.zeros(1, 2, 4)
    query = torch.ones(1, 4)
    cold, shares = mixture(query, sources, targets, 1e-3)
    assert shares[0].tolist() == pytest.approx([0, 1, 0])
    assert_close(cold[0], sources[1])
    hot, _ = mixture(query, sources, targets, 1e9)
    assert_close(hot[0], (sources[0] + sources[1]) / 3)


def test_all_that_is_declared_is_trained_and_the_source_prompts_are_not(tiny_backbone):
    method = attempt_of(tiny_backbone)
    method.losses(random_batch())[0].sums.sum().backward()
    names = dict(method.mixed.named_parameters())
    # the norm is counted in the paper and left frozen by its code
    assert {"attention.down", "attention.up", "attention.norm.weight", "attention.norm.bias"} < names.keys()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in names.values())
    assert [(g.name, g.learning_rate) for g in method.parameter_groups()] == [("prompt", 0.3), ("attention", 0.1)]
    assert not method.sources.requires_grad


def test_beam_search_gives_an_example_the_answer_that_it_has_alone(tiny_backbone):
    method, batch = attempt_of(tiny_backbone, 0.2), random_batch()

    def beams(one):
        with torch.no_grad():
            prompts = method.prompts(one)
        return tiny_backbone.generate([Inputs(one, prompts)], 4, num_beams=3)

    together = assert_clear(tiny_backbone, lambda: beams(batch))
    for answer, alone in zip(together, rows_of(batch), strict=True):
        one = beams(alone)[0]
        assert torch.equal(answer[: len(one)], one)
