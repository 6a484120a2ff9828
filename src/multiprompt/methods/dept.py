"""DePT: a shorter prompt, and a low-rank matrix added to the embeddings of the source.

Shi and Lipani, *DePT: Decomposed Prompt Tuning for Parameter-Efficient Fine-tuning*, ICLR 2024, arXiv:2309.05173. The
two parts together have about as many numbers as the whole prompt, and the model reads fewer rows. (It is no
decomposition of the prompt, for all its title.)
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from multiprompt.backbone.base import Backbone
from multiprompt.batch import Batch
from multiprompt.methods.base import ParameterGroup, TaskMethod


class ShortPrompt(nn.Module):
    """What DePT trains.

    Args:
        start: first value of the prompt, ``[M, D]``.
        positions: S, source positions that get a row of the matrix; later ones are left as they are.
        rank: R of the matrix.
        generator: draws one of its factors; the other is zero, so the embeddings begin as they are.
    """

    def __init__(self, start: Float[Tensor, "M D"], positions: int, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        width = start.shape[1]
        self.prompt = nn.Parameter(start.detach().float().clone())
        self.rows = nn.Parameter(torch.randn(positions, rank, generator=generator) * rank**-0.5)
        self.columns = nn.Parameter(torch.zeros(rank, width))


def matrix_rank(length: int, short: int, width: int, positions: int) -> int:
    """The rank at which prompt and matrix together have at most as many numbers as a prompt of full length."""
    return max(1, (length - short) * width // (positions + width))


class Dept(TaskMethod):
    """Train the short prompt and the matrix, each at a rate of its own.

    Args:
        backbone: the frozen model.
        short: what is trained.
        learning_rate: of the prompt.
        matrix_learning_rate: of the matrix.
        dropout: whether the model drops out while training.
    """

    joins = True
    title = "the short prompt and its matrix"

    def __init__(
        self, backbone: Backbone, short: ShortPrompt, learning_rate: float, matrix_learning_rate: float, dropout: bool
    ) -> None:
        super().__init__(backbone, dropout)
        self.short = short.to(backbone.device)
        self.learning_rate = learning_rate
        self.matrix_learning_rate = matrix_learning_rate

    @property
    def prompt_length(self) -> int:
        return len(self.short.prompt)

    def prompts(self, batch: Batch) -> Float[Tensor, "B M D"]:
        return self.short.prompt.expand(len(batch), -1, -1)

    def shift(self) -> Float[Tensor, "S D"]:
        return self.short.rows @ self.short.columns

    def parameter_groups(self) -> list[ParameterGroup]:
        return [
            ParameterGroup("prompt", [self.short.prompt], self.learning_rate),
            ParameterGroup("matrix", [self.short.rows, self.short.columns], self.matrix_learning_rate),
        ]

    def trained(self) -> Mapping[str, nn.Parameter]:
        return dict(self.short.named_parameters())
