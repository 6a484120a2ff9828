"""HyperFormer++: adapters that a small network generates for every task, layer and place.

Mahabadi, Ruder, Dehghani, Henderson, *Parameter-efficient Multi-task Fine-tuning for Transformers via Shared
Hypernetworks*, ACL 2021, arXiv:2106.04489. One generator serves all blocks of the encoder and one those of the decoder;
what tells the blocks apart is an embedding. The generated adapters have a generated layer norm behind their bottleneck.
The model's own layer norms stay frozen: the published count of parameters has no room for them.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from multiprompt.methods.adapters import AdapterWeights, bottleneck
from multiprompt.methods.inserted import Inserted, Place, Site, add_hook, sites

PLACES: tuple[Place, ...] = ("self_attention", "feed_forward")
HEAD_SPREAD = 0.01
"""Standard deviation of the first weights of the layers that write adapters."""


class GeneratedAdapter(NamedTuple):
    """An adapter, and scale and shift of the norm behind it; ``[D]`` each, or with an axis of rows in front."""

    weights: AdapterWeights
    scale: Tensor
    shift: Tensor


def adapter_sizes(width: int, inner: int) -> dict[str, int]:
    """Numbers in every part of an adapter."""
    return {"down": width * inner, "down_bias": inner, "up": inner * width, "up_bias": width}


def written_adapter(heads: nn.ModuleDict, code: Tensor, width: int, inner: int) -> AdapterWeights:
    """The adapters that linear layers, one for each part, write from codes ``[B, E]``."""
    return AdapterWeights(
        heads["down"](code).view(-1, width, inner),
        heads["down_bias"](code),
        heads["up"](code).view(-1, inner, width),
        heads["up_bias"](code),
    )


class Generator(nn.Module):
    """From the embeddings of a task, a block and a place to an adapter.

    Args:
        width: D of the model.
        inner: R of the adapters.
        embedding: E, of each of the three embeddings and of their projection.
        hidden: inner width of the projection.
        blocks: of the stack.
    """

    def __init__(self, width: int, inner: int, embedding: int, hidden: int, blocks: int) -> None:
        super().__init__()
        self.width, self.inner = width, inner
        self.block = nn.Embedding(blocks, embedding)
        self.place = nn.Embedding(len(PLACES), embedding)
        self.project = nn.Sequential(nn.Linear(3 * embedding, hidden), nn.ReLU(), nn.Linear(hidden, embedding))
        self.norm = nn.LayerNorm(embedding)
        sizes = adapter_sizes(width, inner) | {"scale": width, "shift": width}
        self.heads = nn.ModuleDict({name: nn.Linear(embedding, size) for name, size in sizes.items()})

    def forward(self, task: Tensor, block: int, place: int) -> GeneratedAdapter:
        """The adapters of some tasks.

        Args:
            task: embeddings, ``[K, E]``.
            block: position in the stack.
            place: position in ``PLACES``.
        """
        others = (layer.weight[i].expand(len(task), -1) for layer, i in ((self.block, block), (self.place, place)))
        code = self.norm(self.project(torch.cat([task, *others], dim=1)))
        weights = written_adapter(self.heads, code, self.width, self.inner)
        return GeneratedAdapter(weights, self.heads["scale"](code), self.heads["shift"](code))


class HyperFormer(Inserted):
    """The generators, and the embeddings of the tasks.

    Args:
        model: gives widths and blocks.
        inner: of the generated adapters.
        embedding: see ``Generator``.
        hidden: see ``Generator``.
        num_tasks: tasks of the group.
        generator: draws the first values.
    """

    def __init__(
        self, model: Any, inner: int, embedding: int, hidden: int, num_tasks: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        width = model.config.d_model
        self.tasks = nn.ParameterList(torch.randn(embedding, generator=generator) for _ in range(num_tasks))
        self.generators = nn.ModuleDict(
            {
                name: Generator(width, inner, embedding, hidden, len(getattr(model, name).block))
                for name in ("encoder", "decoder")
            }
        )
        draw_first_values(self.generators, generator)

    def attach(self, model: Any, stack: ExitStack) -> None:
        for site in sites(model, *PLACES):
            add_hook(stack, site.module, partial(self._through, site))

    def adapters(self, site: Site, tasks: list[int]) -> GeneratedAdapter:
        """Those of some tasks at a site, with an axis of tasks in front."""
        embeddings = torch.stack([self.tasks[task] for task in tasks])
        made: GeneratedAdapter = self.generators[site.stack](embeddings, site.block, PLACES.index(site.place))
        return made

    def _through(self, site: Site, states: Tensor) -> Tensor:
        present, index = torch.unique(self.ids_for(states), return_inverse=True)
        made = self.adapters(site, present.tolist())
        update = bottleneck(states, AdapterWeights(*(each[index] for each in made.weights)))
        normed = F.layer_norm(update, update.shape[-1:])
        return states + normed * made.scale[index].unsqueeze(1) + made.shift[index].unsqueeze(1)


def draw_first_values(module: nn.Module, generator: torch.Generator) -> None:
    """First values from a generator of their own, so that they depend on the seed alone.

    The layers that write adapters (``heads``) begin near zero, so the first adapters do little.
    """
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.dim() < 2:
                continue  # biases begin at zero and norms at one, as torch makes them (see below)
            spread = HEAD_SPREAD if "heads" in name else parameter.shape[1] ** -0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
        for layer in module.modules():
            if isinstance(layer, nn.Linear) and layer.bias is not None:
                layer.bias.zero_()
