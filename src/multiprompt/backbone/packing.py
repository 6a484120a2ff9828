"""How a padded batch goes through the faster stacks: its real tokens in one row, or as it is."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor


class Rows:
    """The real positions of a padded tensor in one row.

    Args:
        mask: 1 for them, ``at_the_end`` of which there is padding, ``[B, N]``.
    """

    def __init__(self, mask: Tensor) -> None:
        self.shape = mask.shape
        self.lengths: list[int] = mask.sum(1).tolist()
        self.width = max(self.lengths)
        self.full = min(self.lengths) == mask.shape[1]
        self.index = mask.flatten().nonzero().squeeze(1)

    def pack(self, padded: Tensor) -> Tensor:
        """(B, N, ...) -> (1, total, ...)"""
        flat = padded.flatten(0, 1)
        return (flat if self.full else flat.index_select(0, self.index)).unsqueeze(0)

    def unpack(self, packed: Tensor) -> Tensor:
        """(1, total, ...) -> (B, N, ...), zeros in between."""
        rows = packed[0]
        if not self.full:
            rows = rows.new_zeros(self.shape.numel(), *rows.shape[1:]).index_copy(0, self.index, rows)
        return rows.view(*self.shape, *rows.shape[1:])

    def real(self, packed: Tensor) -> Tensor:
        """(1, total, ...) -> (total, ...)"""
        return packed[0]


class Grid:
    """The padded tensor as it is.

    Args:
        mask: 1 for real positions, ``[B, N]``.
    """

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask.bool()
        self.count, self.width = mask.shape

    @cached_property
    def added(self) -> Tensor | None:
        """What hides padding from attention, added to its scores: ``[B, 1, 1, N]``; None where there is none."""
        if bool(self.mask.all()):
            return None
        # Not minus infinity, which would make an example without a single token not a number.
        return (~self.mask)[:, None, None] * torch.finfo(torch.float32).min

    def pack(self, padded: Tensor) -> Tensor:
        """As it is."""
        return padded

    def unpack(self, states: Tensor) -> Tensor:
        """As they are."""
        return states

    def real(self, states: Tensor) -> Tensor:
        """(B, N, ...) -> (total, ...)"""
        return states[self.mask]


Layout = Rows | Grid


def at_the_end(mask: Tensor) -> bool:
    """Whether every row of a mask has ones, and they come before all zeros: what ``Rows`` asks for."""
    return bool((mask[:, 1:] <= mask[:, :-1]).all() and mask[:, 0].all())
