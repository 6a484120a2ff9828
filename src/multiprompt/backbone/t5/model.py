"""A frozen T5 with a soft prompt in front of its encoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from multiprompt.backbone.costs import pass_costs
from multiprompt.backbone.dropout import Part, PartedDropout
from multiprompt.backbone.fingerprint import model_digest, weights_digest
from multiprompt.backbone.shape import Shape, StackShape
from multiprompt.backbone.t5.fast import accelerate, is_accelerated, is_fast, restore
from multiprompt.backbone.t5.passes import HiddenStates, Real, encode, encode_and_decode
from multiprompt.batch import IGNORED, Batch, counted_positions
from multiprompt.files import tensors_digest

PACKING_WIDTH = 256
"""Narrower models do not pack: going through the examples one by one costs them more than padding does."""


@dataclass(frozen=True)
class Inputs:
    """Examples of one run, as they enter the model.

    Attributes:
        batch: on the device of the model.
        prompts: the prompt of every example, or None for the bare model.
        shift: added to the embeddings of the first N source tokens.
        random_state: where the random numbers of dropout go on, and moved on by it; None for torch's own state, which
            only inputs that are alone may use.
    """

    batch: Batch
    prompts: Float[Tensor, "B P D"] | None = None
    shift: Float[Tensor, "N D"] | None = None
    random_state: Tensor | None = None


@dataclass(frozen=True)
class BackboneOutput:
    """What one forward pass gives.

    Attributes:
        logits: scores of the target positions that count, example after example; fp32.
        labels: the token at each of these positions.
        example_ids: the example that each position belongs to.
        encoder_states: the last encoder state (after the final layer norm) or the state after every block,
            depending on what was asked for; ``P + S`` positions.
        decoder_states: the same of the decoder.
        encoder_mask: prompt rows and source tokens that are not padding.
    """

    logits: Float[Tensor, "N V"]
    labels: Int[Tensor, " N"]
    example_ids: Int[Tensor, " N"]
    encoder_states: tuple[Tensor, ...]
    decoder_states: tuple[Tensor, ...]
    encoder_mask: Int[Tensor, "B PS"]


class T5Backbone:
    """A T5-family model whose weights no prompt method moves, and its tokenizer.

    The prompt is concatenated before the token embeddings of the encoder only; the decoder has none. The attention
    mask is extended by ones for the prompt rows, and the same mask reaches the decoder's cross-attention, in training
    and in generation (section 3 of the paper).

    Args:
        model: a ``T5ForConditionalGeneration``; put in evaluation mode, every weight frozen, and on a CPU given
            faster passes (see ``multiprompt.backbone.t5.fast``).
        tokenizer: its tokenizer.
        name: what the user called it.
        files: of the checkpoint that the weights come from; none for a model that was made in memory.

    Attributes:
        family: name of the family of models that it belongs to.
        packs: whether real tokens run through the model as one row, without padding, where that is possible.
        costs: what one more pass in training costs, and how much one may hold.
    """

    family = "t5"

    def __init__(self, model: Any, tokenizer: Any, name: str, files: Sequence[Path] = ()) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.files = tuple(files)
        self._weights_digest: str | None = None
        model.requires_grad_(False)
        model.eval()
        self.packs = self.width >= PACKING_WIDTH
        self.costs = pass_costs(model, self.device)
        if self.device.type == "cpu":
            accelerate(model)

    def __repr__(self) -> str:
        precision = str(self.embedding.dtype).removeprefix("torch.")
        count = f"{self.parameter_count():,} parameters, width {self.width}"
        return f"T5Backbone({self.name!r}, {count}, {precision} on {self.device})"

    @property
    def pads(self) -> bool:
        """Whether a batch runs through the model with its padding, so that examples of like length belong together."""
        return not (self.packs and is_fast(self.model))

    @property
    def shape(self) -> Shape:
        """Its sizes."""
        config = self.model.config
        return Shape(
            width=config.d_model,
            heads=config.num_heads * config.d_kv,
            inner=config.d_ff,
            gates=2 if config.is_gated_act else 1,
            stacks=(
                StackShape("encoder", config.num_layers, attentions=1, norms=2),
                StackShape("decoder", config.num_decoder_layers, attentions=2, norms=3),
            ),
            last_norms=2,
            positions=config.relative_attention_num_buckets * config.num_heads,
            words=config.vocab_size,
            tied=config.scale_decoder_outputs,  # of v1.0, as the tie is
        )

    @property
    def width(self) -> int:
        """Model width D."""
        return int(self.model.config.d_model)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embedding.device

    @property
    def embedding(self) -> Float[Tensor, "V D"]:
        """The loaded input embedding."""
        weight: Tensor = self.model.get_input_embeddings().weight
        return weight

    @contextmanager
    def dropout(self, active: bool) -> Iterator[None]:
        """Switch the dropout of the frozen model on or off inside the ``with`` block."""
        before = self.model.training
        if before != active:
            _set_training(self.model, active)
        try:
            yield
        finally:
            if before != active:
                _set_training(self.model, before)

    @contextmanager
    def ordinary_passes(self) -> Iterator[None]:
        """Inside the ``with`` block the model runs transformers' own code, which hooks and replaced layers need."""
        packs, accelerated = self.packs, is_accelerated(self.model)
        self.packs = False
        restore(self.model)
        try:
            yield
        finally:
            self.packs = packs
            if accelerated:
                accelerate(self.model)

    def _encoder_inputs(
        self,
        input_ids: Int[Tensor, "B S"],
        attention_mask: Int[Tensor, "B S"],
        prompts: Tensor | None,
        shift: Tensor | None = None,
    ) -> tuple[Float[Tensor, "B PS D"], Int[Tensor, "B PS"]]:
        embedded = self.model.get_input_embeddings()(input_ids)
        if shift is not None:
            missing = max(0, embedded.shape[1] - len(shift))
            embedded = embedded + F.pad(shift[: embedded.shape[1]], (0, 0, 0, missing)).to(embedded.dtype)
        if prompts is None:
            return embedded, attention_mask
        ones = attention_mask.new_ones(prompts.shape[:2])
        return torch.cat([prompts.to(embedded.dtype), embedded], 1), torch.cat([ones, attention_mask], 1)

    def forward(
        self,
        batch: Batch,
        prompts: Float[Tensor, "B P D"] | None,
        hidden: HiddenStates = "none",
        shift: Float[Tensor, "N D"] | None = None,
    ) -> BackboneOutput:
        """Teacher-forced pass over a batch.

        Args:
            batch: on the device of the model.
            prompts: the prompt of every example, or None for the bare model.
            hidden: which hidden states to keep: none, the last of encoder and decoder, or those after every block.
            shift: added to the embeddings of the first N source tokens.
        """
        return self.forward_together([Inputs(batch, prompts, shift)], hidden)

    def forward_together(self, inputs: Sequence[Inputs], hidden: HiddenStates = "none") -> BackboneOutput:
        """One pass over the examples of several runs, whose prompts may differ in length.

        Every example comes out as it would in a pass of its own run, up to the rounding of float32, also with dropout.

        Args:
            inputs: of every run; the output holds their examples in this order.
            hidden: which hidden states to keep.
        """
        labels = _stacked([i.batch.labels for i in inputs], IGNORED)
        drops = len(inputs) > 1 and self.model.training and self.model.config.dropout_rate > 0
        # One more column where both stacks would be equally wide, which PartedDropout could not tell apart.
        width = max(map(_width, inputs))
        wider = int(drops and labels.shape[1] == width)
        embedded, mask = self._together(inputs, wider)
        dropping = self._parted_dropout(inputs, (width + wider, labels.shape[1])) if drops else None
        sources, targets = _real_sources(inputs, width + wider), _real_targets(inputs, labels.shape[1])
        example_ids, positions = counted_positions(targets, self.device)
        with dropping or nullcontext():
            shifted, real = self.model._shift_right(labels), Real(sources, targets, positions)
            passed = encode_and_decode(self.model, embedded, mask, shifted, real, hidden, self.packs)
        # The output layer is the widest of the model: it is computed only where a target token is waiting.
        logits = self.model.lm_head(self._scaled(passed.last))
        states = passed.encoder_states, passed.decoder_states
        return BackboneOutput(logits.float(), labels.flatten().index_select(0, positions), example_ids, *states, mask)

    def _together(self, inputs: Sequence[Inputs], wider: int) -> tuple[Float[Tensor, "B PS D"], Int[Tensor, "B PS"]]:
        """The encoder's inputs of several runs one after the other, with so many columns more than they need."""
        prompts = [each.prompts for each in inputs if each.prompts is not None and each.shift is None]
        if len(prompts) == len(inputs) and len({prompt.shape[1] for prompt in prompts}) == 1:
            # Once for all of them: what is done for every run is a good part of the work of a few short examples.
            ids = _stacked([each.batch.input_ids for each in inputs], 0, wider)
            mask = _stacked([each.batch.attention_mask for each in inputs], 0, wider)
            return self._encoder_inputs(ids, mask, torch.cat(prompts))
        pairs = [self._encoder_inputs(i.batch.input_ids, i.batch.attention_mask, i.prompts, i.shift) for i in inputs]
        embedded, mask = (_stacked(each, 0, wider) for each in zip(*pairs, strict=True))
        return embedded, mask

    def _parted_dropout(self, inputs: Sequence[Inputs], widths: tuple[int, int]) -> PartedDropout:
        parts, start = [], 0
        for each in inputs:
            if each.random_state is None:
                raise ValueError("runs that drop out together need a random_state each")
            rows, known = slice(start, start + len(each.batch)), each.batch.known
            prompted = len(each.batch) * (_width(each) - each.batch.input_ids.shape[1])
            tokens = prompted + int(known.sources.sum()), int(known.targets.sum())
            parts.append(Part(rows, (_width(each), known.targets.shape[1]), tokens, each.random_state))
            start = rows.stop
        return PartedDropout(parts, widths, self.device)

    def _scaled(self, decoder_states: Tensor) -> Tensor:
        # T5 v1.0 shares its embedding with the output layer and scales the decoder's output; v1.1 does neither.
        config = self.model.config
        return decoder_states * config.d_model**-0.5 if config.scale_decoder_outputs else decoder_states

    @torch.no_grad()
    def generate(
        self,
        input_ids: Int[Tensor, "B S"],
        attention_mask: Int[Tensor, "B S"],
        prompts: Float[Tensor, "B P D"] | None,
        max_new_tokens: int,
        beams: int = 1,
        shift: Float[Tensor, "N D"] | None = None,
        **options: Any,
    ) -> Any:
        """Greedy decoding, or beam search with length penalty 1; returns what transformers' ``generate`` returns.

        Args:
            input_ids: padded source tokens.
            attention_mask: 1 for a token, 0 for padding.
            prompts: the prompt of every example, or None.
            max_new_tokens: longest output, end-of-sequence included.
            beams: width of the beam search; 1 is greedy decoding.
            shift: added to the embeddings of the first N source tokens.
            options: passed on to ``generate`` (``output_scores``, ...).
        """
        from transformers.modeling_outputs import BaseModelOutput

        with self.dropout(False):
            embedded, mask = self._encoder_inputs(input_ids, attention_mask, prompts, shift)
            states = encode(self.model, embedded, mask, self.packs)
            settings: dict[str, Any] = {"do_sample": False, "num_beams": beams, "max_new_tokens": max_new_tokens}
            if beams > 1:
                settings |= {"length_penalty": 1.0, "early_stopping": False}
            return self.model.generate(
                encoder_outputs=BaseModelOutput(last_hidden_state=states),
                attention_mask=mask,
                **(settings | options),
            )

    def fingerprint(self) -> str:
        """A digest of all weights and of the tokenizer: tells one model from another.

        Weights count as their checkpoint stores them, so the precision that they are loaded in changes nothing. Those
        of a model that was made in memory count as saving it would store them.
        """
        if self.files and self._weights_digest is None:
            self._weights_digest = weights_digest(self.files)
        weights = self._weights_digest or tensors_digest(dict(self.model.named_parameters()))
        return model_digest(weights, self.tokenizer)

    def facts(self) -> dict[str, str | int | float]:
        """What a record of a run should say about the model."""
        rows = self.embedding[: len(self.tokenizer)].float()
        return {
            "name": self.name,
            "parameters": self.parameter_count(),
            "width": self.width,
            "precision": str(self.embedding.dtype).removeprefix("torch."),
            "device": str(self.device),
            "attention": str(self.model.config._attn_implementation),
            "embedding_std": round(float(rows.std()), 4),
        }

    def parameter_count(self) -> int:
        """Number of weights of the frozen model, tied ones counted once."""
        return sum(parameter.numel() for parameter in self.model.parameters())


def _set_training(model: Any, active: bool) -> None:
    """``model.train(active)``, which takes ten times as long: it looks for parameters in every value that is set."""
    for module in model.modules():
        object.__setattr__(module, "training", active)


def _width(inputs: Inputs) -> int:
    """Positions of the encoder's input, prompt included."""
    return inputs.batch.input_ids.shape[1] + (0 if inputs.prompts is None else inputs.prompts.shape[1])


def _real_sources(inputs: Sequence[Inputs], width: int) -> Bool[np.ndarray, "B PS"]:
    """Prompt rows and source tokens of several runs that are not padding."""
    real = np.zeros((sum(len(each.batch) for each in inputs), width), dtype=bool)
    start = 0
    for each in inputs:
        known, prompted = each.batch.known.sources, _width(each) - each.batch.input_ids.shape[1]
        rows = slice(start, start + len(known))
        real[rows, :prompted] = True
        real[rows, prompted : prompted + known.shape[1]] = known
        start = rows.stop
    return real


def _real_targets(inputs: Sequence[Inputs], width: int) -> Bool[np.ndarray, "B T"]:
    """Target positions of several runs that count."""
    known = [each.batch.known.targets for each in inputs]
    return np.concatenate([np.pad(each, ((0, 0), (0, width - each.shape[1]))) for each in known])


def _stacked(tensors: Sequence[Tensor], fill: int, wider: int = 0) -> Tensor:
    """Batches of different widths one after the other, padded at the end of dimension 1."""
    width = max(tensor.shape[1] for tensor in tensors) + wider
    if len(tensors) == 1 and not wider:
        return tensors[0]
    deeper = (0, 0) * (tensors[0].dim() - 2)
    return torch.cat([F.pad(tensor, (*deeper, 0, width - tensor.shape[1]), value=fill) for tensor in tensors])


Backbone = T5Backbone
