"""One optimiser step of one run, or of several that share the passes through the backbone.

Several processes draw the same step, compute each their own examples of it, add up their gradients and make the same
update; see ``multiprompt.parallel``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from multiprompt.backbone.base import Backbone
from multiprompt.backbone.costs import PassCosts
from multiprompt.batch import Batch, sent
from multiprompt.data import cut_by_length
from multiprompt.methods import Method, Share, losses_together
from multiprompt.parallel import workers
from multiprompt.seeding import derive_seed
from multiprompt.training.active import LiveTraining, StepResult

Piece = tuple[LiveTraining, Share]
"""What a run puts into one pass: a micro-batch, or some of its examples; of it, what this process computes."""


def step(runs: Sequence[LiveTraining]) -> dict[LiveTraining, StepResult]:
    """The gradients of all micro-batches of all runs, then one update of each run.

    A run whose loss or gradient is not finite is not updated and holds its error; the others go on.

    Returns:
        The results of the runs that were updated.
    """
    for run in runs:
        run.set_rates()
        run.optimiser.zero_grad(set_to_none=True)
    sums = {run: _Sums(run) for run in runs}
    passes = [_add_gradients(bundle, sums) for bundle in _bundles(sums)]
    if workers().count > 1:
        _note(passes, _read([each.values for each in passes]), sums)
        _exchange(sums)
        passes = []
    norms = _look(runs, passes, sums)
    return {run: sums[run].result(*norms[run]) for run in _update({run: norm for run, (norm, _) in norms.items()})}


@dataclass(frozen=True)
class _Pass:
    """What one pass through the backbone has given.

    Attributes:
        parts: for every run, its examples and a term of the loss, the number of values.
        values: the term's sums of the examples, part after part; on the device.
    """

    parts: list[tuple[LiveTraining, Batch, str, int]]
    values: Float[Tensor, " total"]


def _add_gradients(bundle: Sequence[Piece], sums: Mapping[LiveTraining, _Sums]) -> _Pass:
    """One pass through the backbone, and back.

    A loss that is not finite goes back too, since nobody has looked at it yet. It spoils the gradients of its own run
    alone: no value of one run's examples enters those of another's.
    """
    losses = losses_together([share for _, share in bundle])
    parts = [
        (run, share.batch, term, values)
        for (run, share), each in zip(bundle, losses, strict=True)
        for term, values in each.items()
    ]
    # All in one: a tensor of its own for every run would be most of the work where the runs have few examples.
    values = torch.cat([values for *_, values in parts])
    sizes = [len(values) for *_, values in parts]
    scales = np.repeat([sums[run].scale(term) for run, _, term, _ in parts], sizes)
    (values * sent(scales, values.device).to(values.dtype)).sum().backward()
    return _Pass(
        [(run, batch, term, size) for (run, batch, term, _), size in zip(parts, sizes, strict=True)], values.detach()
    )


def _read(tensors: Sequence[Tensor]) -> list[Float[np.ndarray, " _"]]:
    """The numbers of some tensors, with one transfer from the device."""
    if not tensors:
        return []
    flat = torch.cat([tensor.detach().flatten() for tensor in tensors]).double().cpu().numpy()
    return np.split(flat, np.cumsum([tensor.numel() for tensor in tensors])[:-1])


def _note(
    passes: Sequence[_Pass], numbers: Sequence[Float[np.ndarray, " _"]], sums: Mapping[LiveTraining, _Sums]
) -> None:
    """Count the losses of all passes; a run that has one which is not finite ends here."""
    broken: dict[LiveTraining, tuple[list[str], set[int]]] = {}
    for each, values in zip(passes, numbers, strict=True):
        ends = np.cumsum([size for *_, size in each.parts])[:-1]
        for (run, batch, term, _), of_examples in zip(each.parts, np.split(values, ends), strict=True):
            if np.isfinite(of_examples).all():
                sums[run].add(batch, term, of_examples)
            else:
                terms, tasks = broken.setdefault(run, ([], set()))
                terms.append(term)
                tasks.update(batch.known.tasks[~np.isfinite(of_examples)].tolist())
    for run, (terms, tasks) in broken.items():
        names = run.training.task_names
        of = " of " + ", ".join(names[task] for task in sorted(tasks)) if names else ""
        run.fail(f"the loss{of} is not finite (terms: {', '.join(dict.fromkeys(terms))})")


def _look(
    runs: Sequence[LiveTraining], passes: Sequence[_Pass], sums: Mapping[LiveTraining, _Sums]
) -> dict[LiveTraining, tuple[float, dict[int, float]]]:
    """All that the host has to know of a step, in one go; until here it has not waited for the device.

    Returns:
        For every run without an error the norm of its gradients, and those of every task's own tensors if they will be
        logged; both before clipping.
    """
    whole = {run: torch.stack(torch._foreach_norm(each)) for run in runs if (each := _gradients(run))}
    of_tasks = {run: _task_norms(run) for run in whole if run.logs_next}
    every = [norm for each in of_tasks.values() for norm in each.values()]
    numbers = iter(_read([*(each.values for each in passes), *whole.values(), *every]))
    _note(passes, [next(numbers) for _ in passes], sums)
    norms = {run: math.sqrt(np.square(next(numbers)).sum()) for run in whole}
    own = {run: {task: float(next(numbers)[0]) for task in each} for run, each in of_tasks.items()}
    return {run: (norms.get(run, 0.0), own.get(run, {})) for run in runs if run.error is None}


def _update(norms: Mapping[LiveTraining, float]) -> list[LiveTraining]:
    """Clip the gradient of every run by its own norm, and update.

    Returns:
        The runs that were updated.
    """
    updated, gradients, factors = [], [], []
    for run, norm in norms.items():
        if not math.isfinite(norm):
            run.fail(f"the gradient is not finite ({norm})")
            continue
        updated.append(run)
        gradients += (own := _gradients(run))
        factors += [min(1.0, run.training.options.clip / (norm + 1e-6))] * len(own)
    # All in one: calls for every run's few small tensors would take longer than the arithmetic.
    if factors:
        torch._foreach_mul_(gradients, factors)
    for run in updated:
        try:
            run.optimiser.step()
        except RuntimeError as error:
            if "overflow" not in str(error):
                raise
            run.fail(f"the update is beyond float32 ({error})")  # torch cannot even write the learning rate
    return [run for run in updated if run.error is None]


def _gradients(run: LiveTraining) -> list[Tensor]:
    return [parameter.grad for parameter in run.parameters if parameter.grad is not None]


def _task_norms(run: LiveTraining) -> dict[int, Tensor]:
    """The norm of the gradient of what every task alone trains, for the tasks that have one, before clipping."""
    gradients = {
        task: [parameter.grad.flatten() for parameter in parameters if parameter.grad is not None]
        for task, parameters in enumerate(run.training.method.task_parameters())
    }
    return {task: torch.cat(each).norm() for task, each in gradients.items() if each}


def _exchange(sums: Mapping[LiveTraining, _Sums]) -> None:
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
        order = np.argsort(batch.source_lengths, kind="stable")
        rows = order[(rank - dealt) % count :: count]
        dealt += len(batch)
        if len(rows):
            own[index] = batch.part(np.sort(rows))
    return own


class _Sums:
    """What the micro-batches of a run's step add up to.

    Every term is divided by its count over the whole step, so the gradient is the same however the step is cut, and
    however it is shared out to processes.

    Attributes:
        batches: the micro-batches of the step, on the host.
        own: what this process computes of them, by position.
        totals: number of items of every term.
        items: number of items of every task.
        examples: number of examples of every task.
        terms: every term, already divided.
        tasks: the summed task loss of every task.
    """

    def __init__(self, run: LiveTraining) -> None:
        self.run = run
        self.method = run.training.method
        self.batches = next(run.training.stream)
        self.own = own_examples(self.batches)
        counts = [self.method.counts(batch) for batch in self.batches]
        self.weights = self.method.weights
        self.totals = {term: sum(float(count[term].sum()) for count in counts) for term in self.weights}
        self.items: dict[int, float] = {}
        self.examples: dict[int, int] = {}
        for batch, count in zip(self.batches, counts, strict=True):
            for task, number in zip(batch.known.tasks.tolist(), count["task"].tolist(), strict=True):
                self.items[task] = self.items.get(task, 0.0) + number
                self.examples[task] = self.examples.get(task, 0) + 1
        self.terms = dict.fromkeys(self.weights, 0.0)
        self.tasks = dict.fromkeys(self.items, 0.0)

    def share(self, index: int, rows: Int[np.ndarray, " _"] | None = None) -> Share:
        """A micro-batch, or some of its examples, on the device, with the seed of the micro-batch's dropout masks."""
        process = () if workers().count == 1 else (workers().rank,)
        seed = derive_seed(self.run.training.seed, "dropout", self.run.state.step, index, *process)
        batch = self.own[index] if rows is None else self.own[index].part(rows)
        return Share(self.method, batch.to(self.method.backbone.device), seed)

    def scale(self, term: str) -> float:
        """What an item of a term counts in the loss."""
        return self.weights[term] / self.totals[term]

    def add(self, batch: Batch, term: str, values: Float[np.ndarray, " B"]) -> None:
        """Count a term's sums of some examples."""
        self.terms[term] += float(values.sum()) / self.totals[term]
        if term == "task":
            for task, value in zip(batch.known.tasks.tolist(), values.tolist(), strict=True):
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


def _bundles(sums: Mapping[LiveTraining, _Sums]) -> list[list[Piece]]:
    """What goes through the backbone together: examples of like length, in passes that fit into memory.

    The passes are cut example by example, whichever run an example belongs to, so that little is padded. With dropout a
    micro-batch stays in one piece, because its masks are drawn for all of it at once.
    """
    places = [(run, index) for run, each in sums.items() for index in each.own]
    if len(sums) == 1 or not places:
        return [[(run, sums[run].share(index))] for run, index in places]
    method = places[0][0].training.method
    costs = method.backbone.costs
    most = min(run.training.options.max_micro_batch or costs.joint_examples for run in sums)
    lengths = [_lengths(sums[run].own[index], run.training.method) for run, index in places]
    sizes = np.array([len(each) for each in lengths])
    if method.dropout:
        longest = np.array([each.max() for each in lengths])
        groups = _alike(longest, sizes, method.backbone)
        passes = [part for group in groups for part in _whole(group, sizes, _room(longest[group], most, costs))]
        return [[(run, sums[run].share(index)) for run, index in (places[each] for each in one)] for one in passes]
    owners, every = np.repeat(np.arange(len(places)), sizes), np.concatenate(lengths)
    rows = np.concatenate([np.arange(size) for size in sizes])
    bundles = []
    for group in _alike(every, np.ones_like(owners), method.backbone):
        for examples in np.array_split(group, math.ceil(len(group) / _room(every[group], most, costs))):
            bundle = []
            for owner in np.unique(owners[examples]).tolist():
                run, index = places[owner]
                own = rows[examples[owners[examples] == owner]]
                bundle.append((run, sums[run].share(index, own if len(own) < sizes[owner] else None)))
            bundles.append(bundle)
    return bundles


def _lengths(batch: Batch, method: Method) -> Int[np.ndarray, " B"]:
    """Positions by which examples are put together."""
    return method.backbone.positions(batch.source_lengths, batch.target_lengths) + method.prompt_length


def _alike(
    lengths: Int[np.ndarray, " n"], examples: Int[np.ndarray, " n"], backbone: Backbone
) -> list[Int[np.ndarray, " _"]]:
    """Positions in groups of like length, where the backbone pads; else all of them in one group."""
    if not backbone.pads:
        return [np.arange(len(lengths))]
    return cut_by_length(lengths, backbone.costs.joint_pass, examples=examples)


def _room(lengths: Int[np.ndarray, " n"], most: int, costs: PassCosts) -> int:
    """Examples of such lengths that go through in one pass."""
    return max(1, min(most, costs.joint_tokens // int(lengths.max())))


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
