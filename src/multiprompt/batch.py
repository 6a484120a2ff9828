"""Tensors that travel from the data to the loss.

Letters used in shapes all over the package: B batch, S source tokens, T target tokens, N target tokens of a whole
batch without padding, P prompt rows, D model width, K tasks, R rank, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

IGNORED = -100
"""Label of a target position that does not count (padding)."""


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

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return Batch(
            self.input_ids.to(device),
            self.attention_mask.to(device),
            self.labels.to(device),
            self.task_ids.to(device),
        )

    def part(self, rows: Int[Tensor, " k"]) -> Batch:
        """Some of the examples, at least one, padded to the longest of them."""
        mask, labels = self.attention_mask[rows], self.labels[rows]
        sources, targets = int(mask.sum(1).max()), int((labels != IGNORED).sum(1).max())
        return Batch(self.input_ids[rows, :sources], mask[:, :sources], labels[:, :targets], self.task_ids[rows])

    @property
    def target_mask(self) -> Bool[Tensor, "B T"]:
        """True for the target positions that count."""
        return self.labels != IGNORED

    @property
    def target_lengths(self) -> Float[Tensor, " B"]:
        """Number of target positions that count, per example."""
        return self.target_mask.sum(1).float()

    @property
    def source_lengths(self) -> Float[Tensor, " B"]:
        """Number of source tokens, per example."""
        return self.attention_mask.sum(1).float()
