"""Which examples a batch is made of. No text and no tensor here: only positions of tasks and of examples.

A sampler is endless and deterministic, and its state is a small JSON value, so that it can be saved and
restored on its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from multiprompt.errors import ConfigError
from multiprompt.seeding import derive_seed

SIZE_CAP = 2**18
"""Examples beyond which a task's size no longer raises its share (examples-proportional mixing)."""

GROUPED_BATCHES = 64
"""Within how many batches of an epoch examples are put together by length."""

Draw = tuple[Int[np.ndarray, " B"], Int[np.ndarray, " B"]]
"""The task of every example of a batch, and its position within the task."""


@runtime_checkable
class Sampler(Protocol):
    """An endless source of batches' positions."""

    def draw(self) -> Draw:
        """The next batch."""
        ...

    def state(self) -> dict[str, Any]:
        """What ``restore`` needs, as JSON."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from where ``state`` was taken."""
        ...

    def shares(self) -> list[float]:
        """The expected share of every task in the examples; empty for one task."""
        ...


def mixing_rates(sizes: Sequence[int], cap: int = SIZE_CAP) -> Float[np.ndarray, " K"]:
    """Share of every task: ``min(n_k, cap)`` over the sum of these (section 4.1)."""
    capped = np.minimum(np.asarray(sizes, dtype=np.float64), cap)
    return capped / capped.sum()


def _span_indices(starts: Int[np.ndarray, " k"], lengths: Int[np.ndarray, " k"]) -> Int[np.ndarray, " total"]:
    """``starts[0], starts[0] + 1, ..`` (``lengths[0]`` numbers), then those from ``starts[1]``, and so on."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1]) + np.repeat(starts - ends + lengths, lengths)


class _ShuffledTasks:
    """For every task its positions in a random order, consumed in turn, with a new order every epoch.

    The orders stand in one array, so that a batch takes from all its tasks at once.

    Args:
        sizes: examples of every task.
        seeds: one for every task.
    """

    def __init__(self, sizes: Sequence[int], seeds: Sequence[int]) -> None:
        self.sizes = np.asarray(sizes, dtype=np.int64)
        self.seeds = seeds
        self.epochs = [0] * len(sizes)
        self.taken = np.zeros(len(sizes), dtype=np.int64)
        self._starts = np.cumsum(self.sizes) - self.sizes
        fits = self.sizes.max() <= np.iinfo(np.int32).max
        self._orders = np.empty(self.sizes.sum(), dtype=np.int32 if fits else np.int64)
        for task in range(len(sizes)):
            self._shuffle(task)

    def _shuffle(self, task: int) -> None:
        random = np.random.default_rng(derive_seed(self.seeds[task], "epoch", self.epochs[task]))
        self._order(task)[:] = random.permutation(self.sizes[task])

    def _order(self, task: int) -> Int[np.ndarray, " n"]:
        return self._orders[self._starts[task] : self._starts[task] + self.sizes[task]]

    def take(self, tasks: Int[np.ndarray, " k"], counts: Int[np.ndarray, " k"]) -> Int[np.ndarray, " total"]:
        """The next positions of some tasks (all different), task after task."""
        begins = self.taken[tasks]
        if (begins + counts > self.sizes[tasks]).any():
            return np.concatenate([self._take_one(*pair) for pair in zip(tasks.tolist(), counts.tolist(), strict=True)])
        self.taken[tasks] += counts
        return self._orders[_span_indices(self._starts[tasks] + begins, counts)]

    def _take_one(self, task: int, count: int) -> Int[np.ndarray, " count"]:
        """The same for one task, over the end of an epoch."""
        parts = []
        while count > 0:
            begin = int(self.taken[task])
            if begin == self.sizes[task]:
                self.move_to(task, self.epochs[task] + 1, 0)
                begin = 0
            part = self._order(task)[begin : begin + count].copy()  # the order may be shuffled again before it is used
            self.taken[task] += len(part)
            count -= len(part)
            parts.append(part)
        return np.concatenate(parts)

    def move_to(self, task: int, epoch: int, taken: int) -> None:
        if epoch != self.epochs[task]:
            self.epochs[task] = epoch
            self._shuffle(task)
        self.taken[task] = taken


class TaskSampler:
    """Batches of several tasks (section 3.2 and 4.1).

    * ``proportional``: K is uniform on {2..kappa}; K tasks are drawn one after the other, with replacement,
      from the mixing rates; each draw gives ``batch_size // K`` examples, and the rest goes to one of the drawn
      tasks. The expected share of a task is its mixing rate.
    * ``uniform_tasks``: K *different* tasks, all equally likely, with equal quotas: the literal reading of
      section 3.2. All tasks have the same expected share.
    * ``iid``: no task sampling; the task of every single example is drawn from the mixing rates.

    Within a task the examples come in a shuffled order, each once per pass through the task.

    Args:
        sizes: examples of every task.
        batch_size: B.
        seed: of this sampler alone.
        mode: see above.
        size_cap: see ``mixing_rates``.
        max_tasks: kappa; all tasks if None.

    Raises:
        ConfigError: a task is empty, or there are fewer than two tasks to draw from, or a batch is too small.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        batch_size: int,
        seed: int,
        mode: str = "proportional",
        size_cap: int = SIZE_CAP,
        max_tasks: int | None = None,
    ) -> None:
        kappa = len(sizes) if max_tasks is None else max_tasks
        if min(sizes) < 1:
            raise ConfigError(f"task number {int(np.argmin(sizes))} has no example")
        if mode not in ("proportional", "uniform_tasks", "iid"):
            raise ConfigError(f"unknown mixing mode {mode!r}; expected proportional, uniform_tasks or iid")
        if mode != "iid" and not 2 <= kappa <= len(sizes):
            raise ConfigError(
                f"a batch draws from 2 to {kappa} tasks, but there are {len(sizes)}; task sampling needs at least two "
                "tasks (use the mode 'iid' for one)"
            )
        if mode != "iid" and batch_size < kappa:
            raise ConfigError(f"a batch of {batch_size} cannot hold examples of {kappa} tasks")
        self.batch_size = batch_size
        self.mode = mode
        self.kappa = kappa
        self.rates = mixing_rates(sizes, size_cap)
        # Drawing through the cumulative rates costs the same for six tasks and for hundreds.
        self._cumulative = np.cumsum(self.rates)
        self._cumulative[-1] = 1.0
        self._random = np.random.default_rng(derive_seed(seed, "tasks"))
        self._orders = _ShuffledTasks(sizes, [derive_seed(seed, "task", task) for task in range(len(sizes))])

    def shares(self) -> list[float]:
        same = [1 / len(self.rates)] * len(self.rates)
        return same if self.mode == "uniform_tasks" else self.rates.tolist()

    def draw(self) -> Draw:
        tasks, counts = self._quotas()
        task_of = np.repeat(tasks, counts)
        positions = self._orders.take(tasks, counts)
        shuffle = self._random.permutation(len(task_of))
        return task_of[shuffle], positions[shuffle]

    def _quotas(self) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
        """The tasks of the next batch, in the order in which they were drawn, and the examples of each."""
        if self.mode == "iid":
            drawn = self._weighted(self.batch_size)
            quota = 1
        else:
            count = int(self._random.integers(2, self.kappa + 1))
            if self.mode == "proportional":
                drawn = self._weighted(count)
            else:
                drawn = self._random.choice(len(self.rates), size=count, replace=False)
            quota = self.batch_size // count
        quotas = np.bincount(drawn, minlength=len(self.rates)) * quota
        rest = self.batch_size - quota * len(drawn)
        if rest:
            quotas[drawn[self._random.integers(len(drawn))]] += rest
        tasks = np.fromiter(dict.fromkeys(drawn.tolist()), dtype=np.int64)
        return tasks, quotas[tasks]

    def _weighted(self, count: int) -> Int[np.ndarray, " count"]:
        return np.searchsorted(self._cumulative, self._random.random(count), side="right")

    def state(self) -> dict[str, Any]:
        return {
            "random": self._random.bit_generator.state,
            "orders": [list(pair) for pair in zip(self._orders.epochs, self._orders.taken.tolist(), strict=True)],
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._random.bit_generator.state = state["random"]
        for task, (epoch, taken) in zip(range(len(self.rates)), state["orders"], strict=True):
            self._orders.move_to(task, epoch, taken)


class EpochSampler:
    """Batches of one task: every example exactly once an epoch, examples of similar length together.

    An epoch is a random order of all examples. Runs of 64 batches of it are sorted by length, cut into
    batches, and the batches shuffled. What an epoch contains does not change; what is saved is padding.

    Args:
        lengths: source length of every example, in tokens.
        batch_size: B; the last batch of an epoch holds what is left.
        seed: of this sampler alone.
        group_by_length: False leaves the random order as it is.

    Raises:
        ConfigError: there is no example.
    """

    def __init__(
        self, lengths: Int[np.ndarray, " n"], batch_size: int, seed: int, group_by_length: bool = True
    ) -> None:
        if len(lengths) < 1:
            raise ConfigError("there is no example to draw from")
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.group_by_length = group_by_length
        self.epoch = 0
        self.position = 0
        self._batches = self._epoch_batches()

    def _epoch_batches(self) -> list[Int[np.ndarray, " _"]]:
        random = np.random.default_rng(derive_seed(self.seed, "epoch", self.epoch))
        order = random.permutation(len(self.lengths))
        window = self.batch_size * GROUPED_BATCHES
        batches = []
        for start in range(0, len(order), window):
            chunk = order[start : start + window]
            if self.group_by_length:
                chunk = chunk[np.argsort(self.lengths[chunk], kind="stable")]
            cuts = range(0, len(chunk), self.batch_size)
            pieces = [chunk[cut : cut + self.batch_size] for cut in cuts]
            # The small remainder of an epoch must not always hold its longest examples.
            batches += [pieces[i] for i in random.permutation(len(pieces))]
        return batches

    def shares(self) -> list[float]:
        return []

    def draw(self) -> Draw:
        if self.position == len(self._batches):
            self.restore({"epoch": self.epoch + 1, "position": 0})
        positions = self._batches[self.position]
        self.position += 1
        return np.zeros(len(positions), dtype=np.int64), positions

    def state(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "position": self.position}

    def restore(self, state: dict[str, Any]) -> None:
        if state["epoch"] != self.epoch:
            self.epoch = state["epoch"]
            self._batches = self._epoch_batches()
        self.position = state["position"]
