"""ATTEMPT: a prompt mixed from frozen source prompts and a trained one, by attention, for every example.

Asai, Salehi, Peters, Hajishirzi, *ATTEMPT: Parameter-Efficient Multi-task Tuning via Attentional Mixtures of Soft
Prompts*, EMNLP 2022, arXiv:2205.11961. With ``E`` the embeddings of a source, ``P_1 .. P_K`` the source prompts and
``P`` the target prompt::

    h = norm(silu(max(E) @ down) @ up)          max over the tokens
    a = softmax(h . max(P_j) / T)               over P_1 .. P_K and P; max over the rows of a prompt
    prompt = P + sum_j a_j P_j                  the target prompt is inside the sum as well
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from multiprompt.backbone.base import Backbone
from multiprompt.batch import Batch
from multiprompt.methods.base import ParameterGroup, TaskMethod


class Attention(nn.Module):
    """The network that turns the embeddings of a source into a query.

    Args:
        width: D of the model.
        inner: of its bottleneck.
        generator: draws the first weights.
    """

    def __init__(self, width: int, inner: int, generator: torch.Generator) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(width, inner, generator=generator) * width**-0.5)
        self.up = nn.Parameter(torch.randn(inner, width, generator=generator) * inner**-0.5)
        self.norm = nn.LayerNorm(width)

    def forward(self, pooled: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        query: Tensor = self.norm(F.silu(pooled @ self.down) @ self.up)
        return query


class MixedPrompts(nn.Module):
    """What ATTEMPT trains: a prompt for every task, and the attention network that the tasks share.

    Args:
        starts: first value of every task's prompt, ``[P, D]`` each.
        attention: the network.
    """

    def __init__(self, starts: Sequence[Float[Tensor, "P D"]], attention: Attention) -> None:
        super().__init__()
        self.prompts = nn.ParameterList(start.detach().float().clone() for start in starts)
        self.attention = attention


def mixture(
    query: Float[Tensor, "B D"],
    sources: Float[Tensor, "K P D"],
    targets: Float[Tensor, "B P D"],
    temperature: float,
) -> tuple[Float[Tensor, "B P D"], Float[Tensor, "B K1"]]:
    """The prompt of every example, and the shares of the source prompts and of its own prompt (last) in it."""
    keys = torch.cat([sources.amax(1).expand(len(query), -1, -1), targets.amax(1, keepdim=True)], 1)
    shares = torch.softmax((keys @ query.unsqueeze(-1)).squeeze(-1) / temperature, dim=-1)
    mixed = torch.einsum("bk,kpd->bpd", shares[:, :-1], sources)
    return targets + mixed + shares[:, -1, None, None] * targets, shares


class Attempt(TaskMethod):
    """Train the target prompts and the attention network on the task loss.

    Args:
        backbone: the frozen model.
        mixed: what is trained.
        sources: the frozen source prompts.
        learning_rate: of the target prompts.
        attention_learning_rate: of the attention network.
        temperature: scores are divided by it; None for e times the width, as in the published code.
        dropout: whether the model drops out while training.
    """

    joins = True
    title = "the mixed prompts"

    def __init__(
        self,
        backbone: Backbone,
        mixed: MixedPrompts,
        sources: Float[Tensor, "K P D"],
        learning_rate: float,
        attention_learning_rate: float,
        temperature: float | None,
        dropout: bool,
    ) -> None:
        super().__init__(backbone, dropout)
        self.mixed = mixed.to(backbone.device)
        self.sources = sources.detach().float().to(backbone.device)
        self.learning_rate = learning_rate
        self.attention_learning_rate = attention_learning_rate
        self.temperature = math.e * backbone.width if temperature is None else temperature

    @property
    def prompt_length(self) -> int:
        return self.sources.shape[1]

    def prompts(self, batch: Batch) -> Float[Tensor, "B P D"]:
        return self.mix(batch)[0]

    def mix(self, batch: Batch) -> tuple[Float[Tensor, "B P D"], Float[Tensor, "B K1"]]:
        """The prompts of a batch and the shares that they are mixed from.

        The maximum is over the real tokens; that of published code takes padding in.
        """
        embedded = self.backbone.embed(batch.input_ids).float()
        pooled = embedded.masked_fill(~batch.attention_mask.bool().unsqueeze(-1), -math.inf).amax(1)
        targets = torch.stack([self.mixed.prompts[task] for task in batch.known.tasks.tolist()])
        return mixture(self.mixed.attention(pooled), self.sources, targets, self.temperature)

    def parameter_groups(self) -> list[ParameterGroup]:
        return [
            ParameterGroup("prompt", list(self.mixed.prompts), self.learning_rate),
            ParameterGroup("attention", list(self.mixed.attention.parameters()), self.attention_learning_rate),
        ]

    def trained(self) -> Mapping[str, nn.Parameter]:
        return dict(self.mixed.named_parameters())
