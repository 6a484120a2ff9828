"""Products with frozen weights, in the layout that oneDNN reads fastest.

A matrix product first copies its operands into tiles. The weights of a frozen model never change, so the tiles of those
named by ``tile`` are made once: one copy for the forward pass, one for the gradient.
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
class _Tiles:
    """Copies of a weight as it was at a version; None until they are needed."""

    version: int
    forward: Tensor | None = None
    backward: Tensor | None = None


_tiled: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


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
        _tiled[weight] = _Tiles(weight._version)


def _memory() -> int:
    """Bytes of this machine; 0 where the system does not tell."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0


def untile(weights: Iterable[Tensor]) -> None:
    """Undo ``tile`` and free the copies."""
    for weight in weights:
        _tiled.pop(weight, None)


def _tiles(weight: Tensor) -> _Tiles | None:
    known: _Tiles | None = _tiled.get(weight)
    # whoever writes to a weight (fine-tuning, and its undoing) gives it another version
    if known is not None and known.version != weight._version:
        known = _tiled[weight] = _Tiles(weight._version)
    return known


def apply(weight: Tensor, rows: Tensor) -> Tensor:
    """``rows @ weight.T`` for a frozen weight, outside of autograd.

    Args:
        weight: (out, in).
        rows: (..., in).
    """
    tiles = _tiles(weight)
    if tiles is None:
        return F.linear(rows, weight)
    if tiles.forward is None:
        tiles.forward = _onednn._reorder_linear_weight(weight.detach(), None)
    return _product(rows, tiles.forward)


def apply_transposed(weight: Tensor, rows: Tensor, onto: Tensor | None = None) -> Tensor:
    """``rows @ weight``, which the gradient of ``apply`` for its rows is made with; outside of autograd.

    Args:
        weight: (out, in).
        rows: (..., out).
        onto: what the product is added to, in place; contiguous.
    """
    tiles = _tiles(weight)
    if tiles is None:
        if onto is None:
            return rows @ weight
        onto.view(-1, onto.shape[-1]).addmm_(rows.flatten(0, -2), weight)
        return onto
    if tiles.backward is None:
        tiles.backward = _onednn._reorder_linear_weight(weight.detach().t().contiguous(), None)
    product = _product(rows, tiles.backward)
    return product if onto is None else onto.add_(product)


def _product(rows: Tensor, tiles: Tensor) -> Tensor:
    product: Tensor = _onednn._linear_pointwise(rows.contiguous(), tiles, None, "none", [], "")
    return product
