"""Shared prompt times a low-rank matrix per task: the decomposition of multitask prompt tuning."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from multiprompt.prompts.base import Prompt


def compose(
    shared: Float[Tensor, "P D"], u: Float[Tensor, "K P R"], v: Float[Tensor, "K R D"]
) -> Float[Tensor, "K P D"]:
    """Prompt of every task: the shared prompt times that task's low-rank matrix, elementwise (Eq. 2 of the paper).

    Means the same as ``torch.stack([shared * (u[k] @ v[k]) for k in range(len(u))])``. With ``u`` and ``v`` all ones
    and R = 1, every task gets the shared prompt. Reference: Wang et al., ICLR 2023, arXiv:2303.02861.

    Args:
        shared: the shared prompt.
        u: the left factor of every task.
        v: the right one.

    Returns:
        The prompts, ``[K, P, D]``.

    Raises:
        RuntimeError: the shapes do not fit.
    """
    return shared * (u @ v)


def start_task_factors(
    length: int,
    width: int,
    rank: int = 1,
    start: str = "ones",
    generator: torch.Generator | None = None,
    spread: float = 0.1,
) -> tuple[Float[Tensor, "P R"], Float[Tensor, "R D"]]:
    """First values of one task's ``u`` and ``v``. The paper does not give them.

    * ``ones``: the task's matrix is all ones, so its prompt starts as the shared prompt itself, and the factors of
      several tasks can be averaged without cancelling each other's signs.
    * ``near_one``: as ``ones``, with every entry drawn from N(1, spread^2), which tells the tasks apart at once.
    * ``peft``: N(0, 0.02^2) for both, as in the peft library. The prompt then starts 4e-4 times the shared prompt
      with random signs: use it to compare with that library.

    Further ranks of ``ones`` and ``near_one`` start with ``u`` zero and ``v`` from N(0, spread^2): the matrix stays
    what rank one gives, and ``u`` has a gradient that differs between ranks (equal ranks would stay equal for ever).

    Returns:
        ``u`` of shape ``[P, R]`` and ``v`` of shape ``[R, D]``.

    Raises:
        ValueError: the start is unknown or the rank is not positive.
    """
    if rank < 1:
        raise ValueError(f"the rank is {rank}; expected 1 or more (the paper uses 1)")
    if start == "peft":
        u = torch.randn(length, rank, generator=generator) * 0.02
        v = torch.randn(rank, width, generator=generator) * 0.02
        return u, v
    if start not in ("ones", "near_one"):
        raise ValueError(f"unknown start of the task factors {start!r}; known: ones, near_one, peft")
    u = torch.zeros(length, rank)
    v = torch.randn(rank, width, generator=generator) * spread
    noise = spread if start == "near_one" else 0.0
    u[:, 0] = 1 + noise * torch.randn(length, generator=generator)
    v[0] = 1 + noise * torch.randn(width, generator=generator)
    return u, v


class DecomposedPrompt(Prompt):
    """One shared prompt and, for each task, the factors ``u`` and ``v`` of its low-rank matrix (Eq. 2).

    Args:
        shared: first value of the shared prompt.
        factors: for each task the first values of ``u`` ``[P, R]`` and ``v`` ``[R, D]``.

    Raises:
        ValueError: no task is given, or a shape does not fit the shared prompt.
    """

    def __init__(
        self,
        shared: Float[Tensor, "P D"],
        factors: Sequence[tuple[Float[Tensor, "P R"], Float[Tensor, "R D"]]],
    ) -> None:
        super().__init__()
        if not factors:
            raise ValueError("a DecomposedPrompt needs the factors of at least one task")
        self.num_tasks = len(factors)
        self.length, self.width = shared.shape
        self.rank = factors[0][0].shape[1]
        for task, (u, v) in enumerate(factors):
            if u.shape != (self.length, self.rank) or v.shape != (self.rank, self.width):
                raise ValueError(
                    f"task {task}: u is {tuple(u.shape)} and v is {tuple(v.shape)}; a shared prompt of "
                    f"{tuple(shared.shape)} needs {(self.length, self.rank)} and {(self.rank, self.width)}"
                )
        self.shared = nn.Parameter(shared.detach().clone().float())
        self.u = nn.ParameterList(u.detach().clone().float() for u, _ in factors)
        self.v = nn.ParameterList(v.detach().clone().float() for _, v in factors)

    def collapse(self, tasks: list[int]) -> Float[Tensor, "K P D"]:
        u = torch.stack([self.u[task] for task in tasks])
        v = torch.stack([self.v[task] for task in tasks])
        return compose(self.shared, u, v)

    def mean_factors(self) -> tuple[Float[Tensor, "P R"], Float[Tensor, "R D"]]:
        """Mean of ``u`` and mean of ``v`` over the tasks, each on its own: the start of a new task (section 3.2).

        The product of the means is not the mean of the products; the paper averages the vectors.
        """
        return torch.stack(list(self.u)).mean(0).detach(), torch.stack(list(self.v)).mean(0).detach()

    def factor_scales(self) -> list[float]:
        """For each task the root mean square of its low-rank matrix; 1 where the task prompt has the shared scale.

        ``u`` and ``v`` alone mean little: (c u, v / c) gives the same matrix for every c, also for c = -1.
        """
        with torch.no_grad():
            return [float((u @ v).pow(2).mean().sqrt()) for u, v in zip(self.u, self.v, strict=True)]
