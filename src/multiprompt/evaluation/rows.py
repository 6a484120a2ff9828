"""What single test rows do to a score, from the answers that a run has stored. No torch: reports read these."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from multiprompt.errors import CheckpointError
from multiprompt.evaluation.clusters import by_cluster, clusters_of, jackknife
from multiprompt.evaluation.results import Score
from multiprompt.metrics import METRICS, statistics_of
from multiprompt.text import lines_of


@dataclass(frozen=True)
class RowEffects:
    """What every cluster of test rows does to a value.

    Attributes:
        deviations: of the clusters; the sum of their squares is the variance of the value.
        test_set: digest of the rows and of how they cluster: values are paired where it is equal.
        width: of the range of the metric; 0 where it has no end.
    """

    deviations: Float[np.ndarray, " K"]
    test_set: str
    width: float


def row_effects(score: Score) -> RowEffects | None:
    """The effects of the rows on a score; None where its answers are not stored, or are not those of this score.

    A metric of the user's own has none: a report runs no code of theirs.

    Raises:
        CheckpointError: the file of the answers is damaged.
    """
    if score.answers is None or score.metric not in METRICS:
        return None
    try:
        changed = score.answers.path.stat().st_mtime_ns
    except OSError:
        return None
    found = _effects(score.answers.path, changed, score.answers.labels, score.metric)
    return found[1] if found and math.isclose(found[0], score.value, abs_tol=1e-6) else None


@lru_cache(maxsize=2048)
def _effects(path: Path, changed: int, labels: tuple[str, ...] | None, name: str) -> tuple[float, RowEffects] | None:
    """The value of the metric and the effects; None where every row is in one cluster."""
    metric = METRICS[name]
    try:
        rows: list[dict[str, Any]] = [json.loads(line) for line in lines_of(path.read_text(encoding="utf-8"))]
        predictions, references = [row["prediction"] for row in rows], [row["references"] for row in rows]
        groups = [row["group"] for row in rows] if metric.grouped else None
        names = [str(row["row"]) for row in rows]
        clusters = clusters_of([row.get("cluster", row.get("group")) for row in rows])
        statistics = statistics_of(metric, predictions, references, labels, groups)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged: {error!r}") from error
    together = by_cluster(statistics, clusters)
    if len(together) < 2:
        return None
    digest = hashlib.sha256(repr(list(zip(names, clusters.tolist(), strict=True))).encode()).hexdigest()
    low, high = metric.range
    width = high - low if math.isfinite(high - low) else 0.0
    return float(metric.value(statistics.sum(axis=0))), RowEffects(jackknife(metric, together), digest, width)
