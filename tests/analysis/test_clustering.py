"""Average linkage: constructed cases, and scipy's trees."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from multiprompt.analysis.clustering import average_linkage, distinct_clusters


def random_similarities(seed: int, things: int) -> np.ndarray:
    values = np.random.default_rng(seed).uniform(-1, 1, (things, things))
    matrix = (values + values.T) / 2
    np.fill_diagonal(matrix, 1.0)
    return matrix


def test_two_pairs_and_one_apart():
    matrix = np.full((5, 5), 0.1)
    for one, other in ((0, 3), (1, 4)):
        matrix[one, other] = matrix[other, one] = 0.9
    np.fill_diagonal(matrix, 1.0)
    merges = average_linkage(matrix)
    assert {frozenset(merge.members) for merge in distinct_clusters(merges)} == {frozenset({0, 3}), frozenset({1, 4})}
    order = merges[-1].members
    assert abs(order.index(0) - order.index(3)) == abs(order.index(1) - order.index(4)) == 1


def test_a_cluster_within_a_cluster_is_not_named_twice():
    matrix = np.full((4, 4), 0.0)
    matrix[:3, :3] = 0.8
    matrix[0, 1] = matrix[1, 0] = 0.9
    np.fill_diagonal(matrix, 1.0)
    assert [sorted(merge.members) for merge in distinct_clusters(average_linkage(matrix))] == [[0, 1, 2]]


@pytest.mark.parametrize("things", [1, 2, 3])
def test_where_all_are_equally_alike_none_cluster(things):
    matrix = np.full((things, things), 0.5)
    np.fill_diagonal(matrix, 1.0)
    assert distinct_clusters(average_linkage(matrix)) == []


def test_ends_that_are_alike_meet():
    matrix = np.eye(4)
    for one, other, value in ((0, 1, 0.9), (2, 3, 0.8), (0, 3, 0.5)):
        matrix[one, other] = matrix[other, one] = value
    assert average_linkage(matrix)[-1].members in ((1, 0, 3, 2), (2, 3, 0, 1))


@given(st.integers(0, 10_000), st.integers(2, 9))
def test_the_tree_is_that_of_scipy(seed, things):
    matrix = random_similarities(seed, things)
    merges = average_linkage(matrix)
    tree = hierarchy.linkage(squareform(1 - matrix, checks=False), "average")
    np.testing.assert_allclose([1 - merge.similarity for merge in merges], tree[:, 2], atol=1e-12)
    sets = [frozenset({leaf}) for leaf in range(things)]
    for one, other, *_ in tree:
        sets.append(sets[int(one)] | sets[int(other)])
    assert [frozenset(merge.members) for merge in merges] == sets[things:]
    assert sorted(merges[-1].members) == list(range(things))
