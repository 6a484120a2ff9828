"""Muon in fp32: momentum, then the nearest orthogonal matrix, for all matrices of a shape in one call.

``torch.optim.Muon`` computes in bfloat16, which is slow on CPUs without native support.
Reference: K. Jordan, "Muon: an optimizer for hidden layers in neural networks", 2024.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

# Coefficients of the quintic Newton-Schulz iteration, and the update size that matches AdamW's.
_A, _B, _C = 3.4445, -4.7750, 2.0315
_UPDATE_RMS = 0.2


def orthogonalise(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Map a batch of wide matrices [N, r, c], r <= c, to approximately orthogonal ones (U S V^T -> U V^T)."""
    x = matrices / (matrices.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = _A * x + (_B * gram + _C * (gram @ gram)) @ x
    return x


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum for two-dimensional parameters."""

    def __init__(self, params: Iterable[Tensor], lr: float = 2e-3, momentum: float = 0.95) -> None:
        super().__init__(list(params), {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Update all parameters that have a gradient."""
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[tuple[Tensor, Tensor, bool]]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                update = parameter.grad.lerp(state["momentum"], group["momentum"])
                tall = update.shape[0] > update.shape[1]
                update = update.T if tall else update
                by_shape[(update.shape[0], update.shape[1])].append((parameter, update, tall))
            for shape, members in by_shape.items():
                updates = orthogonalise(torch.stack([update for _, update, _ in members]))
                size = group["lr"] * _UPDATE_RMS * max(shape) ** 0.5
                for (parameter, _, tall), update in zip(members, updates, strict=True):
                    parameter.add_(update.T if tall else update, alpha=-size)
