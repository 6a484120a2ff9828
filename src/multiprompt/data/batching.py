"""Positions to padded tensors, cut into micro-batches of similar length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from multiprompt.batch import IGNORED, Batch
from multiprompt.data.mixing import Sampler
from multiprompt.data.tokenise import Ragged, TokenisedExamples


def collate(
    tasks: Sequence[TokenisedExamples],
    task_of: Int[np.ndarray, " B"],
    positions: Int[np.ndarray, " B"],
    pad_id: int,
) -> Batch:
    """Pad examples on the right to the longest of them."""
    return _Examples.gather(tasks, task_of, positions, pad_id).batch()


@dataclass(frozen=True)
class _Padded:
    """Sequences as a rectangle."""

    values: Int[np.ndarray, "B S"]
    lengths: Int[np.ndarray, " B"]

    @staticmethod
    def of(groups: Sequence[tuple[Ragged, Int[np.ndarray, " _"], Int[np.ndarray, " _"]]], pad: int) -> _Padded:
        """Collect sequences of several tasks.

        Args:
            groups: for every task its sequences, the rows of the batch that come from them, and their positions.
            pad: what stands after the end of a sequence.
        """
        count = sum(len(rows) for _, rows, _ in groups)
        starts, lengths = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
        for sequences, rows, positions in groups:
            starts[rows] = begins = sequences.offsets[positions]
            lengths[rows] = sequences.offsets[positions + 1] - begins
        columns = np.arange(lengths.max())
        # Entries after the end repeat the last token for a moment, so that all of a task is one look-up.
        indices = starts[:, None] + np.minimum(columns, lengths[:, None] - 1)
        values = np.empty(indices.shape, dtype=np.int64)
        for sequences, rows, _ in groups:
            values[rows] = sequences.values[indices[rows]]
        values[columns >= lengths[:, None]] = pad
        return _Padded(values, lengths)

    def part(self, rows: Int[np.ndarray, " k"]) -> _Padded:
        """Some of the sequences, as wide as the longest of them."""
        lengths = self.lengths[rows]
        return _Padded(self.values[rows, : lengths.max()], lengths)


@dataclass(frozen=True)
class _Examples:
    """A batch before it becomes tensors: arrays are quicker to cut."""

    sources: _Padded
    targets: _Padded
    task_of: Int[np.ndarray, " B"]

    @staticmethod
    def gather(
        tasks: Sequence[TokenisedExamples],
        task_of: Int[np.ndarray, " B"],
        positions: Int[np.ndarray, " B"],
        pad_id: int,
    ) -> _Examples:
        groups = []
        for task in set(task_of.tolist()):
            rows = np.flatnonzero(task_of == task)
            groups.append((tasks[task], rows, positions[rows]))
        sources = _Padded.of([(task.sources, rows, chosen) for task, rows, chosen in groups], pad_id)
        targets = _Padded.of([(task.targets, rows, chosen) for task, rows, chosen in groups], IGNORED)
        return _Examples(sources, targets, task_of)

    def part(self, rows: Int[np.ndarray, " k"]) -> _Examples:
        return _Examples(self.sources.part(rows), self.targets.part(rows), self.task_of[rows])

    def batch(self) -> Batch:
        mask = np.arange(self.sources.values.shape[1]) < self.sources.lengths[:, None]
        return Batch(
            torch.from_numpy(self.sources.values),
            torch.from_numpy(mask.astype(np.int64)),
            torch.from_numpy(self.targets.values),
            torch.as_tensor(self.task_of, dtype=torch.long),
        )


def cut_by_length(
    lengths: Int[np.ndarray, " B"],
    overhead: int,
    prompt_length: int = 0,
    examples: Int[np.ndarray, " B"] | None = None,
) -> list[Int[np.ndarray, " _"]]:
    """Split a batch into micro-batches so that the least work is done, padding counted.

    The cost of a micro-batch is its number of examples times the longest of them (prompt included), plus a
    fixed overhead. The examples are sorted by length; the best cuts are found exactly, by dynamic
    programming.

    Args:
        lengths: of the examples, or of bundles of examples that stay together.
        overhead: the cost of one more micro-batch.
        prompt_length: added to every length.
        examples: in every bundle; None where each is one.

    Returns:
        The positions (within the batch) of every micro-batch; one micro-batch if splitting does not pay.
    """
    order = np.argsort(lengths, kind="stable")
    count = len(order) if examples is None else int(examples.sum())
    if count * int(lengths[order[-1]] - lengths[order[0]]) <= overhead:
        return [order]  # even without any padding less would be saved than one more micro-batch costs
    rows = (lengths[order] + prompt_length).tolist()
    counts = np.arange(len(rows) + 1) if examples is None else np.concatenate([[0], np.cumsum(examples[order])])
    before: list[int] = counts.tolist()
    # best[end]: the least work for what comes before `end`. A micro-batch from `start` to `end` costs
    # (before[end] - before[start]) * rows[end - 1] + overhead, which for given `end` is a line in rows[end - 1] with
    # the slope -before[start] and the height best[start]. Slopes fall and rows rise, so the lowest line is found by
    # going forward only.
    best = [0]
    cut_before = [0]
    lines = [0]  # starts that can still be the best, from the steepest to the flattest of the lower envelope
    front = 0
    for end, width in enumerate(rows, start=1):
        while front + 1 < len(lines) and best[lines[front + 1]] - before[lines[front + 1]] * width < (
            best[lines[front]] - before[lines[front]] * width
        ):
            front += 1
        start = lines[front]
        cut_before.append(start)
        best.append(best[start] + (before[end] - before[start]) * width + overhead)
        while len(lines) - front > 1 and not _is_below(best, before, lines[-2], lines[-1], end):
            lines.pop()
        lines.append(end)
    pieces = []
    end = len(rows)
    while end > 0:
        pieces.append(order[cut_before[end] : end])
        end = cut_before[end]
    return pieces[::-1]


def _is_below(best: Sequence[int], before: Sequence[int], left: int, middle: int, right: int) -> bool:
    """Whether the line of ``middle`` is anywhere below both its neighbours: left meets it before left meets right."""
    return (best[middle] - best[left]) * (before[right] - before[middle]) < (
        (best[right] - best[middle]) * (before[middle] - before[left])
    )


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
        micro_batch_cost: fixed cost of one more micro-batch, in padded tokens of work; None where a cut saves nothing,
            because the backbone does not pad.
        most_tokens: padded tokens (prompts included) that fit into memory at once; None for no limit.
        positions: of examples, from the lengths of their sources and targets; see ``Backbone.positions``.
    """

    def __init__(
        self,
        tasks: Sequence[TokenisedExamples],
        sampler: Sampler,
        pad_id: int,
        prompt_length: int = 0,
        max_micro_batch: int | None = None,
        micro_batch_cost: int | None = None,
        most_tokens: int | None = None,
        positions: Callable[[np.ndarray, np.ndarray], np.ndarray] = lambda sources, targets: sources,
    ) -> None:
        self.tasks = tasks
        self.sampler = sampler
        self.pad_id = pad_id
        self.prompt_length = prompt_length
        self.max_micro_batch = max_micro_batch
        self.micro_batch_cost = micro_batch_cost
        self.most_tokens = most_tokens
        self.positions = positions

    def __iter__(self) -> Iterator[list[Batch]]:
        return self

    def __next__(self) -> list[Batch]:
        task_of, positions = self.sampler.draw()
        examples = _Examples.gather(self.tasks, task_of, positions, self.pad_id)
        lengths = self.positions(examples.sources.lengths, examples.targets.lengths)
        if self.micro_batch_cost is None:
            pieces = [np.arange(len(positions))]
        else:
            pieces = cut_by_length(lengths, self.micro_batch_cost, self.prompt_length)
        parts = (part for piece in pieces for part in self._fitting(piece, lengths[piece]))
        return [examples.part(rows).batch() for rows in parts]

    def _fitting(self, rows: Int[np.ndarray, " k"], lengths: Int[np.ndarray, " k"]) -> Iterator[Int[np.ndarray, " _"]]:
        """Rows of a batch, in their order, in parts that fit into memory."""
        size = self.max_micro_batch or len(rows)
        if self.most_tokens is not None:
            size = max(1, min(size, self.most_tokens // int(lengths.max() + self.prompt_length)))
        return (rows[start : start + size] for start in range(0, len(rows), size))

    def state(self) -> dict[str, Any]:
        """The sampler's state, as JSON."""
        return self.sampler.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from where ``state`` was taken."""
        self.sampler.restore(state)
