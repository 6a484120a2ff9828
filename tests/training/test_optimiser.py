"""The schedule of the learning rate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multiprompt.training import learning_rate_factor


def test_the_schedule_of_ten_steps_with_two_of_warm_up():
    factors = [learning_rate_factor(step, 10, "linear", 0.2) for step in range(10)]
    assert factors == pytest.approx([0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125])
    assert [learning_rate_factor(step, 10, "constant", 0.2) for step in range(10)] == [0.5] + [1.0] * 9


@given(steps=st.integers(1, 300), ratio=st.floats(0, 0.99))
def test_every_training_reaches_its_top_rate_and_never_zero(steps, ratio):
    # A warm-up of 500 steps, as in public code, never lets a run of 160 steps reach its rate.
    factors = [learning_rate_factor(step, steps, "linear", ratio) for step in range(steps)]
    assert max(factors) == pytest.approx(1)
    assert min(factors) > 0
