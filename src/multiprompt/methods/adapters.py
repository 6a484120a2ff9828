"""Adapters: small bottleneck layers inside every block (Houlsby et al., ICML 2019, arXiv:1902.00751)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from multiprompt.backbone.base import Backbone, Sublayer
from multiprompt.batch import Tasks
from multiprompt.methods.inserted import Inserted, attach_norms, change_output, own_norms

WEIGHT_SPREAD = 0.01
"""Standard deviation of an adapter's first weights: it begins next to the identity."""


class AdapterWeights(NamedTuple):
    """Weights of a bottleneck; a leading axis, if there is one, goes over the rows of the batch.

    Shapes: ``[..., D, R]``, ``[..., R]``, ``[..., R, D]``, ``[..., D]``.
    """

    down: Tensor
    down_bias: Tensor
    up: Tensor
    up_bias: Tensor


gelu = partial(F.gelu, approximate="tanh")


def bottleneck(states: Tensor, weights: AdapterWeights, activation: Callable[[Tensor], Tensor] = gelu) -> Tensor:
    """What an adapter adds to the states ``[B, S, D]``: ``activation(states @ down + bias) @ up + bias``."""
    down, down_bias, up, up_bias = (weight.to(states.dtype) for weight in weights)
    return activation(states @ down + down_bias.unsqueeze(-2)) @ up + up_bias.unsqueeze(-2)


class Adapter(nn.Module):
    """The adapters of one site, one for each task, each with tensors of its own.

    Args:
        width: of the model.
        inner: of the bottleneck.
        num_tasks: tasks of the group.
        generator: draws the first weights.
    """

    def __init__(self, width: int, inner: int, num_tasks: int, generator: torch.Generator) -> None:
        super().__init__()

        def drawn(*shape: int) -> nn.ParameterList:
            starts = (torch.randn(*shape, generator=generator) * WEIGHT_SPREAD for _ in range(num_tasks))
            return nn.ParameterList(starts)

        def zeros(*shape: int) -> nn.ParameterList:
            return nn.ParameterList(torch.zeros(*shape) for _ in range(num_tasks))

        self.down, self.down_bias = drawn(width, inner), zeros(inner)
        self.up, self.up_bias = drawn(inner, width), zeros(width)

    def weights(self, tasks: Tasks) -> AdapterWeights:
        """Those of every row; without a leading axis if all rows are of one task."""
        if len(tasks.present) == 1:
            return self.of_task(tasks.present[0])
        lists = (self.down, self.down_bias, self.up, self.up_bias)
        stacked = (torch.stack([each[task] for task in tasks.present]) for each in lists)
        return AdapterWeights(*(each.index_select(0, tasks.index) for each in stacked))

    def of_task(self, task: int) -> AdapterWeights:
        """Those of one task, without a leading axis."""
        return AdapterWeights(self.down[task], self.down_bias[task], self.up[task], self.up_bias[task])


class Adapters(Inserted):
    """Adapters after the sublayers of every block, and the model's layer norms, which are trained too.

    The layer norms are shared by the tasks of a group; every task has adapters of its own.

    Args:
        backbone: gives sites and widths, and the first weights of the norms.
        inner: width of the bottleneck (in the study the model's width over 32).
        num_tasks: tasks of the group.
        places: sublayers that get an adapter; both in the form of Houlsby et al.
        generator: draws the first weights.
    """

    def __init__(
        self, backbone: Backbone, inner: int, num_tasks: int, places: tuple[Sublayer, ...], generator: torch.Generator
    ) -> None:
        super().__init__()
        self.places = places
        sites = backbone.sites(places)
        self.layers = nn.ModuleList(Adapter(backbone.width, inner, num_tasks, generator) for _ in sites)
        self.norms = own_norms(backbone)

    def attach(self, backbone: Backbone, stack: ExitStack) -> None:
        attach_norms(self.norms, backbone, stack)
        for site, layer in zip(backbone.sites(self.places), self.layers, strict=True):
            change_output(stack, site.module, partial(self._through, layer))

    def task_of(self, name: str) -> int | None:
        return int(name.rpartition(".")[2]) if name.startswith("layers.") else None

    def _through(self, layer: Any, states: Tensor) -> Tensor:
        return states + bottleneck(states, layer.weights(self.tasks_for(states)))
