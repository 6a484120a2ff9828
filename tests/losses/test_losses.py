"""Losses against plain loops, and the laws of a divergence."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from multiprompt.losses import (
    hidden_state_error,
    logit_divergence,
    normalised_layers,
    prompt_distance,
    token_cross_entropy,
)

EXAMPLES = torch.tensor([0, 0, 1, 3])  # example 2 has no target token


def logits(seed: int, rows: int = 4, vocabulary: int = 7) -> torch.Tensor:
    return torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed)) * 3


def test_cross_entropy_is_the_loop():
    scores, labels = logits(0), torch.tensor([1, 6, 0, 3])
    expected = [0.0] * 4
    for row, label, example in zip(scores.tolist(), labels.tolist(), EXAMPLES.tolist(), strict=True):
        total = sum(math.exp(x) for x in row)
        expected[example] -= math.log(math.exp(row[label]) / total)
    assert token_cross_entropy(scores, labels, EXAMPLES, 4).tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.5])
def test_divergence_is_the_loop_with_the_expectation_under_the_teacher(temperature):
    student, teacher = logits(1), logits(2)
    expected = [0.0] * 4
    for s, t, example in zip(student.tolist(), teacher.tolist(), EXAMPLES.tolist(), strict=True):
        p_student = [math.exp(x / temperature) for x in s]
        p_teacher = [math.exp(x / temperature) for x in t]
        p_student = [x / sum(p_student) for x in p_student]
        p_teacher = [x / sum(p_teacher) for x in p_teacher]
        kl = sum(pt * (math.log(pt) - math.log(ps)) for pt, ps in zip(p_teacher, p_student, strict=True))
        expected[example] += kl * temperature**2
    ours = logit_divergence(student, teacher, EXAMPLES, 4, temperature)
    assert ours.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-6)
    swapped = logit_divergence(teacher, student, EXAMPLES, 4, temperature)
    assert not torch.allclose(ours, swapped), "the direction of the divergence must matter"


@given(seed=st.integers(0, 10_000), temperature=st.floats(0.5, 4))
def test_divergence_is_never_negative_and_zero_for_equal_logits(seed, temperature):
    student, teacher = logits(seed), logits(seed + 1)
    assert (logit_divergence(student, teacher, EXAMPLES, 4, temperature) >= -1e-5).all()
    shifted = student + 2.5  # a softmax does not see a constant
    assert_close(logit_divergence(student, shifted, EXAMPLES, 4, temperature), torch.zeros(4), atol=1e-4, rtol=0)


def test_no_gradient_reaches_the_teacher():
    student, teacher = logits(1).requires_grad_(), logits(2).requires_grad_()
    states = [torch.randn(2, 3, 4, requires_grad=True) for _ in range(2)]
    mask = torch.ones(2, 3, dtype=torch.bool)
    total = logit_divergence(student, teacher, EXAMPLES, 4).sum() + hidden_state_error(*states, mask).sum()
    total.backward()
    assert student.grad is not None
    assert teacher.grad is None
    assert states[0].grad is not None
    assert states[1].grad is None


def test_hidden_state_error_is_the_loop_over_real_positions():
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(2, 3, 4, generator=generator) for _ in range(2))
    mask = torch.tensor([[True, True, False], [True, False, False]])
    expected = [0.0, 0.0]
    for b in range(2):
        for n in range(3):
            if mask[b, n]:
                expected[b] += sum((student[b, n, d] - teacher[b, n, d]).item() ** 2 for d in range(4)) / 4
    assert hidden_state_error(student, teacher, mask).tolist() == pytest.approx(expected, rel=1e-5)
    student[~mask] = 1e6  # what stands under the padding does not count
    assert hidden_state_error(student, teacher, mask).tolist() == pytest.approx(expected, rel=1e-5)


def test_normalised_layers_count_alike_whatever_their_scale():
    small = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    large = 1000 * small
    joined = normalised_layers([small, large])
    assert joined.shape == (2, 3, 8)
    assert_close(joined[..., :4], joined[..., 4:], rtol=1e-4, atol=1e-4)
    assert_close(joined.pow(2).mean(-1), torch.ones(2, 3), rtol=1e-3, atol=1e-3)


def test_prompt_distance_is_the_mean_square():
    student, teacher = torch.zeros(2, 3, 4), torch.full((2, 3, 4), 2.0)
    assert prompt_distance(student, teacher).tolist() == [4.0, 4.0]
