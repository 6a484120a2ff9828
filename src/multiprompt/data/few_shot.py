"""Draws of k training examples."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence

from multiprompt.errors import ConfigError
from multiprompt.examples import TextExample
from multiprompt.seeding import derive_seed


def draw_few_shot(examples: Sequence[TextExample], k: int, seed: int, balanced: bool = True) -> tuple[TextExample, ...]:
    """Draw ``k`` examples in all (not per class), the same for the same seed.

    Balanced draws take one example of each target in turn, so every target has ``k // targets`` of them or
    one more (or all there are, when they are fewer). With more targets than ``k``, as with open answers, the
    draw is not balanced. Draws of one kind are nested: those with a smaller ``k`` are the first of those with
    a larger one.

    Raises:
        ConfigError: ``k`` is below 1 or above the number of examples.
    """
    if not 1 <= k <= len(examples):
        raise ConfigError(f"k is {k}; expected from 1 to {len(examples)}, the number of training examples")
    generator = random.Random(derive_seed(seed, "few-shot"))
    shuffled = generator.sample(examples, len(examples))
    by_target: dict[str, list[TextExample]] = {}
    for example in shuffled:
        by_target.setdefault(example.target, []).append(example)
    if not balanced or k < len(by_target):
        return tuple(shuffled[:k])
    return tuple(_in_turn(by_target.values()))[:k]


def _in_turn(groups: Iterable[Sequence[TextExample]]) -> Iterator[TextExample]:
    """One of each group, then a second of each, and so on, until all groups are used up."""
    remaining = [iter(group) for group in groups]
    while remaining:
        still = []
        for group in remaining:
            for example in group:
                yield example
                still.append(group)
                break
        remaining = still
