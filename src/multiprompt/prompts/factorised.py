"""A prompt that is the product of two thin matrices, without anything shared (Xiao et al., arXiv:2310.10094)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from multiprompt.prompts.base import Prompt


class FactorisedPrompt(Prompt):
    """Decomposed prompt tuning: ``P = A @ B`` for one task, with an inner width far below the prompt's length.

    Not the decomposition of multitask prompt tuning, which multiplies a shared prompt element by element.

    Args:
        rows: first value of ``A``, ``[P, R]``.
        columns: first value of ``B``, ``[R, D]``.
    """

    def __init__(self, rows: Float[Tensor, "P R"], columns: Float[Tensor, "R D"]) -> None:
        super().__init__()
        self.num_tasks = 1
        self.length, self.width = rows.shape[0], columns.shape[1]
        self.rows = nn.Parameter(rows.detach().clone().float())
        self.columns = nn.Parameter(columns.detach().clone().float())

    def collapse(self, tasks: list[int]) -> Float[Tensor, "K P D"]:
        return (self.rows @ self.columns).expand(len(tasks), -1, -1)


def start_thin_factors(
    length: int, width: int, rank: int, generator: torch.Generator
) -> tuple[Float[Tensor, "P R"], Float[Tensor, "R D"]]:
    """First values of both matrices: uniform from -0.5 to 0.5, as in the published code."""
    return torch.rand(length, rank, generator=generator) - 0.5, torch.rand(rank, width, generator=generator) - 0.5
