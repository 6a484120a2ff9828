"""A frozen T5 with a soft prompt in front of its encoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from multiprompt.backbone.base import Backbone, BackboneOutput, HiddenStates, Inputs, Site, States, Sublayer
from multiprompt.backbone.costs import LONGEST
from multiprompt.backbone.dropout import Part
from multiprompt.backbone.shape import Shape
from multiprompt.backbone.t5.fast import accelerate, is_accelerated, is_fast, restore
from multiprompt.backbone.t5.passes import Real, encode, encode_and_decode
from multiprompt.backbone.t5.sizes import t5_operations, t5_shape
from multiprompt.batch import IGNORED, Batch, counted_positions

PACKING_WIDTH = 256
"""Narrower models do not pack: going through the examples one by one costs them more than padding does."""


FREQUENT = 5000
"""The first 5,000 ids are the most frequent pieces of the vocabulary (Lester et al., 2021)."""


class T5Backbone(Backbone):
    """A T5-family model.

    The prompt is concatenated before the token embeddings of the encoder only; the decoder has none. The attention
    mask is extended by ones for the prompt rows, and the same mask reaches the decoder's cross-attention, in training
    and in generation (section 3 of the paper).

    Args:
        model: a ``T5ForConditionalGeneration``; on a CPU it is given faster passes (``multiprompt.backbone.t5.fast``).
        tokenizer: its tokenizer.
        name: what the user called it.
        files: of the checkpoint that the weights come from; none for a model that was made in memory.

    Attributes:
        packs: whether real tokens run through the model as one row, without padding, where that is possible.
    """

    family = "t5"

    def __init__(self, model: Any, tokenizer: Any, name: str, files: Sequence[Path] = ()) -> None:
        super().__init__(model, tokenizer, name, files)
        self.packs = self.width >= PACKING_WIDTH
        if self.device.type == "cpu":
            accelerate(model)

    @cached_property
    def shape(self) -> Shape:
        config = self.model.config
        return t5_shape(config.to_dict(), tied=config.scale_decoder_outputs)  # of v1.0, as the tie is

    def operations(self, source: int, target: int) -> float:
        return t5_operations(self.shape, source, target)

    @property
    def width(self) -> int:
        return int(self.model.config.d_model)  # a good deal faster than the whole shape

    @property
    def frequent(self) -> Float[Tensor, "F D"]:
        return super().frequent[:FREQUENT]

    @property
    def token_bytes(self) -> int:
        config = self.model.config
        rows = 14 * config.d_model + 4 * config.num_heads * config.d_kv + 4 * config.d_ff
        scores = 3 * config.num_heads * LONGEST
        return int(config.num_layers * (rows + scores) * self.model.dtype.itemsize)

    @property
    def pads(self) -> bool:
        return not (self.packs and is_fast(self.model))

    def tokens_of_pass(self, batch: Batch, prompt_length: int) -> int:
        if self.pads:
            return len(batch) * (prompt_length + batch.input_ids.shape[1] + batch.labels.shape[1])
        return len(batch) * prompt_length + int(batch.source_lengths.sum() + batch.target_lengths.sum())

    def forward_together(self, inputs: Sequence[Inputs], hidden: HiddenStates = "none") -> BackboneOutput:
        labels = _stacked([i.batch.labels for i in inputs], IGNORED)
        embedded, mask = self._embedded(inputs)
        drops = len(inputs) > 1 and self.model.training and self.model.config.dropout_rate > 0
        parts = _parts(inputs) if drops else None
        sources, targets = _real_sources(inputs, embedded.shape[1]), _real_targets(inputs, labels.shape[1])
        example_ids, positions = counted_positions(targets, self.device)
        shifted, real = self.model._shift_right(labels), Real(sources, targets, positions)
        passed = encode_and_decode(self.model, embedded, mask, shifted, real, hidden, self.packs, parts)
        # The output layer is the widest of the model: it is computed only where a target token is waiting.
        logits = self.model.lm_head(self._scaled(passed.last))
        states = (
            {}
            if hidden == "none"
            else {
                "encoder": States(passed.encoder_states, mask.bool()),
                "decoder": States(passed.decoder_states, labels != IGNORED),
            }
        )
        return BackboneOutput(logits.float(), labels.flatten().index_select(0, positions), example_ids, states)

    def state_counts(self, batch: Batch, prompt_length: int) -> dict[str, Int[np.ndarray, " B"]]:
        return {"encoder": batch.source_lengths + prompt_length, "decoder": batch.target_lengths}

    @torch.no_grad()
    def generate(self, inputs: Sequence[Inputs], max_new_tokens: int, beams: int = 1, **options: Any) -> Any:
        """As every backbone.

        Args:
            inputs: examples of any tasks.
            max_new_tokens: longest answer.
            beams: width of the beam search.
            options: passed on to transformers' ``generate`` (``output_scores``, ...), whose output is returned.
        """
        from transformers.modeling_outputs import BaseModelOutput

        with self.dropout(False):
            embedded, mask = self._embedded(inputs)
            states = encode(self.model, embedded, mask, self.packs)
            settings: dict[str, Any] = {"do_sample": False, "num_beams": beams, "max_new_tokens": max_new_tokens}
            if beams > 1:
                settings |= {"length_penalty": 1.0, "early_stopping": False}
            return self.model.generate(
                encoder_outputs=BaseModelOutput(last_hidden_state=states),
                attention_mask=mask,
                **(settings | options),
            )

    @torch.no_grad()
    def rank(self, inputs: Sequence[Inputs], answers: Sequence[Sequence[int]]) -> Float[Tensor, "B C"]:
        with self.dropout(False):
            embedded, mask = self._embedded(inputs)
            states = encode(self.model, embedded, mask, self.packs)
            return torch.stack([self._log_probability(states, mask, answer) for answer in answers], 1)

    def _log_probability(self, states: Tensor, mask: Tensor, answer: Sequence[int]) -> Float[Tensor, " B"]:
        """Of one answer after every encoded source."""
        labels = torch.tensor([answer], device=self.device).expand(len(states), -1)
        last = self.model.decoder(
            input_ids=self.model._shift_right(labels),
            encoder_hidden_states=states,
            encoder_attention_mask=mask,
            use_cache=False,
        ).last_hidden_state
        scores = torch.log_softmax(self.model.lm_head(self._scaled(last)).float(), -1)
        return scores.gather(2, labels.unsqueeze(-1)).sum((1, 2))

    def _scaled(self, decoder_states: Tensor) -> Tensor:
        # T5 v1.0 shares its embedding with the output layer and scales the decoder's output; v1.1 does neither.
        config = self.model.config
        return decoder_states * config.d_model**-0.5 if config.scale_decoder_outputs else decoder_states

    def _embedded(self, inputs: Sequence[Inputs]) -> tuple[Float[Tensor, "B PS D"], Int[Tensor, "B PS"]]:
        """What the encoder reads, and its mask: the inputs of several trainings one after the other."""
        prompts = [each.prompts for each in inputs if each.prompts is not None and each.shift is None]
        if len(prompts) == len(inputs) and len({prompt.shape[1] for prompt in prompts}) == 1:
            # Once for all of them: what is done for every one is a good part of the work of a few short examples.
            ids = _stacked([each.batch.input_ids for each in inputs], 0)
            mask = _stacked([each.batch.attention_mask for each in inputs], 0)
            return self._prompted(ids, mask, torch.cat(prompts) if len(prompts) > 1 else prompts[0])
        pairs = [self._prompted(i.batch.input_ids, i.batch.attention_mask, i.prompts, i.shift) for i in inputs]
        embedded, mask = (_stacked(each, 0) for each in zip(*pairs, strict=True))
        return embedded, mask

    def _prompted(
        self, ids: Int[Tensor, "B S"], mask: Int[Tensor, "B S"], prompts: Tensor | None, shift: Tensor | None = None
    ) -> tuple[Float[Tensor, "B PS D"], Int[Tensor, "B PS"]]:
        embedded = self.embed(ids)
        if shift is not None:
            missing = max(0, embedded.shape[1] - len(shift))
            embedded = embedded + F.pad(shift[: embedded.shape[1]], (0, 0, 0, missing)).to(embedded.dtype)
        if prompts is None:
            return embedded, mask
        ones = mask.new_ones(prompts.shape[:2])
        return torch.cat([prompts.to(embedded.dtype), embedded], 1), torch.cat([ones, mask], 1)

    @contextmanager
    def ordinary_passes(self) -> Iterator[None]:
        packs, accelerated = self.packs, is_accelerated(self.model)
        self.packs = False
        restore(self.model)
        try:
            yield
        finally:
            self.packs = packs
            if accelerated:
                accelerate(self.model)

    def sites(self, places: Iterable[Sublayer]) -> list[Site]:
        found, places = [], tuple(places)
        for name in ("encoder", "decoder"):
            for number, block in enumerate(getattr(self.model, name).block):
                modules = {
                    "self_attention": block.layer[0].SelfAttention,
                    "feed_forward": block.layer[-1].DenseReluDense,
                }
                found += [Site(name, number, place, modules[place]) for place in places]
        return found

    def norms(self) -> list[nn.Module]:
        # By name: where apex is installed transformers takes its class.
        return [module for name, module in self.model.named_modules() if name.endswith("layer_norm")]

    def outputs(self) -> dict[str, tuple[nn.Module, int]]:
        found: dict[str, tuple[nn.Module, int]] = {}
        for name, module in self.model.named_modules():
            if isinstance(module, nn.Linear):
                found[name] = (module, module.out_features)
            elif name.endswith(".layer_norm"):  # those at the end of a stack are called final_layer_norm
                found[name] = (module, self.width)
        return found


def _width(inputs: Inputs) -> int:
    """Positions of the encoder's input, prompt included."""
    return inputs.batch.input_ids.shape[1] + inputs.prompt_length


def _parts(inputs: Sequence[Inputs]) -> list[Part]:
    parts, start = [], 0
    for each in inputs:
        if each.random_state is None:
            raise ValueError("trainings that drop out together need a random_state each")
        rows, known = slice(start, start + len(each.batch)), each.batch.known
        tokens = len(each.batch) * each.prompt_length + int(known.sources.sum()), int(known.targets.sum())
        parts.append(Part(rows, (_width(each), known.targets.shape[1]), tokens, each.random_state))
        start = rows.stop
    return parts


def _real_sources(inputs: Sequence[Inputs], width: int) -> Bool[np.ndarray, "B PS"]:
    """Prompt rows and source tokens of several trainings that are not padding."""
    real = np.zeros((sum(len(each.batch) for each in inputs), width), dtype=bool)
    start = 0
    for each in inputs:
        known, prompted = each.batch.known.sources, each.prompt_length
        rows = slice(start, start + len(known))
        real[rows, :prompted] = True
        real[rows, prompted : prompted + known.shape[1]] = known
        start = rows.stop
    return real


def _real_targets(inputs: Sequence[Inputs], width: int) -> Bool[np.ndarray, "B T"]:
    """Target positions of several trainings that count."""
    known = [each.batch.known.targets for each in inputs]
    return np.concatenate([np.pad(each, ((0, 0), (0, width - each.shape[1]))) for each in known])


def _stacked(tensors: Sequence[Tensor], fill: int) -> Tensor:
    """Batches of different widths one after the other, padded at the end of dimension 1."""
    if len(tensors) == 1:
        return tensors[0]
    width = max(tensor.shape[1] for tensor in tensors)
    deeper = (0, 0) * (tensors[0].dim() - 2)
    return torch.cat([F.pad(tensor, (*deeper, 0, width - tensor.shape[1]), value=fill) for tensor in tensors])
