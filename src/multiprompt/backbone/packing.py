"""The real tokens of a padded batch in one row: what lets an accelerated model leave out the padding."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch
from torch import Tensor


class Rows:
    """Where the real positions of a padded tensor are."""

    def __init__(self, mask: Tensor) -> None:
        self.shape = mask.shape
        self.lengths: list[int] = mask.sum(1).tolist()
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


class Packing:
    """The real tokens of a padded batch in one row, and back. Use the model inside the ``with`` block.

    Args:
        model: an accelerated model.
        source_mask: 1 for the encoder's positions that count, in front of those that do not.
        target_mask: the same of the decoder; None if it does not run.
    """

    no_mask = torch.ones(1, 1, 1, 1)
    """What the stacks get for a mask; transformers hands a mask of four dimensions on as it is."""

    def __init__(self, model: Any, source_mask: Tensor, target_mask: Tensor | None = None) -> None:
        self.model = model
        self.sources = Rows(source_mask)
        self.targets = self.sources if target_mask is None else Rows(target_mask)

    def __enter__(self) -> Packing:
        self.model._packing = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.model._packing = None


def can_pack(model: Any, *masks: Tensor) -> bool:
    """Whether a ``Packing`` of these masks is possible: an accelerated, frozen model, and padding at the end."""
    if not hasattr(model, "_packing") or not is_frozen(model):
        return False
    return all(bool((mask[:, 1:] <= mask[:, :-1]).all() and mask[:, 0].all()) for mask in masks)


def is_frozen(module: Any) -> bool:
    return all(
        weight.dtype == torch.float32 and weight.device.type == "cpu" and not weight.requires_grad
        for weight in module.parameters()
    )
