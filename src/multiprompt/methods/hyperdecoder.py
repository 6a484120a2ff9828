"""HyperDecoder: adapters in the decoder that a network writes for every example, from its encoded source.

Ivison and Peters, *Hyperdecoders: Instance-specific decoders for multi-task NLP*, Findings of EMNLP 2022,
arXiv:2203.08304. The encoder has ordinary adapters that all tasks share. The code of an example is the mean of its
encoder states, over the positions that count.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from multiprompt.methods.adapters import Adapter, AdapterWeights, bottleneck
from multiprompt.methods.hyperformer import adapter_sizes, draw_first_values, written_adapter
from multiprompt.methods.inserted import Inserted, Site, add_hook, sites


class HyperDecoder(Inserted):
    """Encoder adapters, and the generator of the decoder's; both after the feed-forward layer of every block.

    Args:
        model: gives widths and blocks.
        inner: R of all adapters.
        layer_embedding: width of the embedding of a decoder block.
        hidden: inner width of the generator.
        generator: draws the first values.
    """

    def __init__(self, model: Any, inner: int, layer_embedding: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        width = model.config.d_model
        self.width, self.inner = width, inner
        self.encoder = nn.ModuleList(Adapter(width, inner, 1, generator) for _ in model.encoder.block)
        self.blocks = nn.Embedding(len(model.decoder.block), layer_embedding)
        self.project = nn.Linear(width + layer_embedding, hidden)
        sizes = adapter_sizes(width, inner)
        self.heads = nn.ModuleDict({name: nn.Linear(hidden, size) for name, size in sizes.items()})
        draw_first_values(self, generator)
        self._codes: Tensor | None = None

    def attach(self, model: Any, stack: ExitStack) -> None:
        handle = model.encoder.register_forward_hook(self._encode, with_kwargs=True)
        stack.callback(handle.remove)
        for site in sites(model, "feed_forward"):
            through = self._through_encoder if site.stack == "encoder" else self._through_decoder
            add_hook(stack, site.module, partial(through, site))

    def _encode(self, _: nn.Module, __: Any, options: dict[str, Any], output: Any) -> None:
        """Keep the codes of the batch: the mean encoder state of every example."""
        states, mask = output.last_hidden_state, options.get("attention_mask")
        if mask is None:
            self._codes = states.mean(1)
        else:
            counted = mask.to(states.dtype).unsqueeze(-1)
            self._codes = (states * counted).sum(1) / counted.sum(1)

    def adapters(self, codes: Tensor, block: int) -> AdapterWeights:
        """The adapters of a decoder block for codes ``[B, D]``."""
        layer = self.blocks.weight[block].expand(len(codes), -1)
        return written_adapter(
            self.heads, torch.relu(self.project(torch.cat([codes, layer], dim=1))), self.width, self.inner
        )

    def _through_encoder(self, site: Site, states: Tensor) -> Tensor:
        layer: Adapter = self.encoder[site.block]  # type: ignore[assignment]
        return states + bottleneck(states, layer.weights(torch.zeros(1, dtype=torch.long)), F.relu)

    def _through_decoder(self, site: Site, states: Tensor) -> Tensor:
        assert self._codes is not None, "the encoder has run"
        codes = self._codes.repeat_interleave(len(states) // len(self._codes), dim=0)
        return states + bottleneck(states, self.adapters(codes, site.block), F.relu)
