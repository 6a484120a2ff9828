"""HyperDecoder: adapters in the decoder that a network writes for every example, from its encoded source.

Ivison and Peters, *Hyperdecoders: Instance-specific decoders for multi-task NLP*, Findings of EMNLP 2022,
arXiv:2203.08304. The encoder has ordinary adapters that all tasks share. The code of an example is the mean of its
encoder states, over the positions that count. Adapters stand beside the feed-forward layers, not behind them, and read
the same normalised states.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from multiprompt.backbone.base import Backbone
from multiprompt.methods.adapters import Adapter, AdapterWeights, bottleneck
from multiprompt.methods.inserted import Inserted, add_beside
from multiprompt.methods.written import AdapterWriter, linear


class HyperDecoder(Inserted):
    """Encoder adapters, and the network that writes the decoder's.

    Args:
        backbone: gives widths and blocks; of two stacks.
        inner: R of all adapters.
        layer_embedding: width of the embedding of a decoder block.
        hidden: inner width of the network.
        generator: draws the first values.
    """

    def __init__(
        self, backbone: Backbone, inner: int, layer_embedding: int, hidden: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        width, (encoder, decoder) = backbone.width, backbone.shape.stacks
        self.encoder = nn.ModuleList(Adapter(width, inner, 1, generator) for _ in range(encoder.blocks))
        self.blocks = nn.Parameter(torch.randn(decoder.blocks, layer_embedding, generator=generator))
        inputs = width + layer_embedding
        self.project = linear(inputs, hidden, inputs**-0.5, generator)
        self.writer = AdapterWriter(hidden, width, inner, generator)
        self._codes: Tensor | None = None

    def attach(self, backbone: Backbone, stack: ExitStack) -> None:
        handle = backbone.model.encoder.register_forward_hook(self._encode, with_kwargs=True)
        stack.callback(handle.remove)
        stack.callback(setattr, self, "_codes", None)
        for site in backbone.sites(["feed_forward"]):
            beside = self._beside_encoder if site.stack == "encoder" else self._beside_decoder
            add_beside(stack, site.module, partial(beside, site.block))

    def _encode(self, _: nn.Module, __: Any, options: dict[str, Any], output: Any) -> None:
        """Keep the codes of the batch: the mean encoder state of every example."""
        states, mask = output.last_hidden_state.float(), options.get("attention_mask")
        if mask is None:
            self._codes = states.mean(1)
        else:
            # 1 for a token; or, made ready for attention, 0 for a token and next to minus infinity for padding
            counted = (mask[:, 0, 0] == 0 if mask.dim() == 4 else mask).float().unsqueeze(-1)
            self._codes = (states * counted).sum(1) / counted.sum(1)

    def adapters(self, codes: Float[Tensor, "B D"], block: int) -> AdapterWeights:
        """The adapters of a decoder block for the codes of a batch."""
        layer = self.blocks[block].expand(len(codes), -1)
        written: AdapterWeights = self.writer(torch.relu(self.project(torch.cat([codes, layer], dim=1))))
        return written

    def _beside_encoder(self, block: int, states: Tensor) -> Tensor:
        layer: Adapter = self.encoder[block]  # type: ignore[assignment]
        return bottleneck(states, layer.of_task(0), F.relu)

    def _beside_decoder(self, block: int, states: Tensor) -> Tensor:
        assert self._codes is not None, "the encoder has run"
        codes = self._codes.repeat_interleave(len(states) // len(self._codes), dim=0)
        return bottleneck(states, self.adapters(codes, block), F.relu)
