"""The task loss (Eq. 1): cross-entropy of the target tokens."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F


def token_cross_entropy(
    logits: Float[Tensor, "N V"], labels: Int[Tensor, " N"], example_ids: Int[Tensor, " N"], batch_size: int
) -> Float[Tensor, " B"]:
    """Minus the log-probability of each target token, summed for each example.

    Divided by the number of target tokens of the batch this is the token mean that every public code base uses (the
    paper writes a sum). It weighs tasks with long answers more; the loop logs the terms by task for that reason.

    Args:
        logits: scores of the target positions that count.
        labels: the token at each of these positions, end-of-sequence included.
        example_ids: the example that each position belongs to.
        batch_size: B.
    """
    losses = F.cross_entropy(logits.float(), labels, reduction="none")
    return losses.new_zeros(batch_size).index_add(0, example_ids, losses)
