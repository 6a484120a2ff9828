"""Hierarchical clustering by average linkage, of few things: what is alike stands side by side."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Merge:
    """Two clusters that become one.

    Attributes:
        members: positions of all its things, those that are alike side by side.
        similarity: mean similarity between the things of the one cluster and those of the other.
    """

    members: tuple[int, ...]
    similarity: float


def average_linkage(similarity: Float[np.ndarray, "K K"]) -> list[Merge]:
    """Join the two most similar clusters, until one is left (UPGMA).

    Args:
        similarity: of every pair, symmetric, without gaps.

    Returns:
        K - 1 merges in the order in which they are made; their similarity never rises. The members of the last one
        are the order in which to show the things.
    """
    clusters: dict[int, tuple[int, ...]] = {thing: (thing,) for thing in range(len(similarity))}
    between = similarity.astype(float)
    merges = []
    while len(clusters) > 1:
        names = list(clusters)
        pairs = [(one, other) for i, one in enumerate(names) for other in names[i + 1 :]]
        one, other = max(pairs, key=lambda pair: between[pair])  # the first of equal ones
        merges.append(Merge(_joined(clusters[one], clusters[other], similarity), float(between[one, other])))
        shares = len(clusters[one]), len(clusters[other])
        mean = (shares[0] * between[one] + shares[1] * between[other]) / sum(shares)
        between[one, :] = between[:, one] = mean
        clusters[one] = merges[-1].members
        del clusters[other]
    return merges


def _joined(one: tuple[int, ...], other: tuple[int, ...], similarity: np.ndarray) -> tuple[int, ...]:
    """Both orders, each forwards or backwards, so that those that meet are as similar as can be."""
    turned = [(left, right) for left in (one, one[::-1]) for right in (other, other[::-1])]
    left, right = max(turned, key=lambda ends: similarity[ends[0][-1], ends[1][0]])
    return left + right


def distinct_clusters(merges: Sequence[Merge]) -> list[Merge]:
    """The clusters of two things or more that are left when the tree is cut at its widest step.

    The cut is where the similarity falls most from one merge to the next. There is none with fewer than three things,
    or where all merges are equally similar.
    """
    falls = [here.similarity - after.similarity for here, after in itertools.pairwise(merges)]
    if not falls or max(falls) < 1e-9:
        return []
    kept = merges[: falls.index(max(falls)) + 1]
    return [merge for i, merge in enumerate(kept) if not any(set(merge.members) < set(m.members) for m in kept[i:])]
