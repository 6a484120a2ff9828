"""What the training loop, the checkpoint and the evaluation ask of a method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from multiprompt.backbone.base import Backbone, Inputs
from multiprompt.backbone.dropout import start_from_seed, state_of_seed
from multiprompt.batch import Batch
from multiprompt.errors import CheckpointError
from multiprompt.losses import token_cross_entropy
from multiprompt.terms import Term


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share a learning rate.

    Attributes:
        name: for the log.
        parameters: tensors that the optimiser moves.
        learning_rate: at the top of the schedule.
    """

    name: str
    parameters: list[nn.Parameter]
    learning_rate: float


class Method(Protocol):
    """A way to adapt the backbone.

    A loss is the weighted sum of its terms. A term has one sum per example (``losses``) and one count per example
    (known from the batch before any forward pass, ``terms``), so that the loop can cut a batch into micro-batches and
    still divide by the counts of the whole batch.

    A method is a context manager: what it changes in the backbone is in force inside the ``with`` block only, and the
    backbone comes out of it as it went in. Train and evaluate inside the block.

    Attributes:
        backbone: the frozen model.
        dropout: whether the frozen model drops out while training.
    """

    backbone: Backbone
    dropout: bool

    @property
    def prompt_length(self) -> int:
        """Rows that it puts in front of every source."""
        ...

    def terms(self, batch: Batch) -> tuple[Term, ...]:
        """The terms of the loss without sums, in the order of the log; the one of kind "task" is first."""
        ...

    def losses(self, batch: Batch) -> tuple[Term, ...]:
        """The same terms with their sums, by a pass through the backbone; with gradients."""
        ...

    def parameter_groups(self) -> list[ParameterGroup]:
        """What is trained: float32 tensors, whatever the precision of the backbone."""
        ...

    def task_parameters(self) -> list[list[nn.Parameter]]:
        """For every task what it alone trains beside what it shares with the others; empty without such parts."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """The trained tensors by name: what a checkpoint holds."""
        ...

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Put back tensors that ``tensors()`` gave.

        Raises:
            CheckpointError: a name or a shape does not fit.
        """
        ...

    def generate(self, batch: Batch, max_new_tokens: int, beams: int = 1) -> Int[Tensor, "B T"]:
        """Token ids of the answers to the sources of a batch, greedily or by beam search; its labels do not matter."""
        ...

    def rank(self, batch: Batch, answers: Sequence[Sequence[int]]) -> Float[Tensor, "B C"]:
        """Log-probability of every given answer (token ids) to every source of a batch; its labels do not matter."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class TaskMethod:
    """What the methods have in common that train on the task loss alone.

    A method says what it trains (``trained``, ``parameter_groups``), and either what it puts before the inputs
    (``prompts``, ``shift``) or how it changes the backbone (``change``).

    Args:
        backbone: the frozen model.
        dropout: whether the frozen model drops out while training, as all public code does.

    Attributes:
        joins: whether it acts on the inputs of the backbone alone, so that runs of several such methods can go through
            the backbone as one batch (``losses_together``).
        title: what it is called in errors.
    """

    joins = False
    title = "the method"

    def __init__(self, backbone: Backbone, dropout: bool) -> None:
        self.backbone = backbone
        self.dropout = dropout
        self._inside = ExitStack()

    def trained(self) -> Mapping[str, nn.Parameter]:
        """All that is trained, by name."""
        raise NotImplementedError

    def tensors(self) -> dict[str, Tensor]:
        return {name: parameter.detach() for name, parameter in self.trained().items()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        copy_into(self.trained(), tensors, self.title)

    def task_parameters(self) -> list[list[nn.Parameter]]:
        return []

    @property
    def prompt_length(self) -> int:
        return 0

    def prompts(self, batch: Batch) -> Float[Tensor, "B P D"] | None:
        """The prompt of every example; None for a method without one."""
        return None

    def shift(self) -> Float[Tensor, "N D"] | None:
        """What is added to the embeddings of the first N source tokens; None for nothing."""
        return None

    def inputs(self, batch: Batch, random_state: Tensor | None = None) -> Inputs:
        """The examples of a batch as they enter the backbone."""
        return Inputs(batch, self.prompts(batch), self.shift(), random_state)

    def change(self, stack: ExitStack) -> None:
        """Change the backbone for the time of the ``with`` block; whatever undoes that is left to ``stack``."""

    def looking_at(self, batch: Batch) -> AbstractContextManager[object]:
        """Around every pass of a batch through the backbone."""
        return nullcontext()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.change(stack)
            self._inside = stack.pop_all()  # only now: what fails half way is undone
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inside.close()

    def terms(self, batch: Batch) -> tuple[Term, ...]:
        return (task_term(batch),)

    def losses(self, batch: Batch) -> tuple[Term, ...]:
        with self.looking_at(batch):
            return _task_losses(self, [self.inputs(batch)])[0]

    @torch.no_grad()
    def generate(self, batch: Batch, max_new_tokens: int, beams: int = 1) -> Int[Tensor, "B T"]:
        with self.looking_at(batch):
            return self.backbone.generate([self.inputs(batch)], max_new_tokens, beams)

    @torch.no_grad()
    def rank(self, batch: Batch, answers: Sequence[Sequence[int]]) -> Float[Tensor, "B C"]:
        with self.looking_at(batch):
            return self.backbone.rank([self.inputs(batch)], answers)


@dataclass(frozen=True)
class Share:
    """What one run puts into a batch of several runs.

    Attributes:
        method: of the run.
        batch: its examples.
        seed: of the dropout masks of these examples.
    """

    method: Method
    batch: Batch
    seed: int


def can_join(methods: Sequence[Method]) -> bool:
    """Whether ``losses_together`` takes the batches of these methods."""
    first = methods[0]
    return all(
        isinstance(method, TaskMethod)
        and method.joins
        and method.backbone is first.backbone
        and method.dropout == first.dropout
        for method in methods
    )


def losses_together(shares: Sequence[Share]) -> list[tuple[Term, ...]]:
    """The losses of several runs on their batches, by one pass through the backbone.

    Each is what ``method.losses(batch)`` gives after ``torch.manual_seed(seed)``, up to the rounding of float32.

    Args:
        shares: of methods that ``can_join``.
    """
    if len(shares) == 1:
        start_from_seed(shares[0].method.backbone.device, shares[0].seed)
        return [shares[0].method.losses(shares[0].batch)]
    methods = [share.method for share in shares if isinstance(share.method, TaskMethod)]
    device = methods[0].backbone.device
    inputs = []
    for method, share in zip(methods, shares, strict=True):
        state = state_of_seed(device, share.seed) if method.dropout else None
        inputs.append(method.inputs(share.batch, state))
    return _task_losses(methods[0], inputs)


def task_term(batch: Batch, sums: Tensor | None = None) -> Term:
    """The loss of the task, which every method has."""
    return Term("task", "task", 1.0, batch.target_lengths, sums)


def _task_losses(method: TaskMethod, inputs: Sequence[Inputs]) -> list[tuple[Term, ...]]:
    sizes = [len(each.batch) for each in inputs]
    with method.backbone.dropout(method.dropout):
        output = method.backbone.forward_together(inputs)
    sums = token_cross_entropy(output.logits, output.labels, output.example_ids, sum(sizes))
    return [(task_term(each.batch, part),) for each, part in zip(inputs, sums.split(sizes), strict=True)]


def copy_into(parameters: Mapping[str, nn.Parameter], tensors: dict[str, Tensor], what: str) -> None:
    """Copy ``tensors`` into parameters that go by the same names.

    Raises:
        CheckpointError: a name is missing or unknown, or a shape differs.
    """
    if parameters.keys() != tensors.keys():
        missing = sorted(parameters.keys() - tensors.keys())
        unknown = sorted(tensors.keys() - parameters.keys())
        raise CheckpointError(
            f"the stored tensors do not fit {what}: missing {missing or 'none'}, unknown {unknown or 'none'}"
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            if parameter.shape != tensors[name].shape:
                raise CheckpointError(
                    f"the stored tensor {name!r} of {what} has shape {tuple(tensors[name].shape)}; expected "
                    f"{tuple(parameter.shape)}"
                )
            parameter.copy_(tensors[name])
