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


def mixing_rates(sizes: Sequence[int], cap: int = SIZE_CAP) -> Float[np.ndarray, " K"]:
    """Share of every task: ``min(n_k, cap)`` over the sum of these (section 4.1)."""
    capped = np.minimum(np.asarray(sizes, dtype=np.float64), cap)
    return capped / capped.sum()


class _Shuffled:
    """Positions 0..size-1 in a random order, consumed in turn, with a new order every epoch."""

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seed = seed
        self.epoch = 0
        self.position = 0
        self._order = self._shuffle()

    def _shuffle(self) -> Int[np.ndarray, " n"]:
        return np.random.default_rng(derive_seed(self.seed, "epoch", self.epoch)).permutation(self.size)

    def take(self, count: int) -> Int[np.ndarray, " count"]:
        parts = []
        while count > 0:
            if self.position == self.size:
                self.move_to(self.epoch + 1, 0)
            part = self._order[self.position : self.position + count]
            self.position += len(part)
            count -= len(part)
            parts.append(part)
        return np.concatenate(parts)

    def move_to(self, epoch: int, position: int) -> None:
        if epoch != self.epoch:
            self.epoch = epoch
            self._order = self._shuffle()
        self.position = position


class TaskSampler:
    """Batches of several tasks (section 3.2 and 4.1).

    * ``proportional``: K is uniform on {2..kappa}; K tasks are drawn one after the other, with replacement,
    from the
      mixing rates; each draw gives ``batch_size // K`` examples, and the rest goes to one of the drawn tasks.
      The expected share of a task is its mixing rate.
    * ``uniform_tasks``: K *different* tasks, all equally likely, with equal quotas: the literal reading of
    section
      3.2. Every task has the share 1/kappa.
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
        self._orders = [_Shuffled(size, derive_seed(seed, "task", task)) for task, size in enumerate(sizes)]

    def draw(self) -> Draw:
        quotas = self._quotas()
        tasks = np.fromiter(quotas, dtype=np.int64)
        counts = np.fromiter(quotas.values(), dtype=np.int64)
        task_of = np.repeat(tasks, counts)
        positions = np.concatenate([self._orders[task].take(count) for task, count in quotas.items()])
        shuffle = self._random.permutation(len(task_of))
        return task_of[shuffle], positions[shuffle]

    def _quotas(self) -> dict[int, int]:
        """Examples of each task in the next batch."""
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
        quotas: dict[int, int] = {}
        for task in drawn.tolist():
            quotas[task] = quotas.get(task, 0) + quota
        rest = self.batch_size - quota * len(drawn)
        if rest:
            quotas[int(self._random.choice(drawn))] += rest
        return quotas

    def _weighted(self, count: int) -> Int[np.ndarray, " count"]:
        return np.searchsorted(self._cumulative, self._random.random(count), side="right")

    def state(self) -> dict[str, Any]:
        return {
            "random": self._random.bit_generator.state,
            "orders": [[order.epoch, order.position] for order in self._orders],
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._random.bit_generator.state = state["random"]
        for order, (epoch, position) in zip(self._orders, state["orders"], strict=True):
            order.move_to(epoch, position)


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
