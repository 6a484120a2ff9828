"""What is in one prompt: the vocabulary entries nearest to its rows, its norms, and its task factors."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from multiprompt.analysis.factors import FactorAnalysis, analyse_factors
from multiprompt.analysis.stages import find_stage, read_prompt, rows_of
from multiprompt.backbone.loading import load_backbone
from multiprompt.config import task_name, to_plain
from multiprompt.errors import ConfigError, unknown_name
from multiprompt.prompts import DecomposedPrompt
from multiprompt.recipes.use import check_width
from multiprompt.runs.graph import node_key
from multiprompt.runs.run_folder import read_run_config

Metric = Literal["cosine", "euclid"]

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of norms: the smallest, the quartiles, the largest."""


@dataclass(frozen=True)
class Neighbour:
    """An entry of the vocabulary near a row: its token, and its cosine or distance."""

    token: str
    value: float


@dataclass(frozen=True)
class Norms:
    """Euclidean norms of the rows of a matrix: how many, their mean, and their ``QUANTILES``."""

    rows: int
    mean: float
    quantiles: tuple[float, ...]


@dataclass(frozen=True)
class PromptContents:
    """One prompt, looked into.

    Attributes:
        stage: key of its stage, such as "seed-0/source".
        task: whose rows are compared with the vocabulary.
        tasks: all that the stage has a prompt for.
        metric: of the neighbours.
        neighbours: for each row the nearest entries, nearest first.
        row_norms: of the rows of that task.
        norms: of the rows of every task, of the shared prompt if there is one, and of the vocabulary, by name.
        factors: of a decomposed prompt; None for another one.
    """

    stage: str
    task: str
    tasks: tuple[str, ...]
    metric: Metric
    neighbours: tuple[tuple[Neighbour, ...], ...]
    row_norms: tuple[float, ...]
    norms: dict[str, Norms]
    factors: FactorAnalysis | None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        plain: dict[str, Any] = {
            "version": 1,
            "analysis": "prompt",
            "stage": self.stage,
            "task": self.task,
            "metric": self.metric,
            "rows": [
                {"norm": norm, "nearest": [asdict(neighbour) for neighbour in near]}
                for norm, near in zip(self.row_norms, self.neighbours, strict=True)
            ],
            "quantiles": list(QUANTILES),
            "norms": {name: asdict(norms) for name, norms in self.norms.items()},
        }
        if self.factors is not None:
            each = zip(self.factors.tasks, self.factors.raw, self.factors.fixed, self.factors.factors, strict=True)
            plain["factors"] = {
                "cancellation": self.factors.cancellation,
                "fixed_cancellation": self.factors.fixed_cancellation,
                "tasks": {
                    task: {"raw": asdict(raw), "fixed": asdict(fixed) | {"u": u.tolist(), "v": v.tolist()}}
                    for task, raw, fixed, (u, v) in each
                },
            }
        return plain


def inspect_prompt(
    run: Path, stage: str, task: str | None = None, metric: Metric = "cosine", nearest: int = 5
) -> PromptContents:
    """Compare a stored prompt with the vocabulary of its backbone, and take its factors apart.

    Args:
        run: folder of the run.
        stage: such as "seed-1/source"; "source" alone is that of the first seed.
        task: whose rows are compared, for a stage of several; None for the first.
        metric: "cosine", or "euclid" for the distance.
        nearest: entries for each row.

    Raises:
        CheckpointError: the folder holds no run, or the stage is not finished or holds no prompt, or its prompt does
            not fit the backbone.
        ConfigError: the experiment has no such seed.
        UnknownNameError: it has no such stage, or the stage no such task.
        BackboneError: the backbone cannot be loaded.
    """
    experiment = read_run_config(run)
    seed, planned = find_stage(experiment, stage)
    stored = read_prompt(run, seed, planned)
    task = None if task is None else task_name(task)
    if task is not None and task not in stored.tasks:
        raise unknown_name(f"task of {planned.name}", task, stored.tasks)
    # On the processor in full precision, whatever the run used: only the embedding is looked at.
    options = replace(experiment.backbone, device="cpu", precision="float32")
    backbone = load_backbone(**to_plain(options))
    check_width(f"the prompt of {run / node_key(seed, planned.name)}", stored.prompt.width, backbone)
    vocabulary = backbone.embedding[: len(backbone.tokenizer)].detach().double().numpy()
    chosen = stored.tasks.index(task) if task else 0
    prompts = {name: rows_of(stored.prompt, position) for position, name in enumerate(stored.tasks)}
    rows = prompts[stored.tasks[chosen]]
    norms = {name: row_norms(own) for name, own in prompts.items()}
    factors = None
    if isinstance(stored.prompt, DecomposedPrompt):
        norms["shared prompt"] = row_norms(stored.prompt.shared.detach().double().numpy())
        factors = analyse_factors(stored.prompt, stored.tasks)
    ids, values = nearest_entries(rows, vocabulary, metric, nearest)
    tokens = [backbone.coder.pieces(own.tolist()) for own in ids]
    return PromptContents(
        stage=node_key(seed, planned.name),
        task=stored.tasks[chosen],
        tasks=stored.tasks,
        metric=metric,
        neighbours=tuple(
            tuple(Neighbour(str(token), float(value)) for token, value in zip(own, at, strict=True))
            for own, at in zip(tokens, values, strict=True)
        ),
        row_norms=tuple(np.linalg.norm(rows, axis=1).tolist()),
        norms=norms | {"vocabulary": row_norms(vocabulary)},
        factors=factors,
    )


def nearest_entries(
    rows: Float[np.ndarray, "P D"], vocabulary: Float[np.ndarray, "V D"], metric: Metric = "cosine", nearest: int = 5
) -> tuple[np.ndarray, np.ndarray]:
    """The entries nearest to every row, nearest first, those of equal nearness by their id.

    Returns:
        Ids ``[P, K]`` and cosines or distances ``[P, K]``, with K the smaller of ``nearest`` and V.

    Raises:
        ConfigError: ``nearest`` is below 1.
        UnknownNameError: there is no such metric.
    """
    if metric not in get_args(Metric):
        raise unknown_name("kind of nearness", metric, get_args(Metric))
    if nearest < 1:
        raise ConfigError(f"the number of nearest entries is {nearest}; expected 1 or more")
    row_norm, norm = np.linalg.norm(rows, axis=1), np.linalg.norm(vocabulary, axis=1)
    products = rows @ vocabulary.T
    if metric == "cosine":
        scale = np.outer(row_norm, norm)
        values = np.clip(products / np.where(scale > 0, scale, 1.0), -1.0, 1.0)
        order = np.argsort(-values, axis=1, kind="stable")[:, :nearest]
    else:
        values = np.sqrt(np.maximum(row_norm[:, None] ** 2 + norm**2 - 2 * products, 0.0))
        order = np.argsort(values, axis=1, kind="stable")[:, :nearest]
    return order, np.take_along_axis(values, order, axis=1)


def row_norms(rows: Float[np.ndarray, "N D"]) -> Norms:
    """Norms of the rows of a matrix."""
    norms = np.linalg.norm(rows, axis=1)
    return Norms(len(norms), float(norms.mean()), tuple(np.quantile(norms, QUANTILES).tolist()))
