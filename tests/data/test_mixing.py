"""Which examples make a batch: shares, quotas, coverage, and going on from a saved state."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multiprompt.data import EpochSampler, TaskSampler, mixing_rates
from multiprompt.errors import ConfigError

MODES = ["proportional", "uniform_tasks", "iid"]
SIZES = [393, 104, 363, 66, 87, 137]


def shares(sampler: TaskSampler, batches: int) -> np.ndarray:
    counts = np.zeros(len(sampler.rates))
    for _ in range(batches):
        tasks, _ = sampler.draw()
        counts += np.bincount(tasks, minlength=len(counts))
    return counts / counts.sum()


def test_rates_of_the_six_source_tasks():
    # Sizes of the study (MNLI, QQP, QNLI, SST-2, SQuAD, ReCoRD with one row per answer), with and without the cap.
    sizes = [392_702, 362_846, 103_743, 66_349, 86_599, 137_600]
    assert 100 * mixing_rates(sizes) == pytest.approx([28.5, 28.5, 11.3, 7.2, 9.4, 15.0], abs=0.06)
    assert 100 * mixing_rates(sizes, 2**21) == pytest.approx([34.2, 31.6, 9.0, 5.8, 7.5, 12.0], abs=0.06)


@pytest.mark.parametrize("mode", MODES)
def test_expected_shares(mode):
    sampler = TaskSampler(SIZES, 32, seed=0, mode=mode)
    expected = np.full(6, 1 / 6) if mode == "uniform_tasks" else mixing_rates(SIZES)
    assert shares(sampler, 4000) == pytest.approx(expected, abs=0.012)


def count_variance(sampler: TaskSampler, batch_size: int) -> np.ndarray:
    """Variance of the number of examples of every task in a batch, by the definition of the modes."""
    share = sampler.rates
    if sampler.mode == "iid":
        return batch_size * share * (1 - share)
    variances = []
    for drawn in range(2, sampler.kappa + 1):
        quota, rest = divmod(batch_size, drawn)
        squares = (drawn - 1) * quota**2 + (quota + rest) ** 2
        if sampler.mode == "proportional":  # independent draws of weights quota, .., quota, quota + rest
            variances.append(squares * share * (1 - share))
        else:  # each task is one of the drawn ones with probability drawn / tasks
            variances.append(np.full(len(share), squares / len(share) - (batch_size / len(share)) ** 2))
    return np.mean(variances, axis=0)


@pytest.mark.parametrize(
    "mode", ["proportional", *(pytest.param(mode, marks=pytest.mark.slow) for mode in ("uniform_tasks", "iid"))]
)
def test_shares_of_160_tasks(mode):
    sizes = np.random.default_rng(1).integers(500, 100_000, 160).tolist()
    batches, batch_size = 5_000, 32
    sampler = TaskSampler(sizes, batch_size, seed=0, mode=mode, max_tasks=6)
    expected = np.full(160, 1 / 160) if mode == "uniform_tasks" else mixing_rates(sizes)
    counts = np.zeros(160)
    for _ in range(batches):
        counts += np.bincount(sampler.draw()[0], minlength=160)
    assert counts.sum() == batches * batch_size
    assert np.abs(counts / counts.sum() - expected).max() < 0.01
    # That alone would be easy with 160 tasks. In standard deviations of the counts the distances are those of
    # chance: of 160 normal numbers the largest is 4 with probability 0.01, and their squares sum to 160 +- 18.
    deviations = (counts - batches * batch_size * expected) / np.sqrt(batches * count_variance(sampler, batch_size))
    assert np.abs(deviations).max() < 4
    assert (deviations**2).sum() == pytest.approx(160, abs=4 * 18)


def test_draws_of_a_seed_stay_the_same():
    # Runs that were begun with an earlier release go on with these. Other draws need another recipes' STAGE_VERSION.
    sampler = TaskSampler([7, 30, 5], 6, seed=3)
    drawn = [[list(map(int, part)) for part in sampler.draw()] for _ in range(3)]
    assert drawn == [
        [[1, 1, 1, 1, 1, 1], [1, 2, 4, 27, 12, 19]],
        [[1, 1, 1, 1, 1, 1], [6, 24, 17, 11, 0, 29]],
        [[2, 1, 1, 1, 1, 2], [4, 22, 13, 14, 20, 1]],
    ]
    for _ in range(50):
        sampler.draw()
    assert sampler.state()["orders"] == [[7, 6], [7, 24], [5, 4]]


@given(
    sizes=st.lists(st.integers(1, 50), min_size=2, max_size=8),
    mode=st.sampled_from(MODES),
    seed=st.integers(0, 100),
    extra=st.integers(0, 20),
)
def test_every_batch_is_full_and_its_positions_exist(sizes, mode, seed, extra):
    sampler = TaskSampler(sizes, len(sizes) + extra, seed, mode)
    for _ in range(5):
        tasks, positions = sampler.draw()
        assert len(tasks) == len(positions) == len(sizes) + extra
        assert all(position < sizes[task] for task, position in zip(tasks, positions, strict=True))


@given(seed=st.integers(0, 1000))
def test_quotas_of_the_paper(seed):
    # 32 examples over K draws: multiples of 32 // K, and the remainder goes to one of the drawn tasks.
    sampler = TaskSampler(SIZES, 32, seed, "uniform_tasks", max_tasks=5)
    tasks, _ = sampler.draw()
    counts = sorted(np.bincount(tasks)[np.bincount(tasks) > 0].tolist())
    drawn = len(counts)
    assert 2 <= drawn <= 5
    quota, rest = divmod(32, drawn)
    assert counts == [quota] * (drawn - 1) + [quota + rest]


def test_the_number_of_tasks_is_uniform():
    sampler = TaskSampler([100] * 40, 80, seed=1, mode="uniform_tasks", max_tasks=5)
    numbers = [len(set(sampler.draw()[0].tolist())) for _ in range(4000)]
    assert np.bincount(numbers)[2:] / 4000 == pytest.approx([0.25] * 4, abs=0.03)


def test_a_proportional_batch_may_hold_one_task_alone():
    # Drawing with replacement: at K = 2 both draws agree with probability sum(p^2).
    sampler = TaskSampler([900, 100], 8, seed=0)
    alone = np.mean([len(set(sampler.draw()[0].tolist())) == 1 for _ in range(4000)])
    assert alone == pytest.approx(0.9**2 + 0.1**2, abs=0.03)


@pytest.mark.parametrize("mode", MODES)
def test_within_a_task_every_example_comes_once_before_any_comes_twice(mode):
    sampler = TaskSampler([7, 11, 5], 6, seed=3, mode=mode)
    seen: list[list[int]] = [[], [], []]
    for _ in range(40):
        for task, position in zip(*sampler.draw(), strict=True):
            seen[task].append(int(position))
    counts = [np.bincount(positions, minlength=size) for positions, size in zip(seen, [7, 11, 5], strict=True)]
    # Positions are shuffled inside a batch, so at most one pass may be in progress.
    assert all(count.max() - count.min() <= 1 for count in counts)


@pytest.mark.parametrize("mode", MODES)
@given(before=st.integers(0, 30))
@settings(max_examples=15)
def test_going_on_from_a_saved_state(mode, before):
    sampler = TaskSampler([7, 30, 5], 6, seed=3, mode=mode)
    for _ in range(before):
        sampler.draw()
    state = json.loads(json.dumps(sampler.state()))
    expected = [sampler.draw() for _ in range(10)]
    restored = TaskSampler([7, 30, 5], 6, seed=3, mode=mode)
    restored.restore(state)
    for ours, theirs in zip([restored.draw() for _ in range(10)], expected, strict=True):
        assert np.array_equal(ours, theirs)


def test_wrong_mixtures_are_refused():
    with pytest.raises(ConfigError, match="task number 1 has no example"):
        TaskSampler([3, 0], 4, 0)
    with pytest.raises(ConfigError, match="at least two tasks"):
        TaskSampler([3], 4, 0)
    with pytest.raises(ConfigError, match="cannot hold examples of 3 tasks"):
        TaskSampler([3, 3, 3], 2, 0)
    with pytest.raises(ConfigError, match="unknown mixing mode 'dpt'"):
        TaskSampler([3, 3], 4, 0, "dpt")
    assert TaskSampler([3], 4, 0, "iid").draw()[0].tolist() == [0, 0, 0, 0]


@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=200),
    batch_size=st.integers(1, 9),
    grouped=st.booleans(),
)
def test_an_epoch_holds_every_example_once(lengths, batch_size, grouped):
    sampler = EpochSampler(np.array(lengths), batch_size, seed=0, group_by_length=grouped)
    for _ in range(2):
        positions: list[int] = []
        while len(positions) < len(lengths):
            positions += sampler.draw()[1].tolist()
        assert sorted(positions) == list(range(len(lengths)))


def test_grouping_by_length_saves_padding_and_changes_the_order_every_epoch():
    lengths = np.random.default_rng(0).integers(5, 100, 640)

    def padded(grouped: bool) -> int:
        sampler = EpochSampler(lengths, 16, 0, grouped)
        return sum(16 * int(lengths[sampler.draw()[1]].max()) for _ in range(40))

    assert padded(True) < 0.6 * padded(False)
    sampler = EpochSampler(lengths, 16, 0)
    epochs = [[sampler.draw()[1].tolist() for _ in range(40)] for _ in range(2)]
    assert epochs[0] != epochs[1]
    first = [lengths[batch].max() for batch in epochs[0]]
    assert first != sorted(first), "batches must not come in the order of their lengths"


@given(before=st.integers(0, 30))
def test_an_epoch_sampler_goes_on_from_a_saved_state(before):
    sampler = EpochSampler(np.arange(1, 50), 8, seed=3)
    for _ in range(before):
        sampler.draw()
    state = json.loads(json.dumps(sampler.state()))
    restored = EpochSampler(np.arange(1, 50), 8, seed=3)
    restored.restore(state)
    for _ in range(10):
        assert np.array_equal(restored.draw()[1], sampler.draw()[1])
