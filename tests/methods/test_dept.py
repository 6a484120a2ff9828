"""DePT: the low-rank matrix against embeddings that are shifted by hand, and the size of its parts."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import random_batch
from methods.sublayers import padded, randomise
from multiprompt.backbone import T5Backbone
from multiprompt.methods import PromptTuning
from multiprompt.methods.dept import Dept, ShortPrompt, matrix_rank
from multiprompt.prompts import SoftPrompt
from rounding import assert_same

WIDTH, SHORT = 16, 3


def dept_of(backbone: T5Backbone, positions: int) -> Dept:
    start = torch.randn(SHORT, WIDTH, generator=torch.Generator().manual_seed(2))
    short = ShortPrompt(start, positions, 2, torch.Generator().manual_seed(1))
    return Dept(backbone, short, 0.3, 5e-4, dropout=False)


# sources of 12 tokens: shorter than the matrix, as long, and longer
@pytest.mark.parametrize("positions", [20, 12, 7])
def test_the_logits_are_those_of_embeddings_shifted_by_hand(tiny_backbone, positions):
    method, batch = dept_of(tiny_backbone, positions), random_batch()
    randomise(method.short)
    embedded = tiny_backbone.model.shared(batch.input_ids).clone()
    with torch.no_grad():
        for position in range(min(positions, embedded.shape[1])):
            for rank in range(2):
                embedded[:, position] += method.short.rows[position, rank] * method.short.columns[rank]
        inputs = torch.cat([method.short.prompt.expand(len(batch), -1, -1), embedded], 1)
        mask = torch.cat([torch.ones(len(batch), SHORT, dtype=torch.long), batch.attention_mask], 1)
        expected = tiny_backbone.model(inputs_embeds=inputs, attention_mask=mask, labels=batch.labels).logits
        given_logits = tiny_backbone.forward(batch, method.prompts(batch), shift=method.shift()).logits
    assert_same(given_logits, expected[batch.target_mask])


def test_it_starts_as_the_short_prompt_alone(tiny_backbone):
    method, batch = dept_of(tiny_backbone, 9), random_batch(num_tasks=1)
    plain = PromptTuning(tiny_backbone, SoftPrompt([method.short.prompt.detach()]), dropout=False)
    with torch.no_grad():
        assert torch.equal(method.losses(batch)[0].sums, plain.losses(batch)[0].sums)
    assert torch.equal(method.generate(batch, 4), plain.generate(batch, 4))


def test_padding_does_not_matter(tiny_backbone):
    method, batch = dept_of(tiny_backbone, 14), random_batch()
    randomise(method.short)
    with torch.no_grad():
        assert_same(method.losses(padded(batch, 5))[0].sums, method.losses(batch)[0].sums)


def test_prompt_and_matrix_have_their_own_rates(tiny_backbone):
    groups = dept_of(tiny_backbone, 9).parameter_groups()
    assert [(group.name, group.learning_rate) for group in groups] == [("prompt", 0.3), ("matrix", 5e-4)]


def test_the_published_shape():
    # 100 rows of T5-base: 40 rows and a matrix of rank 45 on 256 positions
    assert matrix_rank(100, 40, 768, 256) == 45


@given(st.integers(2, 200), st.floats(0.01, 0.99), st.integers(8, 1024), st.integers(1, 512))
def test_there_are_never_more_numbers_than_in_the_whole_prompt(length, share, width, positions):
    short = max(1, round(share * length))
    rank = matrix_rank(length, short, width, positions)
    numbers = short * width + rank * (positions + width)
    assert numbers <= length * width or rank == 1
    assert numbers + positions + width > length * width
