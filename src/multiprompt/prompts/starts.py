"""First values of a prompt. Each function returns ``[P, D]`` in fp32."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def vocabulary_rows(
    embedding: Float[Tensor, "V D"], length: int, generator: torch.Generator | None = None
) -> Float[Tensor, "P D"]:
    """Rows of the loaded embedding, drawn without replacement.

    Given the rows of frequent pieces (``Backbone.frequent``), this is the paper's start (appendix A). Public code that
    samples before the checkpoint is copied into the model gets N(0, 1) rows instead: ``normal_rows`` with ``std=1``.

    Raises:
        ValueError: the prompt is longer than the pool of ids.
    """
    pool = len(embedding)
    if length > pool:
        raise ValueError(
            f"a prompt of {length} rows cannot start from {pool} distinct vocabulary rows; use the start 'normal' or "
            "'uniform', or a shorter prompt"
        )
    ids = torch.randperm(pool, generator=generator)[:length]
    return embedding.detach()[ids.to(embedding.device)].float().cpu().clone()


def normal_rows(
    length: int, width: int, std: float = 1.0, generator: torch.Generator | None = None
) -> Float[Tensor, "P D"]:
    """Entries from N(0, std^2)."""
    return torch.randn(length, width, generator=generator) * std


def uniform_rows(
    length: int, width: int, bound: float = 0.5, generator: torch.Generator | None = None
) -> Float[Tensor, "P D"]:
    """Entries from U(-bound, bound)."""
    return (torch.rand(length, width, generator=generator) * 2 - 1) * bound


def text_rows(
    embedding: Float[Tensor, "V D"], token_ids: Int[Tensor, " N"] | list[int], length: int
) -> Float[Tensor, "P D"]:
    """Embeddings of a text's tokens, repeated or cut to the length of the prompt.

    Raises:
        ValueError: the text has no token.
    """
    ids = torch.as_tensor(token_ids, dtype=torch.long)
    if len(ids) == 0:
        raise ValueError("the text that should start the prompt has no token")
    repeats = -(-length // len(ids))
    return embedding.detach()[ids.repeat(repeats)[:length].to(embedding.device)].float().cpu().clone()
