"""Adapters that a network writes: linear layers from a code to every part of a bottleneck."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from multiprompt.methods.adapters import WEIGHT_SPREAD, AdapterWeights


def linear(inputs: int, outputs: int, spread: float, generator: torch.Generator) -> nn.Linear:
    """A linear layer with weights from N(0, spread²), drawn by ``generator``, and a bias of zero."""
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
    nn.init.normal_(layer.weight, std=spread, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer


class AdapterWriter(nn.Module):
    """Writes adapters. Its first weights are small, so the first adapters do little.

    Args:
        code: E, width of the codes.
        width: D of the model.
        inner: R of the adapters.
        generator: draws the first weights.
    """

    def __init__(self, code: int, width: int, inner: int, generator: torch.Generator) -> None:
        super().__init__()
        self.width, self.inner = width, inner
        self.down = linear(code, width * inner, WEIGHT_SPREAD, generator)
        self.down_bias = linear(code, inner, WEIGHT_SPREAD, generator)
        self.up = linear(code, inner * width, WEIGHT_SPREAD, generator)
        self.up_bias = linear(code, width, WEIGHT_SPREAD, generator)

    def forward(self, codes: Float[Tensor, "B E"]) -> AdapterWeights:
        """An adapter for every code, with an axis of codes in front."""
        return AdapterWeights(
            self.down(codes).view(-1, self.width, self.inner),
            self.down_bias(codes),
            self.up(codes).view(-1, self.inner, self.width),
            self.up_bias(codes),
        )
