"""Products with frozen weights, from copies in the layout that is read fastest.

A matrix product first copies its operands into tiles. The weights of a frozen model never change, so the tiles of those
named by ``tile`` are made once, by oneDNN: one copy for the forward pass, one for the gradient. Small products, whose
weights are named by ``transpose``, need only one operand turned: a copy for the forward pass.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.weak import WeakTensorKeyDictionary

MEMORY_SHARE = 0.25
"""Share of the machine's memory that the copies of one model's weights may take."""

_onednn = torch.ops.mkldnn


@dataclass
class _Copies:
    """Copies of a weight as it was at a version, in tiles or transposed; None until they are needed."""

    version: int
    tiled: bool
    forward: Tensor | None = None
    backward: Tensor | None = None


_copied: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def tile(weights: Iterable[Tensor]) -> None:
    """Let the products with these weights use copies in tiles, made when they are first needed.

    Nothing happens if the copies of all of them would not fit into ``MEMORY_SHARE``, or torch lacks oneDNN.

    Args:
        weights: float32 matrices (out, in) on the CPU.
    """
    weights = list(weights)
    if not torch.backends.mkldnn.is_available() or not hasattr(_onednn, "_reorder_linear_weight"):
        return
    copies = 2 * sum(weight.numel() * weight.element_size() for weight in weights)
    if copies > MEMORY_SHARE * _memory():
        return
    for weight in weights:
        _copied[weight] = _Copies(weight._version, tiled=True)


def transpose(weights: Iterable[Tensor]) -> None:
    """Let the products with these weights use a transposed copy, made when it is first needed.

    Args:
        weights: matrices (out, in) on the CPU.
    """
    for weight in weights:
        _copied[weight] = _Copies(weight._version, tiled=False)


def _memory() -> int:
    """Bytes of this machine; 0 where the system does not tell."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0


def forget(weights: Iterable[Tensor]) -> None:
    """Undo ``tile`` and ``transpose`` and free the copies."""
    for weight in weights:
        _copied.pop(weight, None)


def _copies(weight: Tensor) -> _Copies | None:
    known: _Copies | None = _copied.get(weight)
    # whoever writes to a weight (fine-tuning, and its undoing) gives it another version
    if known is not None and known.version != weight._version:
        known = _copied[weight] = _Copies(weight._version, known.tiled)
    return known


def apply(weight: Tensor, rows: Tensor) -> Tensor:
    """``rows @ weight.T`` for a frozen weight, outside of autograd.

    Args:
        weight: (out, in).
        rows: (..., in).
    """
    copies = _copies(weight)
    if copies is None:
        return F.linear(rows, weight)
    if copies.forward is None:
        plain = weight.detach()
        copies.forward = _onednn._reorder_linear_weight(plain, None) if copies.tiled else plain.t().contiguous()
    return _product(rows, copies.forward) if copies.tiled else rows @ copies.forward


def apply_transposed(weight: Tensor, rows: Tensor, onto: Tensor | None = None) -> Tensor:
    """``rows @ weight``, which the gradient of ``apply`` for its rows is made with; outside of autograd.

    Args:
        weight: (out, in).
        rows: (..., out).
        onto: what the product is added to, in place; contiguous.
    """
    copies = _copies(weight)
    if copies is None or not copies.tiled:
        if onto is None:
            return rows @ weight
        onto.view(-1, onto.shape[-1]).addmm_(rows.flatten(0, -2), weight)
        return onto
    if copies.backward is None:
        copies.backward = _onednn._reorder_linear_weight(weight.detach().t().contiguous(), None)
    product = _product(rows, copies.backward)
    return product if onto is None else onto.add_(product)


def _product(rows: Tensor, tiles: Tensor) -> Tensor:
    product: Tensor = _onednn._linear_pointwise(rows.contiguous(), tiles, None, "none", [], "")
    return product
