"""How a padded batch goes through the faster stacks: its real tokens in one row, or as it is."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor


class Rows:
    """The real positions of a padded tensor in one row.

    Args:
        real: true for them; padding comes ``at_the_end``.
    """

    def __init__(self, real: Bool[np.ndarray, "B N"]) -> None:
        self.count, self.padded_width = real.shape
        self.lengths: list[int] = real.sum(1).tolist()
        self.width = max(self.lengths)
        self.full = bool(real.all())
        self.index = torch.from_numpy(np.flatnonzero(real))

    def pack(self, padded: Tensor) -> Tensor:
        """(B, N, ...) -> (1, total, ...)"""
        flat = padded.flatten(0, 1)
        return (flat if self.full else flat.index_select(0, self.index)).unsqueeze(0)

    def unpack(self, packed: Tensor) -> Tensor:
        """(1, total, ...) -> (B, N, ...), zeros in between."""
        rows = packed[0]
        if not self.full:
            rows = rows.new_zeros(self.count * self.padded_width, *rows.shape[1:]).index_copy(0, self.index, rows)
        return rows.view(self.count, self.padded_width, *rows.shape[1:])

    def real(self, packed: Tensor) -> Tensor:
        """(1, total, ...) -> (total, ...)"""
        return packed[0]


class Grid:
    """The padded tensor as it is.

    Args:
        real: true for real positions.
    """

    def __init__(self, real: Bool[np.ndarray, "B N"]) -> None:
        self.mask = real
        self.count, self.width = real.shape

    @cached_property
    def added(self) -> Tensor | None:
        """What hides padding from attention, added to its scores: ``[B, 1, 1, N]``; None where there is none."""
        if self.mask.all():
            return None
        # Not minus infinity, which would make an example without a single token not a number.
        return torch.from_numpy(~self.mask)[:, None, None] * torch.finfo(torch.float32).min

    def pack(self, padded: Tensor) -> Tensor:
        """As it is."""
        return padded

    def unpack(self, states: Tensor) -> Tensor:
        """As they are."""
        return states

    def real(self, states: Tensor) -> Tensor:
        """(B, N, ...) -> (total, ...)"""
        return states.flatten(0, 1).index_select(0, torch.from_numpy(np.flatnonzero(self.mask)))


Layout = Rows | Grid


def at_the_end(real: Bool[np.ndarray, "B N"]) -> bool:
    """Whether every row has real positions, and they come before all padding: what ``Rows`` asks for."""
    return bool((real[:, 1:] <= real[:, :-1]).all() and real[:, 0].all())
