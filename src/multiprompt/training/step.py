"""One optimiser step of one run, or of several that share the passes through the backbone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from multiprompt.data import MICRO_BATCH_COST, cut_by_length
from multiprompt.methods import Share, losses_together
from multiprompt.seeding import derive_seed
from multiprompt.training.run import Run, StepResult

JOINED_EXAMPLES = 64
"""Most examples of several runs in one pass; see docs/performance.md."""

Piece = tuple[Run, int]
"""A micro-batch: the run, and the micro-batch's position in its step."""


def step(runs: Sequence[Run]) -> dict[Run, StepResult]:
    """The gradients of all micro-batches of all runs, then one update of each run.

    A run whose loss or gradient is not finite is not updated and holds its error; the others go on.

    Returns:
        The results of the runs that were updated.
    """
    for run in runs:
        run.set_rates()
        run.optimiser.zero_grad(set_to_none=True)
    sums = {run: _Sums(run) for run in runs}
    for bundle in _bundles(sums):
        _add_gradients(bundle, sums)
    return {run: sums[run].result(norm) for run in runs if (norm := _update(run)) is not None}


def _add_gradients(bundle: Sequence[Piece], sums: Mapping[Run, _Sums]) -> None:
    """One pass through the backbone, and back."""
    losses = losses_together([sums[run].share(index) for run, index in bundle])
    totals = [sums[run].loss(each) for (run, _), each in zip(bundle, losses, strict=True)]
    finite = torch.isfinite(torch.stack(totals).detach()).tolist()
    for (run, index), each, sound in zip(bundle, losses, finite, strict=True):
        if sound:
            sums[run].add(index, each)
        else:
            broken = [term for term, values in each.items() if not bool(torch.isfinite(values).all())]
            run.fail(f"the loss is not finite (terms: {', '.join(broken)})")
    if any(finite):
        torch.stack([total for total, sound in zip(totals, finite, strict=True) if sound]).sum().backward()


def _update(run: Run) -> float | None:
    """Clip and update. Returns the norm of the gradient before clipping, or None if the run has failed."""
    if run.error is not None:
        return None
    parameters = [p for group in run.optimiser.param_groups for p in group["params"] if p.grad is not None]
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, run.training.options.clip))
    if not math.isfinite(norm):
        run.fail(f"the gradient is not finite ({norm})")
        return None
    run.optimiser.step()
    return norm


class _Sums:
    """What the micro-batches of a run's step add up to.

    Every term is divided by its count over the whole step, so the gradient is the same however the step is cut.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.method = run.training.method
        self.batches = [batch.to(self.method.backbone.device) for batch in next(run.training.stream)]
        self.counts = [self.method.counts(batch) for batch in self.batches]
        self.weights = self.method.weights
        self.totals = {term: sum(float(count[term].sum()) for count in self.counts) for term in self.weights}
        self.terms = dict.fromkeys(self.weights, 0.0)
        self.tasks: dict[int, list[float]] = {}

    def share(self, index: int) -> Share:
        """A micro-batch with the seed of its dropout masks."""
        seed = derive_seed(self.run.training.seed, "dropout", self.run.state.step, index)
        return Share(self.method, self.batches[index], seed)

    def loss(self, sums: dict[str, Tensor]) -> Tensor:
        # Sums start from a tensor, so that the loss of one term is a tensor too.
        return torch.stack([self.weights[term] * sums[term].sum() / self.totals[term] for term in self.weights]).sum()

    def add(self, index: int, sums: dict[str, Tensor]) -> None:
        for term in self.weights:
            self.terms[term] += float(sums[term].detach().sum()) / self.totals[term]
        task_ids, items = self.batches[index].task_ids.tolist(), self.counts[index]["task"].tolist()
        for task, value, count in zip(task_ids, sums["task"].tolist(), items, strict=True):
            entry = self.tasks.setdefault(task, [0.0, 0.0])
            entry[0] += value
            entry[1] += count

    def result(self, norm: float) -> StepResult:
        return StepResult(
            loss=sum(self.weights[term] * value for term, value in self.terms.items()),
            terms=self.terms,
            task_losses={task: total / items for task, (total, items) in sorted(self.tasks.items())},
            gradient_norm=norm,
            examples=sum(map(len, self.batches)),
        )


def _bundles(sums: Mapping[Run, _Sums]) -> list[list[Piece]]:
    """Which micro-batches go through the backbone together: those of like length, in pieces that fit into memory."""
    pieces = [(run, index) for run, each in sums.items() for index in range(len(each.batches))]
    if len(sums) == 1:
        return [[piece] for piece in pieces]
    batches = [sums[run].batches[index] for run, index in pieces]
    widths = [
        batch.input_ids.shape[1] + run.training.method.prompt_length
        for batch, (run, _) in zip(batches, pieces, strict=True)
    ]
    examples = np.array([len(batch) for batch in batches])
    most = min(run.training.options.max_micro_batch or JOINED_EXAMPLES for run in sums)
    pads = pieces[0][0].training.method.backbone.pads
    cuts = [np.arange(len(pieces))]
    if pads:
        cuts = cut_by_length(np.array(widths), MICRO_BATCH_COST, examples=examples)
    bundles: list[list[Piece]] = []
    for cut in cuts:
        room = 0
        for position in cut.tolist():
            if room < examples[position]:
                bundles.append([])
                room = most
            bundles[-1].append(pieces[position])
            room -= int(examples[position])
    return bundles
