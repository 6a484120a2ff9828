"""BitFit: a bias on every layer (Ben Zaken, Goldberg, Ravfogel, ACL 2022, arXiv:2106.10199).

T5 has no biases, so here they are added, starting from zero: to the queries, keys, values and outputs of attention, to
both (or all three) feed-forward layers, to every layer norm but the last of each stack, and to the output layer.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from multiprompt.methods.inserted import Inserted, change_output


def biased_layers(model: Any) -> dict[str, tuple[nn.Module, int]]:
    """The modules that get a bias, by name, each with the width of its output."""
    found: dict[str, tuple[nn.Module, int]] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            found[name] = (module, module.out_features)
        elif name.endswith(".layer_norm"):  # those at the end of a stack are called final_layer_norm
            found[name] = (module, model.config.d_model)
    return found


class Biases(Inserted):
    """A bias for every layer, for one task.

    Args:
        model: gives the layers.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.biases = nn.ParameterList(torch.zeros(width) for _, width in biased_layers(model).values())

    def attach(self, model: Any, stack: ExitStack) -> None:
        for (module, _), bias in zip(biased_layers(model).values(), self.biases, strict=True):
            change_output(stack, module, partial(_add, bias))


def _add(bias: nn.Parameter, output: Tensor) -> Tensor:
    return output + bias.to(output.dtype)
