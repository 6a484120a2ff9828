"""The task factors of decomposed prompts, freed of what they leave open.

A task's matrix u v is the same for (c u, v / c), for every c but 0: scale and sign of u and v alone mean nothing.
Averaging u and v over tasks, which is how a target starts, is not free of it: where the signs of two tasks differ,
their means cancel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from multiprompt.prompts import DecomposedPrompt

Factors = tuple[Float[np.ndarray, "P R"], Float[np.ndarray, "R D"]]
"""u and v of a task."""


@dataclass(frozen=True)
class FactorFacts:
    """Numbers about one task's u and v.

    Attributes:
        mean_u: over all entries; so ``mean_v``.
        norm_u: Frobenius norm; so ``norm_v``.
        negative_u: entries below 0; so ``negative_v``.
        scale: root mean square of u v, ||u v||_F / sqrt(l d): 1 where the task's prompt has the shared scale.
    """

    mean_u: float
    mean_v: float
    norm_u: float
    norm_v: float
    negative_u: int
    negative_v: int
    scale: float


@dataclass(frozen=True)
class FactorAnalysis:
    """The factors of all tasks of a prompt.

    Attributes:
        tasks: their names.
        raw: facts of the factors as they were trained.
        fixed: facts of the ``fixed_factors``.
        factors: the fixed factors themselves.
        cancellation: see ``cancellation``, of the factors as they were trained.
        fixed_cancellation: the same of the fixed factors, which depends on the tasks' matrices alone.
    """

    tasks: tuple[str, ...]
    raw: tuple[FactorFacts, ...]
    fixed: tuple[FactorFacts, ...]
    factors: tuple[Factors, ...]
    cancellation: float
    fixed_cancellation: float


def analyse_factors(prompt: DecomposedPrompt, tasks: Sequence[str]) -> FactorAnalysis:
    """Facts about the factors of every task of a prompt."""
    pairs = zip(prompt.u, prompt.v, strict=True)
    raw = [(u.detach().cpu().double().numpy(), v.detach().cpu().double().numpy()) for u, v in pairs]
    fixed = [fixed_factors(*factors) for factors in raw]
    return FactorAnalysis(
        tasks=tuple(tasks),
        raw=tuple(factor_facts(*factors) for factors in raw),
        fixed=tuple(factor_facts(*factors) for factors in fixed),
        factors=tuple(fixed),
        cancellation=cancellation(raw),
        fixed_cancellation=cancellation(fixed),
    )


def factor_facts(u: Float[np.ndarray, "P R"], v: Float[np.ndarray, "R D"]) -> FactorFacts:
    """Facts about the factors of one task."""
    return FactorFacts(
        mean_u=float(u.mean()),
        mean_v=float(v.mean()),
        norm_u=float(np.linalg.norm(u)),
        norm_v=float(np.linalg.norm(v)),
        negative_u=int((u < 0).sum()),
        negative_v=int((v < 0).sum()),
        scale=float(np.sqrt(np.mean((u @ v) ** 2))),
    )


def fixed_factors(u: Float[np.ndarray, "P R"], v: Float[np.ndarray, "R D"]) -> Factors:
    """The u and v of the same matrix whose gauge is fixed: ||u|| = sqrt(l) and mean(u) > 0.

    Of rank r, the columns of u are orthogonal, in the order of their singular values, each with that norm and sign.
    A column with mean 0 gets the sign that makes the mean of its row of v positive. A matrix of zeros has a v of zeros.
    """
    length, rank = u.shape
    left, values, right = np.linalg.svd(u @ v, full_matrices=False)
    left, right = left[:, :rank] * np.sqrt(length), values[:rank, None] * right[:rank] / np.sqrt(length)
    signs = np.where(left.mean(axis=0) != 0, np.sign(left.mean(axis=0)), np.where(right.mean(axis=1) < 0, -1.0, 1.0))
    return left * signs, right * signs[:, None]


def cancellation(factors: Sequence[Factors]) -> float:
    """How far averaging the factors is from averaging the matrices.

    Frobenius norm of mean(u) mean(v) - mean(u v), relative to that of mean(u v), with means over tasks: 0 where nothing
    is lost, 1 where the means of the factors cancel altogether. 0 if the mean of the matrices is 0 too.
    """
    product = np.mean([u for u, _ in factors], axis=0) @ np.mean([v for _, v in factors], axis=0)
    mean = np.mean([u @ v for u, v in factors], axis=0)
    norm = np.linalg.norm(mean)
    return float(np.linalg.norm(product - mean) / norm) if norm > 0 else 0.0
