"""One optimiser step of one training, or of several that share the passes through the backbone.

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
from multiprompt.parallel import processes
from multiprompt.seeding import derive_seed
from multiprompt.training.active import LiveTraining, StepResult

Piece = tuple[LiveTraining, Share]
"""What a training puts into one pass: a micro-batch, or some of its examples; of it, what this process computes."""


def step(trainings: Sequence[LiveTraining]) -> dict[LiveTraining, StepResult]:
    """The gradients of all micro-batches of all trainings, then one update of each training.

    A training whose loss or gradient is not finite is not updated and holds its error; the others go on.

    Returns:
        The results of the trainings that were updated.
    """
    for live in trainings:
        live.set_rates()
        live.optimiser.zero_grad(set_to_none=True)
    sums = {live: _Sums(live) for live in trainings}
    passes = [_add_gradients(bundle, sums) for bundle in _bundles(sums)]
    if processes().count > 1:
        _note(passes, _read([each.values for each in passes]), sums)
        _exchange(sums)
        passes = []
    norms = _look(trainings, passes, sums)
    return {
        live: sums[live].result(*norms[live]) for live in _update({live: norm for live, (norm, _) in norms.items()})
    }


@dataclass(frozen=True)
class _Pass:
    """What one pass through the backbone has given.

    Attributes:
        parts: for every training, its examples and the name of a term of the loss, the number of values.
        values: the term's sums of the examples, part after part; on the device.
    """

    parts: list[tuple[LiveTraining, Batch, str, int]]
    values: Float[Tensor, " total"]


def _add_gradients(bundle: Sequence[Piece], sums: Mapping[LiveTraining, _Sums]) -> _Pass:
    """One pass through the backbone, and back.

    A loss that is not finite goes back too, since nobody has looked at it yet. It spoils the gradients of its own
    training alone: no value of one training's examples enters those of another's.
    """
    losses = losses_together([share for _, share in bundle])
    parts = [
        (live, share.batch, term.name, term.sums)
        for (live, share), terms in zip(bundle, losses, strict=True)
        for term in terms
    ]
    # All in one: a tensor of its own for every training would be most of the work where they have few examples.
    values = torch.cat([values for *_, values in parts])
    sizes = [len(values) for *_, values in parts]
    scales = np.repeat([sums[live].scale(term) for live, _, term, _ in parts], sizes)
    (values * sent(scales, values.device).to(values.dtype)).sum().backward()
    return _Pass(
        [(live, batch, term, size) for (live, batch, term, _), size in zip(parts, sizes, strict=True)], values.detach()
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
    """Count the losses of all passes; a training that has one which is not finite ends here."""
    broken: dict[LiveTraining, tuple[list[str], set[int]]] = {}
    for each, values in zip(passes, numbers, strict=True):
        ends = np.cumsum([size for *_, size in each.parts])[:-1]
        for (live, batch, term, _), of_examples in zip(each.parts, np.split(values, ends), strict=True):
            if np.isfinite(of_examples).all():
                sums[live].add(batch, term, of_examples)
            else:
                terms, tasks = broken.setdefault(live, ([], set()))
                terms.append(term)
                tasks.update(batch.known.tasks[~np.isfinite(of_examples)].tolist())
    for live, (terms, tasks) in broken.items():
        names = live.training.task_names
        of = " of " + ", ".join(names[task] for task in sorted(tasks)) if names else ""
        live.fail(f"the loss{of} is not finite (terms: {', '.join(dict.fromkeys(terms))})")


def _look(
    trainings: Sequence[LiveTraining], passes: Sequence[_Pass], sums: Mapping[LiveTraining, _Sums]
) -> dict[LiveTraining, tuple[float, dict[int, float]]]:
    """All that the host has to know of a step, in one go; until here it has not waited for the device.

    Returns:
        For every training without an error the norm of its gradients, and those of every task's own tensors if they
        will be logged; both before clipping.
    """
    whole = {live: torch.stack(torch._foreach_norm(each)) for live in trainings if (each := _gradients(live))}
    of_tasks = {live: _task_norms(live) for live in whole if live.logs_next}
    every = [norm for each in of_tasks.values() for norm in each.values()]
    numbers = iter(_read([*(each.values for each in passes), *whole.values(), *every]))
    _note(passes, [next(numbers) for _ in passes], sums)
    norms = {live: math.sqrt(np.square(next(numbers)).sum()) for live in whole}
    own = {live: {task: float(next(numbers)[0]) for task in each} for live, each in of_tasks.items()}
    return {live: (norms.get(live, 0.0), own.get(live, {})) for live in trainings if live.error is None}


def _update(norms: Mapping[LiveTraining, float]) -> list[LiveTraining]:
    """Clip the gradient of every training by its own norm, and update.

    Returns:
        The trainings that were updated.
    """
    updated, gradients, factors = [], [], []
    for live, norm in norms.items():
        if not math.isfinite(norm):
            live.fail(f"the gradient is not finite ({norm})")
            continue
        updated.append(live)
        gradients += (own := _gradients(live))
        factors += [min(1.0, live.training.options.clip / (norm + 1e-6))] * len(own)
    # All in one: calls for every training's few small tensors would take longer than the arithmetic.
    if factors:
        torch._foreach_mul_(gradients, factors)
    for live in updated:
        try:
            live.optimiser.step()
        except RuntimeError as error:
            if "overflow" not in str(error):
                raise
            live.fail(f"the update is beyond float32 ({error})")  # torch cannot even write the learning rate
    return [live for live in updated if live.error is None]


def _gradients(live: LiveTraining) -> list[Tensor]:
    return [parameter.grad for parameter in live.parameters if parameter.grad is not None]


def _task_norms(live: LiveTraining) -> dict[int, Tensor]:
    """The norm of the gradient of what every task alone trains, for the tasks that have one, before clipping."""
    gradients = {
        task: [parameter.grad.flatten() for parameter in parameters if parameter.grad is not None]
        for task, parameters in enumerate(live.training.method.task_parameters())
    }
    return {task: torch.cat(each).norm() for task, each in gradients.items() if each}


def _exchange(sums: Mapping[LiveTraining, _Sums]) -> None:
    """Add up what the processes have of the step, and end a training everywhere that has failed anywhere.

    A parameter without a gradient in every process, such as that of an absent task, stays without one.
    """
    trainings = list(sums)
    numbers = [each.numbers() for each in sums.values()]
    failed = torch.tensor([float(live.error is not None) for live in trainings], dtype=torch.float64)
    present = [torch.tensor([float(p.grad is not None) for p in live.parameters]) for live in trainings]
    processes().sum_([failed, *numbers, *present])
    if failed.any():
        for position, errors in enumerate(zip(*processes().gather([live.error for live in trainings]), strict=True)):
            trainings[position].error = next((error for error in errors if error is not None), None)
    gradients = []
    for live, total, counts in zip(trainings, numbers, present, strict=True):
        sums[live].take(total)
        if live.error is None:
            for parameter, count in zip(live.parameters, counts.tolist(), strict=True):
                if count:
                    parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                    gradients.append(parameter.grad)
    processes().sum_(gradients)


def own_examples(batches: Sequence[Batch]) -> dict[int, Batch]:
    """What this process computes of a step's micro-batches, by their positions; without those it has nothing of.

    The examples are dealt out in turn from the shortest to the longest, across micro-batches, so that all processes
    have about as much to do.
    """
    rank, count = processes().rank, processes().count
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
    """What the micro-batches of a training's step add up to.

    Every term is divided by its count over the whole step, so the gradient is the same however the step is cut, and
    however it is shared out to processes.

    Attributes:
        batches: the micro-batches of the step, on the host.
        own: what this process computes of them, by position.
        known: the terms of the first micro-batch, by their names.
        totals: number of items of every term.
        items: number of items of every task.
        examples: number of examples of every task.
        terms: every term, already divided.
        tasks: the summed task loss of every task.
    """

    def __init__(self, live: LiveTraining) -> None:
        self.live = live
        self.method = live.training.method
        self.batches = next(live.training.stream)
        self.own = own_examples(self.batches)
        terms = [self.method.terms(batch) for batch in self.batches]
        self.known = {term.name: term for term in terms[0]}
        self.totals = {
            each[0].name: sum(float(term.counts.sum()) for term in each) for each in zip(*terms, strict=True)
        }
        self.items: dict[int, float] = {}
        self.examples: dict[int, int] = {}
        for batch, (of_task, *_) in zip(self.batches, terms, strict=True):
            for task, number in zip(batch.known.tasks.tolist(), of_task.counts.tolist(), strict=True):
                self.items[task] = self.items.get(task, 0.0) + number
                self.examples[task] = self.examples.get(task, 0) + 1
        self.terms = dict.fromkeys(self.known, 0.0)
        self.tasks = dict.fromkeys(self.items, 0.0)

    def share(self, index: int, rows: Int[np.ndarray, " _"] | None = None) -> Share:
        """A micro-batch, or some of its examples, on the device, with the seed of the micro-batch's dropout masks."""
        process = () if processes().count == 1 else (processes().rank,)
        seed = derive_seed(self.live.training.seed, "dropout", self.live.state.step, index, *process)
        batch = self.own[index] if rows is None else self.own[index].part(rows)
        return Share(self.method, batch.to(self.method.backbone.device), seed)

    def scale(self, term: str) -> float:
        """What an item of a term counts in the loss."""
        return self.known[term].weight / self.totals[term]

    def add(self, batch: Batch, term: str, values: Float[np.ndarray, " B"]) -> None:
        """Count a term's sums of some examples."""
        self.terms[term] += float(values.sum()) / self.totals[term]
        if self.known[term].kind == "task":
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
            loss=sum(self.known[term].weight * value for term, value in self.terms.items()),
            terms=self.terms,
            task_losses={task: total / self.items[task] for task, total in sorted(self.tasks.items())},
            gradient_norm=norm,
            gradients=gradients,
            examples=self.examples,
        )


def _bundles(sums: Mapping[LiveTraining, _Sums]) -> list[list[Piece]]:
    """What goes through the backbone together: examples of like length, in passes that fit into memory.

    The passes are cut example by example, whichever training an example belongs to, so that little is padded. With
    dropout a micro-batch stays in one piece, because its masks are drawn for all of it at once.
    """
    places = [(live, index) for live, each in sums.items() for index in each.own]
    if len(sums) == 1 or not places:
        return [[(live, sums[live].share(index))] for live, index in places]
    method = places[0][0].training.method
    costs = method.backbone.costs
    most = min(live.training.options.max_micro_batch or costs.joint_examples for live in sums)
    lengths = [_lengths(sums[live].own[index], live.training.method) for live, index in places]
    sizes = np.array([len(each) for each in lengths])
    if method.dropout:
        longest = np.array([each.max() for each in lengths])
        groups = _alike(longest, sizes, method.backbone)
        passes = [part for group in groups for part in _whole(group, sizes, _room(longest[group], most, costs))]
        return [[(live, sums[live].share(index)) for live, index in (places[each] for each in one)] for one in passes]
    owners, every = np.repeat(np.arange(len(places)), sizes), np.concatenate(lengths)
    rows = np.concatenate([np.arange(size) for size in sizes])
    bundles = []
    for group in _alike(every, np.ones_like(owners), method.backbone):
        for examples in np.array_split(group, math.ceil(len(group) / _room(every[group], most, costs))):
            bundle = []
            for owner in np.unique(owners[examples]).tolist():
                live, index = places[owner]
                own = rows[examples[owners[examples] == owner]]
                bundle.append((live, sums[live].share(index, own if len(own) < sizes[owner] else None)))
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
