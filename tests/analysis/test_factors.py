"""Facts about u and v: what may not depend on the gauge does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from multiprompt.analysis.factors import analyse_factors, cancellation, factor_facts, fixed_factors
from multiprompt.prompts import DecomposedPrompt

LENGTH, WIDTH = 5, 7


def random_factors(seed: int, rank: int = 1, tasks: int = 3) -> list[tuple[np.ndarray, np.ndarray]]:
    generator = np.random.default_rng(seed)
    shapes = [((LENGTH, rank), (rank, WIDTH))] * tasks
    return [(generator.normal(size=u), generator.normal(size=v)) for u, v in shapes]


scales = st.lists(st.floats(0.05, 20), min_size=3, max_size=3)
signs = st.lists(st.sampled_from([-1.0, 1.0]), min_size=3, max_size=3)


@given(st.integers(0, 10_000), scales, signs)
def test_the_fixed_gauge_does_not_depend_on_scale_and_sign(seed, chosen, turned):
    factors = random_factors(seed)
    assume(all(abs(u.mean()) > 1e-3 for u, _ in factors))
    moved = [(c * s * u, v / (c * s)) for (u, v), c, s in zip(factors, chosen, turned, strict=True)]
    fixed, again = ([fixed_factors(*pair) for pair in pairs] for pairs in (factors, moved))
    for (u, v), (other_u, other_v), (raw_u, raw_v) in zip(fixed, again, factors, strict=True):
        np.testing.assert_allclose(other_u, u, atol=1e-9)
        np.testing.assert_allclose(other_v, v, atol=1e-9)
        np.testing.assert_allclose(u @ v, raw_u @ raw_v, atol=1e-9)
        assert np.linalg.norm(u) == pytest.approx(np.sqrt(LENGTH))
        assert u.mean() > 0
    assert cancellation(again) == pytest.approx(cancellation(fixed))
    for here, there in zip(factors, moved, strict=True):
        assert factor_facts(*there).scale == pytest.approx(factor_facts(*here).scale)


@given(st.integers(0, 1000), st.integers(1, 3))
def test_of_any_rank_the_matrix_stays_and_columns_are_orthogonal(seed, rank):
    (u, v), *_ = random_factors(seed, rank)
    fixed_u, fixed_v = fixed_factors(u, v)
    assert fixed_u.shape == u.shape
    np.testing.assert_allclose(fixed_u @ fixed_v, u @ v, atol=1e-9)
    np.testing.assert_allclose(fixed_u.T @ fixed_u, LENGTH * np.eye(rank), atol=1e-9)
    assert (fixed_u.mean(axis=0) > 0).all()


def test_a_column_with_mean_zero_and_a_matrix_of_zeros_have_a_gauge_too():
    u, v = np.array([[1.0], [-1.0]]), np.array([[-1.0, -2.0]])
    for fixed_u, fixed_v in (fixed_factors(u, v), fixed_factors(-u, -v)):
        np.testing.assert_allclose(fixed_u, -u, atol=1e-12)
        np.testing.assert_allclose(fixed_v, -v, atol=1e-12)
    fixed_u, fixed_v = fixed_factors(0 * u, v)
    assert not fixed_v.any()
    assert np.isfinite(fixed_u).all()


def test_opposite_signs_cancel_and_the_fixed_gauge_shows_that_nothing_is_lost():
    (u, v), *_ = random_factors(0)
    assert cancellation([(u, v), (-u, -v)]) == pytest.approx(1.0)
    assert cancellation([fixed_factors(u, v), fixed_factors(-u, -v)]) == pytest.approx(0.0, abs=1e-12)
    assert cancellation([(u, v), (0 * u, v)]) == pytest.approx(0.0, abs=1e-12)
    assert cancellation([(0 * u, v), (0 * u, v)]) == 0.0


def test_the_facts_of_a_prompt_are_those_of_its_tensors():
    factors = random_factors(3)
    pairs = [(torch.from_numpy(u).float(), torch.from_numpy(v).float()) for u, v in factors]
    prompt = DecomposedPrompt(torch.randn(LENGTH, WIDTH), pairs)
    analysis = analyse_factors(prompt, ["a", "b", "c"])
    assert analysis.tasks == ("a", "b", "c")
    for facts, (u, v), scale in zip(analysis.raw, factors, prompt.factor_scales(), strict=True):
        assert facts.mean_u == pytest.approx(u.mean(), rel=1e-5, abs=1e-6)
        assert facts.norm_v == pytest.approx(np.sqrt((v**2).sum()), rel=1e-5)
        assert (facts.negative_u, facts.negative_v) == ((u < 0).sum(), (v < 0).sum())
        assert facts.scale == pytest.approx(scale, rel=1e-5)
    us, vs = (np.stack([pair[side] for pair in factors]) for side in (0, 1))
    mean = np.einsum("kpr,krd->pd", us, vs) / 3
    expected = np.sqrt((((us.sum(0) @ vs.sum(0)) / 9 - mean) ** 2).sum() / (mean**2).sum())
    assert analysis.cancellation == pytest.approx(expected, rel=1e-5)
