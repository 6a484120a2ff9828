"""How many numbers a method trains, as arithmetic that can be printed."""

from __future__ import annotations

import math
from dataclasses import dataclass

SOURCE_LENGTH = 256
"""Source tokens of most tasks, for what has a row for each of them."""


@dataclass(frozen=True)
class Item:
    """Trained numbers of one kind: ``times`` the sum of the products of the parts.

    Attributes:
        name: what they are.
        times: how often the sum occurs.
        parts: the factors of every product.
        shared: whether the tasks of a group share them.
    """

    name: str
    times: int
    parts: tuple[tuple[int, ...], ...]
    shared: bool = False

    def formula(self, tasks: int) -> str:
        """The arithmetic for one task of a group."""
        products = " + ".join(" · ".join(map(str, part)) for part in self.parts)
        if self.times != 1:
            products = f"{self.times} · {products}" if len(self.parts) == 1 else f"{self.times} · ({products})"
        elif len(self.parts) > 1 and self.shared and tasks > 1:
            products = f"({products})"
        return f"{products} / {tasks}" if self.shared and tasks > 1 else products

    def per_task(self, tasks: int) -> float:
        """Its value."""
        numbers = self.times * sum(map(math.prod, self.parts))
        return numbers / tasks if self.shared else numbers


def bottleneck_parts(width: int, inner: int) -> tuple[tuple[int, ...], ...]:
    """Both matrices of a bottleneck layer, and both biases."""
    return (2, width, inner), (inner,), (width,)
