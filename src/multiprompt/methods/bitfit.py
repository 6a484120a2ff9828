"""BitFit: a bias on every layer (Ben Zaken, Goldberg, Ravfogel, ACL 2022, arXiv:2106.10199).

The biases are added, starting from zero: to the queries, keys, values and outputs of attention, to both (or all three)
feed-forward layers, to every layer norm but the last of each stack, and to the output layer. Published models of the
study's kind have none of their own.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor, nn

from multiprompt.backbone.base import Backbone
from multiprompt.methods.inserted import Inserted, change_output


class Biases(Inserted):
    """A bias for every layer, for one task.

    Args:
        backbone: gives the layers.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.biases = nn.ParameterList(torch.zeros(width) for _, width in backbone.outputs().values())

    def attach(self, backbone: Backbone, stack: ExitStack) -> None:
        for (module, _), bias in zip(backbone.outputs().values(), self.biases, strict=True):
            change_output(stack, module, partial(_add, bias))


def _add(bias: nn.Parameter, output: Tensor) -> Tensor:
    return output + bias.to(output.dtype)
