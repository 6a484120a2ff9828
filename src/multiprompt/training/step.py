"""One optimiser step of one run, or of several that share the passes through the backbone.

Several processes draw the same step, compute each their own examples of it, add up their gradients and make the same
update; see ``multiprompt.parallel``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from multiprompt.batch import Batch
from multiprompt.data import cut_by_length
from multiprompt.methods import Share, losses_together
from multiprompt.parallel import workers
from multiprompt.seeding import derive_seed
from multiprompt.training.run import Run, StepResult

JOINED_EXAMPLES = 128
"""Most examples of several runs in one pass; see docs/performance.md."""

JOINED_TOKENS = 10_000
"""Most padded tokens of several runs in one pass, prompts included: a batch of 28 sources of the study's 356 tokens."""

JOINED_PASS_COST = 1000
"""What one more pass of several runs costs, in padded tokens of work; see docs/performance.md."""

Piece = tuple[Run, Share]
"""What a run puts into one pass: a micro-batch, or some of its examples; of it, what this process computes."""


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
    if workers().count > 1:
        _exchange(sums)
    return {run: sums[run].result(*norms) for run, norms in _update(runs).items()}


def _add_gradients(bundle: Sequence[Piece], sums: Mapping[Run, _Sums]) -> None:
    """One pass through the backbone, and back."""
    losses = losses_together([share for _, share in bundle])
    parts = [
        (run, share, term, values)
        for (run, share), each in zip(bundle, losses, strict=True)
        for term, values in each.items()
    ]
    # All in one: a tensor of its own for every run would be most of the work where the runs have few examples.
    values = torch.cat([values for *_, values in parts])
    scales = np.repeat(
        [sums[run].scale(term) for run, _, term, _ in parts], sizes := [len(values) for *_, values in parts]
    )
    numbers = np.split(values.detach().double().cpu().numpy(), np.cumsum(sizes)[:-1])
    broken: dict[Run, list[str]] = {}
    for (run, share, term, _), of_examples in zip(parts, numbers, strict=True):
        if np.isfinite(of_examples).all():
            sums[run].add(share.batch, term, of_examples)
        else:
            broken.setdefault(run, []).append(term)
    for run, terms in broken.items():
        run.fail(f"the loss is not finite (terms: {', '.join(dict.fromkeys(terms))})")
    weighed = values * torch.from_numpy(scales).to(values)
    if broken:
        sound = np.repeat([run not in broken for run, *_ in parts], sizes)
        weighed = weighed[torch.from_numpy(sound).to(values.device)]
    if len(weighed):
        weighed.sum().backward()


def _update(runs: Sequence[Run]) -> dict[Run, tuple[float, dict[int, float]]]:
    """Clip the gradient of every run by its own norm, and update.

    Returns:
        For the runs that were updated the norm of the gradient before clipping, and those of every task's own tensors
        if they will be logged.
    """
    gradients = {run: [p.grad for p in run.parameters if p.grad is not None] for run in runs if run.error is None}
    norms = _norms(gradients)
    updated, factors = {}, []
    for run, norm in norms.items():
        if not math.isfinite(norm):
            run.fail(f"the gradient is not finite ({norm})")
            continue
        updated[run] = norm, _task_gradients(run) if run.logs_next else {}
        factors += [min(1.0, run.training.options.clip / (norm + 1e-6))] * len(gradients[run])
    # All in one: calls for every run's few small tensors would take longer than the arithmetic.
    if factors:
        torch._foreach_mul_([gradient for run in updated for gradient in gradients[run]], factors)
    for run in updated:
        run.optimiser.step()
    return updated


def _norms(gradients: Mapping[Run, Sequence[Tensor]]) -> dict[Run, float]:
    """The norm of all tensors of each run, with one transfer from the device."""
    every = [gradient for each in gradients.values() for gradient in each]
    squares = torch.stack(torch._foreach_norm(every)).double().square().tolist() if every else []
    ends = itertools.accumulate(map(len, gradients.values()), initial=0)
    return {run: math.sqrt(sum(squares[a:b])) for run, (a, b) in zip(gradients, itertools.pairwise(ends), strict=True)}


def _task_gradients(run: Run) -> dict[int, float]:
    """The norm of the gradient of what every task alone trains, for the tasks that have one, before clipping."""
    gradients = {
        task: [parameter.grad.flatten() for parameter in parameters if parameter.grad is not None]
        for task, parameters in enumerate(run.training.method.task_parameters())
    }
    present = {task: torch.cat(each).norm() for task, each in gradients.items() if each}
    return dict(zip(present, torch.stack(list(present.values())).tolist(), strict=True)) if present else {}


def _exchange(sums: Mapping[Run, _Sums]) -> None:
    """Add up what the processes have of the step, and end a run everywhere that has failed anywhere.

    A parameter without a gradient in every process, such as that of an absent task, stays without one.
    """
    runs = list(sums)
    numbers = [each.numbers() for each in sums.values()]
    failed = torch.tensor([float(run.error is not None) for run in runs], dtype=torch.float64)
    present = [torch.tensor([float(p.grad is not None) for p in run.parameters]) for run in runs]
    workers().sum_([failed, *numbers, *present])
    if failed.any():
        for position, errors in enumerate(zip(*workers().gather([run.error for run in runs]), strict=True)):
            runs[position].error = next((error for error in errors if error is not None), None)
    gradients = []
    for run, total, counts in zip(runs, numbers, present, strict=True):
        sums[run].take(total)
        if run.error is None:
            for parameter, count in zip(run.parameters, counts.tolist(), strict=True):
                if count:
                    parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                    gradients.append(parameter.grad)
    workers().sum_(gradients)


def own_examples(batches: Sequence[Batch]) -> dict[int, Batch]:
    """What this process computes of a step's micro-batches, by their positions; without those it has nothing of.

    The examples are dealt out in turn from the shortest to the longest, across micro-batches, so that all processes
    have about as much to do.
    """
    rank, count = workers().rank, workers().count
    if count == 1:
        return dict(enumerate(batches))
    own, dealt = {}, 0
    for index, batch in enumerate(batches):
        order = torch.argsort(batch.source_lengths, stable=True)
        rows = order[(rank - dealt) % count :: count]
        dealt += len(batch)
        if len(rows):
            own[index] = batch.part(rows.sort().values)
    return own


class _Sums:
    """What the micro-batches of a run's step add up to.

    Every term is divided by its count over the whole step, so the gradient is the same however the step is cut, and
    however it is shared out to processes.

    Attributes:
        batches: the micro-batches of the step.
        own: what this process computes of them, by position.
        totals: number of items of every term.
        items: number of items of every task.
        examples: number of examples of every task.
        terms: every term, already divided.
        tasks: the summed task loss of every task.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.method = run.training.method
        self.batches = [batch.to(self.method.backbone.device) for batch in next(run.training.stream)]
        self.own = own_examples(self.batches)
        counts = [self.method.counts(batch) for batch in self.batches]
        self.weights = self.method.weights
        self.totals = {term: sum(float(count[term].sum()) for count in counts) for term in self.weights}
        self.items: dict[int, float] = {}
        self.examples: dict[int, int] = {}
        for batch, count in zip(self.batches, counts, strict=True):
            for task, number in zip(batch.task_ids.tolist(), count["task"].tolist(), strict=True):
                self.items[task] = self.items.get(task, 0.0) + number
                self.examples[task] = self.examples.get(task, 0) + 1
        self.terms = dict.fromkeys(self.weights, 0.0)
        self.tasks = dict.fromkeys(self.items, 0.0)

    def share(self, index: int, rows: Int[np.ndarray, " _"] | None = None) -> Share:
        """A micro-batch, or some of its examples, with the seed of the micro-batch's dropout masks."""
        process = () if workers().count == 1 else (workers().rank,)
        seed = derive_seed(self.run.training.seed, "dropout", self.run.state.step, index, *process)
        batch = self.own[index]
        return Share(
            self.method, batch if rows is None else batch.part(torch.from_numpy(rows).to(batch.labels.device)), seed
        )

    def scale(self, term: str) -> float:
        """What an item of a term counts in the loss."""
        return self.weights[term] / self.totals[term]

    def add(self, batch: Batch, term: str, values: Float[np.ndarray, " B"]) -> None:
        """Count a term's sums of some examples."""
        self.terms[term] += float(values.sum()) / self.totals[term]
        if term == "task":
            for task, value in zip(batch.task_ids.tolist(), values.tolist(), strict=True):
                self.tasks[task] += value

    def numbers(self) -> Tensor:
        """What is to be added up over processes, in one row."""
        return torch.tensor([*self.terms.values(), *self.tasks.values()], dtype=torch.float64)

    def take(self, numbers: Tensor) -> None:
        """Put back ``numbers()``, added up."""
        values = numbers.tolist()
        self.terms = dict(zip(self.terms, values, strict=False))
        self.tasks = dict(zip(self.tasks, values[len(self.terms) :], strict=True))

    def result(self, norm: float, gradients: dict[int, float]) -> StepResult:
        return StepResult(
            loss=sum(self.weights[term] * value for term, value in self.terms.items()),
            terms=self.terms,
            task_losses={task: total / self.items[task] for task, total in sorted(self.tasks.items())},
            gradient_norm=norm,
            gradients=gradients,
            examples=self.examples,
        )


def _bundles(sums: Mapping[Run, _Sums]) -> list[list[Piece]]:
    """What goes through the backbone together: examples of like length, in passes that fit into memory.

    The passes are cut example by example, whichever run an example belongs to, so that little is padded. With dropout a
    micro-batch stays in one piece, because its masks are drawn for all of it at once.
    """
    places = [(run, index) for run, each in sums.items() for index in each.own]
    if len(sums) == 1 or not places:
        return [[(run, sums[run].share(index))] for run, index in places]
    method = places[0][0].training.method
    most = min(run.training.options.max_micro_batch or JOINED_EXAMPLES for run in sums)
    lengths = [
        sums[run].own[index].source_lengths.long().cpu().numpy() + run.training.method.prompt_length
        for run, index in places
    ]
    sizes = np.array([len(each) for each in lengths])
    if method.dropout:
        longest = np.array([each.max() for each in lengths])
        groups = _alike(longest, sizes, method.backbone.pads)
        passes = [part for group in groups for part in _whole(group, sizes, _room(longest[group], most))]
        return [[(run, sums[run].share(index)) for run, index in (places[each] for each in one)] for one in passes]
    owners, every = np.repeat(np.arange(len(places)), sizes), np.concatenate(lengths)
    rows = np.concatenate([np.arange(size) for size in sizes])
    bundles = []
    for group in _alike(every, np.ones_like(owners), method.backbone.pads):
        for examples in np.array_split(group, math.ceil(len(group) / _room(every[group], most))):
            bundle = []
            for owner in np.unique(owners[examples]).tolist():
                run, index = places[owner]
                own = rows[examples[owners[examples] == owner]]
                bundle.append((run, sums[run].share(index, own if len(own) < sizes[owner] else None)))
            bundles.append(bundle)
    return bundles


def _alike(lengths: Int[np.ndarray, " n"], examples: Int[np.ndarray, " n"], pads: bool) -> list[Int[np.ndarray, " _"]]:
    """Positions in groups of like length, where the backbone pads; else all of them in one group."""
    return cut_by_length(lengths, JOINED_PASS_COST, examples=examples) if pads else [np.arange(len(lengths))]


def _room(lengths: Int[np.ndarray, " n"], most: int) -> int:
    """Examples of such lengths that go through in one pass."""
    return max(1, min(most, JOINED_TOKENS // int(lengths.max())))


def _whole(group: Int[np.ndarray, " _"], examples: Int[np.ndarray, " n"], most: int) -> list[list[int]]:
    """Positions in passes of at most ``most`` examples; what alone has more is a pass of its own."""
    passes: list[list[int]] = []
    room = 0
    for position in group.tolist():
        if room < examples[position]:
            passes.append([])
            room = most
        passes[-1].append(position)
        room -= int(examples[position])
    return passes
