"""Test rows that belong together, such as questions about one passage, and what they do to a value. No torch."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float, Int

from multiprompt.metrics import Metric


def clusters_of(names: Sequence[Hashable | None]) -> Int[np.ndarray, " n"]:
    """The number of every row's cluster, from 0 in the order in which they occur; a row without a name is one itself.

    Where all rows would be one cluster there would be nothing to resample: then each is its own.
    """
    known: dict[Hashable, int] = {}
    keys = [("row", row) if name is None else ("cluster", name) for row, name in enumerate(names)]
    numbers = np.array([known.setdefault(key, len(known)) for key in keys], dtype=int)
    return numbers if len(known) > 1 else np.arange(len(names))


def by_cluster(statistics: Float[np.ndarray, "n m"], clusters: Int[np.ndarray, " n"]) -> Float[np.ndarray, "K m"]:
    """The sums of the statistics of every cluster."""
    sums = np.zeros((int(clusters.max()) + 1, statistics.shape[1]))
    np.add.at(sums, clusters, statistics)
    return sums


def jackknife(metric: Metric, statistics: Float[np.ndarray, "K m"]) -> Float[np.ndarray, " K"]:
    """Deviations of the value by cluster, from the values without one cluster each (Efron and Stein 1981).

    u_k = sqrt((K - 1) / K) (mean of all v_(k) - v_(k)); the sum of u_k² is the variance of the value, that of u_k w_k
    the covariance of two values on the same rows. Of a mean the variance is the square of the standard error, exactly.
    The bootstrap has the same variance, plus noise from its draws.
    """
    count = len(statistics)
    without = np.asarray(metric.value(statistics.sum(axis=0) - statistics), dtype=float)
    return math.sqrt((count - 1) / count) * (without.mean() - without)
