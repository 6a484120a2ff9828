"""Positions to padded tensors, cut into micro-batches of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from multiprompt.batch import IGNORED, Batch
from multiprompt.data.mixing import Sampler
from multiprompt.data.tokenise import TokenisedExamples

MICRO_BATCH_COST = 150
"""What starting one more micro-batch costs, in padded tokens of work; see docs/performance.md."""


def collate(
    tasks: Sequence[TokenisedExamples],
    task_of: Int[np.ndarray, " B"],
    positions: Int[np.ndarray, " B"],
    pad_id: int,
) -> Batch:
    """Pad examples on the right to the longest of them."""
    pairs = list(zip(task_of.tolist(), positions.tolist(), strict=True))
    input_ids, lengths = _pad([tasks[task].sources[position] for task, position in pairs], pad_id)
    labels, _ = _pad([tasks[task].targets[position] for task, position in pairs], IGNORED)
    mask = (torch.arange(input_ids.shape[1]) < lengths[:, None]).long()
    return Batch(input_ids, mask, labels, torch.as_tensor(task_of, dtype=torch.long))


def _pad(sequences: list[Int[np.ndarray, " _"]], value: int) -> tuple[Tensor, Tensor]:
    lengths = np.array([len(sequence) for sequence in sequences])
    padded = np.full((len(sequences), lengths.max()), value, dtype=np.int64)
    for row, sequence in zip(padded, sequences, strict=True):
        row[: len(sequence)] = sequence
    return torch.from_numpy(padded), torch.from_numpy(lengths)


def cut_by_length(lengths: Int[np.ndarray, " B"], overhead: int, prompt_length: int = 0) -> list[Int[np.ndarray, " _"]]:
    """Split a batch into micro-batches so that the least work is done, padding counted.

    The cost of a micro-batch is its number of examples times the longest of them (prompt included), plus a
    fixed overhead. The examples are sorted by length; the best cuts are found exactly, by dynamic
    programming.

    Returns:
        The positions (within the batch) of every micro-batch; one micro-batch if splitting does not pay.
    """
    order = np.argsort(lengths, kind="stable")
    rows = lengths[order] + prompt_length
    count = len(rows)
    best = np.zeros(count + 1)
    cut_before = np.zeros(count + 1, dtype=int)
    for end in range(1, count + 1):
        costs = best[:end] + (end - np.arange(end)) * rows[end - 1] + overhead
        cut_before[end] = int(np.argmin(costs))
        best[end] = costs[cut_before[end]]
    pieces = []
    end = count
    while end > 0:
        pieces.append(order[cut_before[end] : end])
        end = int(cut_before[end])
    return pieces[::-1]


class BatchStream:
    """An endless iterator over training steps; each is a list of micro-batches.

    The gradient of a step does not depend on how it is cut, because the loop divides by the counts of the
    whole step. So examples of very different length, as in a batch of mixed tasks, need not be padded to the
    longest.

    Args:
        tasks: the tokenised examples of every task, in the order of the task ids.
        sampler: draws the positions.
        pad_id: the tokenizer's padding token.
        prompt_length: rows in front of every source; part of the work that a micro-batch costs.
        max_micro_batch: examples that fit into memory at once; None for no limit.
        micro_batch_cost: see ``MICRO_BATCH_COST``; None for a backbone that does not pad, where a cut saves nothing.
    """

    def __init__(
        self,
        tasks: Sequence[TokenisedExamples],
        sampler: Sampler,
        pad_id: int,
        prompt_length: int = 0,
        max_micro_batch: int | None = None,
        micro_batch_cost: int | None = MICRO_BATCH_COST,
    ) -> None:
        self.tasks = tasks
        self.sampler = sampler
        self.pad_id = pad_id
        self.prompt_length = prompt_length
        self.max_micro_batch = max_micro_batch
        self.micro_batch_cost = micro_batch_cost

    def __iter__(self) -> Iterator[list[Batch]]:
        return self

    def __next__(self) -> list[Batch]:
        task_of, positions = self.sampler.draw()
        steps = []
        for piece in self._pieces(task_of, positions):
            size = self.max_micro_batch or len(piece)
            for start in range(0, len(piece), size):
                part = piece[start : start + size]
                steps.append(collate(self.tasks, task_of[part], positions[part], self.pad_id))
        return steps

    def _pieces(self, task_of: Int[np.ndarray, " B"], positions: Int[np.ndarray, " B"]) -> list[Int[np.ndarray, " _"]]:
        if self.micro_batch_cost is None:
            return [np.arange(len(positions))]
        pairs = zip(task_of, positions, strict=True)
        lengths = np.array([len(self.tasks[task].sources[position]) for task, position in pairs])
        return cut_by_length(lengths, self.micro_batch_cost, self.prompt_length)

    def state(self) -> dict[str, Any]:
        """The sampler's state, as JSON."""
        return self.sampler.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from where ``state`` was taken."""
        self.sampler.restore(state)
