"""The terms of a loss, as values. No torch, so that rules about logs can use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

TermKind = Literal["task", "logits", "states", "distance"]
"""What a term compares: answers with references, logits with the teacher's, hidden states with the teacher's, or
prompts with the teacher's."""


@dataclass(frozen=True, eq=False)
class Term:
    """One term of the loss of a batch.

    Attributes:
        name: in the log.
        kind: what it compares.
        weight: in the loss.
        counts: number of items of every example, ``[B]``; known before any pass through the backbone.
    """

    name: str
    kind: TermKind
    weight: float
    counts: np.ndarray
    _sums: Tensor | None = None

    @property
    def sums(self) -> Tensor:
        """The sum over the items of every example, ``[B]``, with gradients.

        Raises:
            ValueError: there was no pass yet.
        """
        if self._sums is None:
            raise ValueError(f"the term {self.name!r} has no sums yet; Method.losses gives them")
        return self._sums

    def with_sums(self, sums: Tensor) -> Term:
        """The same term after a pass."""
        return Term(self.name, self.kind, self.weight, self.counts, sums)


def kind_of(name: str) -> TermKind:
    """The kind of a term in a log, which holds names and values alone."""
    if name.endswith(" states"):
        return "states"
    kinds: dict[str, TermKind] = {"task": "task", "logits": "logits"}
    return kinds.get(name, "distance")
