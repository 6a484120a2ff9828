"""A second family of backbones, as different from T5 as can be: one stack, source and target in one sequence.

It is slow and simple. Every sequence is put together by itself, ``[prompt; source; target]`` without padding in
between, and its states are read where a target token is waited for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from multiprompt.backbone.base import Backbone, BackboneOutput, HiddenStates, Inputs, Site, States, Sublayer
from multiprompt.backbone.dropout import random_state
from multiprompt.backbone.shape import Shape, StackShape
from multiprompt.backbone.texts import TextCoder
from multiprompt.batch import Batch


def build_causal_model(seed: int = 0) -> Any:
    """A random Llama with two layers of width 16."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=104,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        attention_dropout=0.1,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
        initializer_range=0.3,
    )
    return LlamaForCausalLM._from_config(config, attn_implementation="eager").eval()


class TinyCausal(Backbone):
    """A Llama of which nothing is fast."""

    family = "tiny causal"

    @cached_property
    def shape(self) -> Shape:
        config = self.model.config
        return Shape(
            width=config.hidden_size,
            heads=config.num_attention_heads * config.head_dim,
            inner=config.intermediate_size,
            gates=2,
            stacks=(StackShape("layers", config.num_hidden_layers, attentions=1, norms=2),),
            last_norms=1,
            positions=0,
            words=config.vocab_size,
            tied=False,
        )

    @cached_property
    def coder(self) -> TextCoder:
        return TextCoder(self.tokenizer, source_ends=False)

    @property
    def token_bytes(self) -> int:
        return 10_000

    def operations(self, source: int, target: int) -> float:
        return 2.0 * self.parameter_count() * (source + target)

    def positions(self, sources: Int[np.ndarray, " B"], targets: Int[np.ndarray, " B"]) -> Int[np.ndarray, " B"]:
        return sources + targets

    def tokens_of_pass(self, batch: Batch, prompt_length: int) -> int:
        lengths = self.positions(batch.source_lengths, batch.target_lengths)
        return len(batch) * (prompt_length + int(lengths.max()))

    def state_counts(self, batch: Batch, prompt_length: int) -> dict[str, Int[np.ndarray, " B"]]:
        return {"layers": prompt_length + batch.source_lengths + batch.target_lengths}

    def forward_together(self, inputs: Sequence[Inputs], hidden: HiddenStates = "none") -> BackboneOutput:
        outputs = []
        for each in inputs:
            drops = nullcontext() if each.random_state is None else random_state(self.device, each.random_state)
            with drops:
                outputs.append(self._pass(each, hidden))
        width = max((states.mask.shape[1] for o in outputs for states in o.states.values()), default=0)
        starts = np.cumsum([0, *(len(each.batch) for each in inputs)])
        return BackboneOutput(
            torch.cat([o.logits for o in outputs]),
            torch.cat([o.labels for o in outputs]),
            torch.cat([o.example_ids + int(start) for o, start in zip(outputs, starts, strict=False)]),
            {name: _stacked([o.states[name] for o in outputs], width) for name in outputs[0].states},
        )

    def _pass(self, inputs: Inputs, hidden: HiddenStates) -> BackboneOutput:
        batch, real = inputs.batch, inputs.batch.known.targets
        rows = self._rows(inputs, [batch.labels[i][real[i]] for i in range(len(batch))])
        embedded, mask = _filled(rows, before=False)
        output = self.model.model(
            inputs_embeds=embedded, attention_mask=mask, use_cache=False, output_hidden_states=hidden == "all"
        )
        owners, states, labels = [], [], []
        for i, row in enumerate(rows):
            label = batch.labels[i][real[i]]
            owners += [i] * len(label)
            states.append(output.last_hidden_state[i, len(row) - len(label) - 1 : len(row) - 1])
            labels.append(label)
        kept = {"none": (), "last": (output.last_hidden_state,), "all": tuple(output.hidden_states or ())[1:]}[hidden]
        return BackboneOutput(
            self.model.lm_head(torch.cat(states)).float(),
            torch.cat(labels),
            torch.tensor(owners),
            {"layers": States(kept, mask.bool())} if kept else {},
        )

    def _rows(self, inputs: Inputs, targets: Sequence[Tensor]) -> list[Float[Tensor, "N D"]]:
        """Prompt, source and target of every example, embedded."""
        rows = []
        for i, target in enumerate(targets):
            source = self.embed(inputs.batch.input_ids[i][inputs.batch.known.sources[i]])
            if inputs.shift is not None:
                shifted = min(len(source), len(inputs.shift))
                source = torch.cat([source[:shifted] + inputs.shift[:shifted], source[shifted:]])
            prompt = [] if inputs.prompts is None else [inputs.prompts[i]]
            rows.append(torch.cat([*prompt, source, self.embed(target)]))
        return rows

    @torch.no_grad()
    def generate(self, inputs: Sequence[Inputs], max_new_tokens: int, beams: int = 1) -> Int[Tensor, "B T"]:
        empty = torch.zeros(0, dtype=torch.long)
        with self.dropout(False):
            embedded, mask = _filled(
                [row for i in inputs for row in self._rows(i, [empty] * len(i.batch))], before=True
            )
            options = {"length_penalty": 1.0, "early_stopping": False} if beams > 1 else {}
            return self.model.generate(
                inputs_embeds=embedded,
                attention_mask=mask,
                do_sample=False,
                num_beams=beams,
                max_new_tokens=max_new_tokens,
                **options,
            )

    @torch.no_grad()
    def rank(self, inputs: Sequence[Inputs], answers: Sequence[Sequence[int]]) -> Float[Tensor, "B C"]:
        columns = []
        with self.dropout(False):
            for answer in answers:
                rows = []
                for each in inputs:
                    labels = torch.tensor([answer]).expand(len(each.batch), -1)
                    batch = Batch(each.batch.input_ids, each.batch.attention_mask, labels, each.batch.task_ids)
                    output = self.forward(batch, each.prompts, shift=each.shift)
                    scores = torch.log_softmax(output.logits, -1).gather(1, output.labels.unsqueeze(1))
                    rows.append(scores.view(len(batch), -1).sum(1))
                columns.append(torch.cat(rows))
        return torch.stack(columns, 1)

    def sites(self, places: Iterable[Sublayer]) -> list[Site]:
        places = tuple(places)
        modules = [{"self_attention": block.self_attn, "feed_forward": block.mlp} for block in self.model.model.layers]
        return [Site("layers", block, place, each[place]) for block, each in enumerate(modules) for place in places]

    def norms(self) -> list[nn.Module]:
        return [module for name, module in self.model.named_modules() if name.endswith("norm")]

    def outputs(self) -> dict[str, tuple[nn.Module, int]]:
        found: dict[str, tuple[nn.Module, int]] = {}
        for name, module in self.model.named_modules():
            if isinstance(module, nn.Linear):
                found[name] = (module, module.out_features)
            elif name.endswith("layernorm"):
                found[name] = (module, self.width)
        return found


def _filled(rows: Sequence[Float[Tensor, "N D"]], before: bool) -> tuple[Float[Tensor, "B M D"], Int[Tensor, "B M"]]:
    """Rows filled up with zeros, at their beginning or at their end, and a mask."""
    longest = max(map(len, rows))
    embedded = rows[0].new_zeros(len(rows), longest, rows[0].shape[1])
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for i, row in enumerate(rows):
        place = slice(longest - len(row), None) if before else slice(0, len(row))
        embedded[i, place] = row
        mask[i, place] = 1
    return embedded, mask


def _stacked(states: Sequence[States], width: int) -> States:
    def wide(tensor: Tensor) -> Tensor:
        return torch.cat([tensor, tensor.new_zeros(len(tensor), width - tensor.shape[1], *tensor.shape[2:])], 1)

    values = tuple(torch.cat([wide(each) for each in layer]) for layer in zip(*(s.values for s in states), strict=True))
    return States(values, torch.cat([wide(s.mask) for s in states]))
