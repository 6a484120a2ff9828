"""How alike the prompts of finished stages are: cosines of their task vectors, and which tasks cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from multiprompt.analysis.clustering import Merge, average_linkage, distinct_clusters
from multiprompt.analysis.gather import FoundPrompt, find_prompts
from multiprompt.errors import CheckpointError, ConfigError, refuse_one_text
from multiprompt.evaluation.summaries import Repeat

LEAST_APART = 0.05
"""Difference of mean cosines, among the prompts of a cluster and with the others, below which there is no cluster: a
tree always has a widest fall, and where all prompts are much alike it is nothing."""

LEAST_ERRORS = 2.0
"""The same in standard errors of this difference over the repeats, where there are several."""

MOST_NAMED = 12
"""Prompts of a cluster that a sentence names; the table and the JSON file have all."""


@dataclass(frozen=True)
class Cluster:
    """Prompts that are more alike than others.

    Attributes:
        labels: of its prompts.
        within: mean cosine among them.
        outside: mean cosine of them with the others.
        agreeing: repeats in whose own clustering exactly these are joined before any other joins them.
        error: standard error of the difference of the two means over the repeats; None with fewer than two.
    """

    labels: tuple[str, ...]
    within: float
    outside: float
    agreeing: int
    error: float | None = None

    @property
    def stands_out(self) -> bool:
        """Whether its prompts are so much more alike that it is worth telling."""
        apart = self.within - self.outside
        return apart >= LEAST_APART and apart > LEAST_ERRORS * (self.error or 0.0)


@dataclass(frozen=True)
class Similarity:
    """Cosines between prompts, in the order of their clustering.

    Attributes:
        labels: of the prompts.
        repeats: seeds and draws that the cosines are of.
        cosines: one matrix for each repeat; NaN where a pair is not to be had.
        by_rows: means of row-wise cosines, instead of cosines of mean rows.
        clusters: those of the mean that stand out.
        notes: what a reader should know.
        closest: the cluster that comes nearest to standing out, where none does.
    """

    labels: tuple[str, ...]
    repeats: tuple[Repeat, ...]
    cosines: Float[np.ndarray, "R K K"]
    by_rows: bool
    clusters: tuple[Cluster, ...]
    notes: tuple[str, ...]
    closest: Cluster | None = None

    @property
    def mean(self) -> Float[np.ndarray, "K K"]:
        """Over the repeats."""
        return np.nanmean(self.cosines, axis=0)

    @property
    def deviation(self) -> Float[np.ndarray, "K K"]:
        """Sample deviation over the repeats; NaN for a pair with one."""
        counts = (~np.isnan(self.cosines)).sum(axis=0)
        squares = np.nansum((self.cosines - self.mean) ** 2, axis=0)
        return np.where(counts > 1, np.sqrt(squares / np.maximum(counts - 1, 1)), np.nan)

    @property
    def repeated(self) -> str:
        """What the repeats are, in words."""
        if not any(draw for _, draw in self.repeats):
            return "seeds"
        seeds = len({seed for seed, _ in self.repeats})
        return "draws" if seeds == 1 else f"draws of {seeds} seeds"

    def sentences(self) -> list[str]:
        """Which tasks cluster."""
        said = []
        complete = int((~np.isnan(self.cosines).any(axis=(1, 2))).sum())
        for cluster in self.clusters:
            agreement = f"; in {cluster.agreeing} of {complete} {self.repeated} taken alone as well" * (complete > 1)
            said.append(
                f"{_listed(cluster.labels)} cluster: mean cosine {cluster.within:.3f} among them, "
                f"{cluster.outside:.3f} with the others{agreement}."
            )
        apart = [label for label in self.labels if not any(label in cluster.labels for cluster in self.clusters)]
        if self.clusters and apart:
            said.append(f"Apart from these: {', '.join(apart)}.")
        if self.closest is not None:
            near = self.closest
            spread = "" if near.error is None else f" (standard error of the difference {near.error:.3f})"
            said.append(
                f"No tasks cluster: the closest, {_listed(near.labels)}, have a mean cosine of {near.within:.3f} among "
                f"them and of {near.outside:.3f} with the others{spread}. A cluster is told from a difference of "
                f"{LEAST_APART:g} on, and of {LEAST_ERRORS:g} standard errors over {self.repeated}."
            )
        elif not self.clusters and len(self.labels) > 2:
            said.append("No tasks cluster: all are equally alike.")
        return said

    def to_json(self) -> dict[str, Any]:
        """Plain values; None where there is no number."""
        return {
            "version": 1,
            "analysis": "similarity",
            "task_vector": "rows" if self.by_rows else "mean row",
            "labels": list(self.labels),
            "repeats": [{"seed": seed, "draw": draw} for seed, draw in self.repeats],
            "mean": _plain(self.mean),
            "deviation": _plain(self.deviation),
            "cosines": _plain(self.cosines),
            "clusters": [asdict(cluster) for cluster in self.clusters],
            "notes": list(self.notes),
        }


def _listed(labels: Sequence[str]) -> str:
    if len(labels) > MOST_NAMED:
        return f"{', '.join(labels[:MOST_NAMED])} and {len(labels) - MOST_NAMED} more"
    return f"{', '.join(labels[:-1])} and {labels[-1]}"


def _plain(values: np.ndarray) -> Any:
    plain = values.astype(object)
    plain[np.isnan(values)] = None
    return plain.tolist()


def row_cosines(one: Float[np.ndarray, "P D"], other: Float[np.ndarray, "P D"]) -> Float[np.ndarray, " P"]:
    """Cosine of every row with that of the other matrix; 0 for a row of zeros."""
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.clip((one * other).sum(axis=1) / np.where(norms > 0, norms, 1.0), -1.0, 1.0)


def prompt_cosine(one: Float[np.ndarray, "P D"], other: Float[np.ndarray, "Q D"], by_rows: bool = False) -> float:
    """Cosine of the mean rows of two prompts (Figure 4 of the paper), or the mean of the cosines row by row.

    By rows, both prompts need the same length.
    """
    if not by_rows:
        one, other = one.mean(axis=0, keepdims=True), other.mean(axis=0, keepdims=True)
    return float(row_cosines(one, other).mean())


def prompt_similarity(runs: Sequence[Path], patterns: Sequence[str] | None = None, by_rows: bool = False) -> Similarity:
    """Compare the prompts of finished stages, seed by seed.

    Runs that differ in their seeds and names alone count as one run with all the seeds. Prompts of different seeds are
    never compared.

    Args:
        runs: folders.
        patterns: of the names of stages; None for those of mpt on targets with all examples or, in a run without
            them, for all that leave a prompt.
        by_rows: mean of row-wise cosines, instead of the cosine of mean rows.

    Raises:
        CheckpointError: a folder holds no run, or fewer than two prompts are finished.
        ConfigError: the prompts differ in width (by rows: in length), or two of them share no seed.
        UnknownNameError: a pattern matches no stage.
    """
    refuse_one_text(runs, "runs")
    refuse_one_text(patterns, "patterns")
    found, left_out = find_prompts(runs, patterns)
    _check_alike(found, by_rows)
    labels = list(dict.fromkeys(item.label for item in found))
    if len(labels) < 2:
        raise CheckpointError(
            f"similarity needs two finished prompts or more; there is {'; '.join([_count(labels), *left_out])}"
        )
    repeats = tuple(sorted({(item.seed, item.stage.draw) for item in found}))
    cosines = np.stack([_matrix(found, labels, repeat, by_rows) for repeat in repeats])
    never = np.argwhere(np.isnan(cosines).all(axis=0))
    if len(never):
        one, other = (labels[position] for position in never[0])
        raise ConfigError(
            f"{one} and {other} have no seed in common, and prompts of different seeds start from different values; "
            "choose runs that share seeds"
        )
    merges = average_linkage(np.nanmean(cosines, axis=0))
    order = list(merges[-1].members)
    clusters = list(_clusters(merges, labels, cosines))
    told = tuple(cluster for cluster in clusters if cluster.stands_out)
    return Similarity(
        labels=tuple(labels[position] for position in order),
        repeats=repeats,
        cosines=cosines[:, order][:, :, order],
        by_rows=by_rows,
        clusters=told,
        notes=(*left_out, *_warnings(found, by_rows)),
        closest=None if told else max(clusters, key=lambda c: c.within - c.outside, default=None),
    )


def _count(labels: Sequence[str]) -> str:
    return f"one, {labels[0]}" if labels else "none"


def _check_alike(found: Sequence[FoundPrompt], by_rows: bool) -> None:
    axes = [("width", 1)] + [("length", 0)] * by_rows
    for what, axis in axes:
        sizes: dict[int, str] = {}
        for item in found:
            sizes.setdefault(item.rows.shape[axis], item.label)
        if len(sizes) > 1:
            shown = ", ".join(f"{label} has {size}" for size, label in sizes.items())
            hint = "" if axis else "; without --rows their mean rows can be"
            raise ConfigError(f"prompts of different {what} cannot be compared: {shown}{hint}")


def _warnings(found: Sequence[FoundPrompt], by_rows: bool) -> Iterator[str]:
    backbones = sorted({item.backbone for item in found})
    if len(backbones) > 1:
        yield (
            f"the prompts were trained with different backbones ({', '.join(backbones)}); unless these are the same "
            "model, their cosines mean nothing"
        )
    if by_rows and len({item.origin for item in found}) > 1:
        yield (
            "some of these prompts start from different rows: row-wise cosines of such prompts are near 0, or near "
            "those of their first rows, whatever their tasks have in common; leave out --rows to compare mean rows"
        )


def _matrix(
    found: Sequence[FoundPrompt], labels: Sequence[str], repeat: Repeat, by_rows: bool
) -> Float[np.ndarray, "K K"]:
    """Cosines of one repeat. A prompt without draws goes with every draw; pairs of such are in the first one only."""
    seed, draw = repeat
    items: dict[str, FoundPrompt] = {}
    for item in found:
        if item.seed == seed and (item.stage.draw == draw or item.stage.shots == "all"):
            items[item.label] = item
    matrix = np.full((len(labels), len(labels)), np.nan)
    for i, one in enumerate(labels):
        for j, other in enumerate(labels[: i + 1]):
            if one in items and other in items:
                again = draw > 0 and items[one].stage.shots == items[other].stage.shots == "all"
                if not again:
                    value = prompt_cosine(items[one].rows, items[other].rows, by_rows)
                    matrix[i, j] = matrix[j, i] = value
    return matrix


def _clusters(merges: Sequence[Merge], labels: Sequence[str], cosines: np.ndarray) -> Iterator[Cluster]:
    mean = np.nanmean(cosines, axis=0)
    complete = [matrix for matrix in cosines if not np.isnan(matrix).any()]
    own = [average_linkage(matrix) for matrix in complete]
    for merge in distinct_clusters(merges):
        inside = list(merge.members)
        others = [position for position in range(len(labels)) if position not in inside]
        within, outside = _two_means(mean, inside, others)
        apart = [np.subtract(*_two_means(matrix, inside, others)) for matrix in complete]
        error = float(np.std(apart, ddof=1) / len(apart) ** 0.5) if len(apart) > 1 else None
        agreeing = sum(any(set(m.members) == set(inside) for m in tree) for tree in own)
        names = tuple(labels[position] for position in inside)
        yield Cluster(names, within, outside, agreeing, error)


def _two_means(cosines: Float[np.ndarray, "K K"], inside: list[int], others: list[int]) -> tuple[float, float]:
    """Mean cosine among some prompts, and of them with the others."""
    pairs = cosines[np.ix_(inside, inside)][np.triu_indices(len(inside), 1)]
    return float(pairs.mean()), float(cosines[np.ix_(inside, others)].mean())
