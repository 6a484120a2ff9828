"""HyperFormer++: adapters that a small network generates for every task, block and place.

Mahabadi, Ruder, Dehghani, Henderson, *Parameter-efficient Multi-task Fine-tuning for Transformers via Shared
Hypernetworks*, ACL 2021, arXiv:2106.04489. One generator serves all blocks of a stack (a T5 has two);
what tells the blocks apart is an embedding. The generated adapters have a generated layer norm behind their bottleneck.
The model's own layer norms are trained too, and shared by the tasks, as in the published code.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from multiprompt.backbone.base import Backbone, Site, Sublayer
from multiprompt.methods.adapters import WEIGHT_SPREAD, AdapterWeights, bottleneck
from multiprompt.methods.inserted import (
    Inserted,
    attach_norms,
    change_output,
    own_norms,
)
from multiprompt.methods.written import AdapterWriter, linear

PLACES: tuple[Sublayer, ...] = ("self_attention", "feed_forward")


class GeneratedAdapter(NamedTuple):
    """Adapters, and scale and shift (``[K, D]``) of the norm behind each; an axis of tasks in front."""

    weights: AdapterWeights
    scale: Tensor
    shift: Tensor


class Generator(nn.Module):
    """From the embeddings of a task, a block and a place to an adapter.

    Args:
        width: D of the model.
        inner: R of the adapters.
        embedding: E, of each of the three embeddings and of their projection.
        hidden: inner width of the projection.
        blocks: of the stack.
        generator: draws the first values: N(0, 1) for embeddings, N(0, 0.01²) for layers, as in the published code.
    """

    def __init__(
        self, width: int, inner: int, embedding: int, hidden: int, blocks: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.blocks = nn.Parameter(torch.randn(blocks, embedding, generator=generator))
        self.places = nn.Parameter(torch.randn(len(PLACES), embedding, generator=generator))
        self.project_in = linear(3 * embedding, hidden, WEIGHT_SPREAD, generator)
        self.project_out = linear(hidden, embedding, WEIGHT_SPREAD, generator)
        self.norm = nn.LayerNorm(embedding, eps=1e-6)
        self.writer = AdapterWriter(embedding, width, inner, generator)
        self.scale = linear(embedding, width, WEIGHT_SPREAD, generator)
        self.shift = linear(embedding, width, WEIGHT_SPREAD, generator)

    def forward(self, tasks: Float[Tensor, "K E"], block: int, place: int) -> GeneratedAdapter:
        """The adapters of some tasks.

        Args:
            tasks: their embeddings.
            block: position in the stack.
            place: position in ``PLACES``.
        """
        others = (embedding.expand(len(tasks), -1) for embedding in (self.blocks[block], self.places[place]))
        hidden = torch.relu(self.project_in(torch.cat([tasks, *others], dim=1)))
        codes = self.norm(self.project_out(hidden))
        return GeneratedAdapter(self.writer(codes), self.scale(codes), self.shift(codes))


class HyperFormer(Inserted):
    """The generators, the embeddings of the tasks, and the model's layer norms.

    Args:
        backbone: gives sites, widths and stacks, and the first weights of the norms.
        inner: of the generated adapters.
        embedding: see ``Generator``.
        hidden: see ``Generator``.
        num_tasks: tasks of the group.
        generator: draws the first values.
    """

    def __init__(
        self, backbone: Backbone, inner: int, embedding: int, hidden: int, num_tasks: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        sizes, stacks = (backbone.width, inner, embedding, hidden), backbone.shape.stacks
        self.tasks = nn.ParameterList(torch.randn(embedding, generator=generator) for _ in range(num_tasks))
        self.generators = nn.ModuleDict({stack.name: Generator(*sizes, stack.blocks, generator) for stack in stacks})
        self.norms = own_norms(backbone)

    def attach(self, backbone: Backbone, stack: ExitStack) -> None:
        attach_norms(self.norms, backbone, stack)
        for site in backbone.sites(PLACES):
            change_output(stack, site.module, partial(self._through, site))

    def task_of(self, name: str) -> int | None:
        return int(name.rpartition(".")[2]) if name.startswith("tasks.") else None

    def adapters(self, site: Site, tasks: list[int]) -> GeneratedAdapter:
        """Those of some tasks at a site, with an axis of tasks in front."""
        embeddings = torch.stack([self.tasks[task] for task in tasks])
        made: GeneratedAdapter = self.generators[site.stack](embeddings, site.block, PLACES.index(site.place))
        return made

    def _through(self, site: Site, states: Tensor) -> Tensor:
        tasks = self.tasks_for(states)
        made = self.adapters(site, list(tasks.present))
        *weights, scale, shift = (each.index_select(0, tasks.index) for each in (*made.weights, made.scale, made.shift))
        update = bottleneck(states, AdapterWeights(*weights))
        normed = F.layer_norm(update.float(), update.shape[-1:])
        scaled = normed * scale.unsqueeze(1) + shift.unsqueeze(1)
        return states + scaled.to(states.dtype)
