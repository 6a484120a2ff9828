"""Tensors that travel from the data to the loss.

Letters used in shapes all over the package: B batch, S source tokens, T target tokens, N target tokens of a whole
batch without padding, P prompt rows, D model width, K tasks, R rank, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

IGNORED = -100
"""Label of a target position that does not count (padding)."""


@dataclass(frozen=True)
class Known:
    """What the host knows of a batch, so that nobody has to wait for the device to learn it.

    Attributes:
        sources: true for a source token, false for padding.
        targets: true for a target position that counts.
        tasks: for each example the position of its task in the run's list of tasks.
    """

    sources: Bool[np.ndarray, "B S"]
    targets: Bool[np.ndarray, "B T"]
    tasks: Int[np.ndarray, " B"]


@dataclass(frozen=True)
class Tasks:
    """The tasks of some examples.

    Attributes:
        present: the tasks that occur, in ascending order.
        index: for each example the position of its task in ``present``.
    """

    present: Sequence[int]
    index: Int[Tensor, " B"]

    @staticmethod
    def of(task_ids: Int[np.ndarray, " B"], device: torch.device) -> Tasks:
        """The tasks with these positions; the index is on a device."""
        present, index = np.unique(task_ids, return_inverse=True)
        return Tasks(present.tolist(), sent(index, device))

    def repeated(self, times: int) -> Tasks:
        """The same with several rows for each example, one after the other, as in beam search."""
        return self if times == 1 else Tasks(self.present, self.index.repeat_interleave(times))


@dataclass(frozen=True)
class Batch:
    """A padded batch of examples that may belong to different tasks.

    Attributes:
        input_ids: source tokens, padded on the right.
        attention_mask: 1 for a token, 0 for padding.
        labels: target tokens including the end-of-sequence token; ``IGNORED`` for padding.
        task_ids: for each example the position of its task in the run's list of tasks.
    """

    input_ids: Int[Tensor, "B S"]
    attention_mask: Int[Tensor, "B S"]
    labels: Int[Tensor, "B T"]
    task_ids: Int[Tensor, " B"]

    def __len__(self) -> int:
        return len(self.input_ids)

    @cached_property
    def known(self) -> Known:
        """What the host knows of it. A batch that ``to`` has moved brings it along; others wait for their device."""
        return Known(
            (self.attention_mask != 0).cpu().numpy(),
            (self.labels != IGNORED).cpu().numpy(),
            self.task_ids.cpu().numpy(),
        )

    @cached_property
    def tasks(self) -> Tasks:
        """The tasks of its examples; the index is on the device of the batch."""
        return Tasks.of(self.known.tasks, self.task_ids.device)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device, in one transfer that nobody waits for."""
        device = torch.device(device)
        parts = self.input_ids, self.attention_mask, self.labels, self.task_ids
        if device.type == self.input_ids.device.type:
            moved = Batch(*(part.to(device) for part in parts))
        else:
            flat = sent(torch.cat([part.flatten() for part in parts]), device)
            split = flat.split([part.numel() for part in parts])
            moved = Batch(*(each.view(part.shape) for each, part in zip(split, parts, strict=True)))
        moved.__dict__["known"] = self.known
        return moved

    def part(self, rows: Int[np.ndarray, " k"]) -> Batch:
        """Some of the examples, at least one, padded to the longest of them."""
        sources, targets = int(self.source_lengths[rows].max()), int(self.target_lengths[rows].max())
        mask, labels = self.attention_mask[rows, :sources], self.labels[rows, :targets]
        return Batch(self.input_ids[rows, :sources], mask, labels, self.task_ids[rows])

    @property
    def target_mask(self) -> Bool[Tensor, "B T"]:
        """True for the target positions that count."""
        return self.labels != IGNORED

    @property
    def target_lengths(self) -> Int[np.ndarray, " B"]:
        """Number of target positions that count, per example."""
        return self.known.targets.sum(1)

    @property
    def source_lengths(self) -> Int[np.ndarray, " B"]:
        """Number of source tokens, per example."""
        return self.known.sources.sum(1)


def sent(values: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """Values of the host on a device. Nobody waits for the copy: on a GPU it comes before what uses it."""
    tensor = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
    # Only pinned memory is copied behind the host's back; a copy from other memory waits for all work before it.
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def counted_positions(
    targets: Bool[np.ndarray, "B T"], device: torch.device
) -> tuple[Int[Tensor, " N"], Int[Tensor, " N"]]:
    """The target positions that count, example after example.

    Args:
        targets: true for them.
        device: where they are needed.

    Returns:
        The example that each belongs to, and its place in the flattened ``[B * T]``.
    """
    places = np.flatnonzero(targets)
    example_ids, positions = sent(np.stack([places // targets.shape[1], places]), device)
    return example_ids, positions
