"""The processes that train one run together, each on its share of every batch.

A launcher such as ``accelerate launch`` starts the same program several times. All processes take the same decisions
and hold the same parameters; they differ in the examples that they compute. What one of them has to tell the others
goes through the ``Processes`` in force, which are this process alone but inside ``distributed_processes``.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from multiprompt.errors import ConfigError, MultipromptError, TrainingError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

T = TypeVar("T")


class Processes:
    """The processes of a run: this one alone.

    Attributes:
        rank: position of this process, from 0.
        count: number of processes.
    """

    rank = 0
    count = 1

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes files and tells people."""
        return self.rank == 0

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replace every tensor by its sum over the processes, which give tensors of the same shapes."""

    def gather(self, value: T) -> list[T]:
        """The values of all processes, in the order of their ranks."""
        return [value]

    def barrier(self) -> None:
        """Wait until every process has come here."""

    def on_main(self, function: Callable[[], T]) -> T:
        """Call a function in the main process only. The others wait, and get what it returns or raises."""
        value: Any = function() if self.is_main else None
        returned: T = self.gather(value)[0]
        return returned


class DistributedProcesses(Processes):
    """Several processes, connected by ``torch.distributed``.

    Every exchange begins with the question whether a process has failed, so that an error of one process, wherever it
    happens, ends the others at their next exchange instead of leaving them waiting.

    Args:
        rank: position of this process.
        count: number of processes.
        device: that the connection takes tensors from.

    Attributes:
        over: whether an error has ended the exchanges.
    """

    def __init__(self, rank: int, count: int, device: torch.device) -> None:
        self.rank, self.count, self.device = rank, count, device
        self.over = False

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        import torch

        if not tensors:
            return
        dtype = torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32
        flat = torch.cat([tensor.detach().reshape(-1).to(self.device, dtype) for tensor in tensors])
        self._meet()
        with self._connection() as distributed:
            distributed.all_reduce(flat)
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.detach().copy_(part.view(tensor.shape))

    def gather(self, value: T) -> list[T]:
        values: list[Any] = [None] * self.count
        self._meet()
        with self._connection() as distributed:
            distributed.all_gather_object(values, value)
        return values

    def barrier(self) -> None:
        self._meet()

    def share(self, error: Exception) -> Exception:
        """Tell the others that this process cannot go on, unless they know.

        Returns:
            What this process is to raise: the error of the first process that has one.
        """
        if not self.over:
            try:
                self._meet(error)
            except Exception as first:
                return first
        return error

    def _meet(self, error: Exception | None = None) -> None:
        """Wait for the others.

        Raises:
            Exception: of the first process that has come with one.
        """
        import torch

        failed = torch.tensor([int(error is not None)], device=self.device)
        with self._connection() as distributed:
            distributed.all_reduce(failed)
            if not failed.item():
                return
            errors: list[Any] = [None] * self.count
            distributed.all_gather_object(errors, _portable(error, self.rank))
            # A launcher ends all processes when the first one ends, which must not be before the main one has spoken.
            atexit.register(_quietly, distributed.barrier)
        self.over = True
        first = next(rank for rank, each in enumerate(errors) if each is not None)
        raise errors[first] if error is None or first != self.rank else error

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        import torch.distributed

        try:
            yield torch.distributed
        except RuntimeError as error:
            self.over = True
            raise TrainingError(
                f"process {self.rank} of {self.count} has lost the others ({error}); one of them was probably ended. "
                "Start all of them again with --resume"
            ) from error


def _portable(error: Exception | None, rank: int) -> Exception | None:
    """The error as other processes can have it."""
    if error is None or isinstance(error, MultipromptError | OSError):
        return error
    return TrainingError(f"process {rank} has failed: {type(error).__name__}: {error}")


def _quietly(function: Callable[[], Any]) -> None:
    with suppress(Exception):
        function()


_current = Processes()


def processes() -> Processes:
    """The processes that work together here and now."""
    return _current


@contextmanager
def distributed_processes() -> Iterator[Processes]:
    """Inside, the processes that a launcher has started work together, if it has started more than one.

    The block ends in all processes alike: an error in one of them is raised in all. Inside another such block this
    one does nothing.

    Yields:
        The processes, of which this is one; one alone without a launcher.

    Raises:
        ConfigError: accelerate is missing, or cannot connect the processes, or has not started them.
    """
    global _current
    if {"ACCELERATE_USE_CPU", "MASTER_PORT"} <= os.environ.keys() and "WORLD_SIZE" not in os.environ:
        # It says nothing about it, and the run would take its time on one processor.
        raise ConfigError(
            "accelerate launch was asked for several processes and has started one, as it does without several GPUs; "
            "start them with torchrun --nproc_per_node N -m multiprompt ..., or add --multi_gpu even on processors"
        )
    if isinstance(_current, DistributedProcesses) or int(os.environ.get("WORLD_SIZE") or 1) <= 1:
        yield _current
        return
    connected = _current = _connect()
    try:
        yield connected
        connected.barrier()
    except Exception as error:
        shared = connected.share(error)
        if shared is error:
            raise
        raise shared from error
    finally:
        _current = Processes()


def _connect() -> DistributedProcesses:
    """Connect with the other processes that the environment tells of."""
    count = os.environ["WORLD_SIZE"]
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise ConfigError(
            f"this program was started as {count} processes, which needs the accelerate library ({error}); install it "
            'with pip install "multiprompt[parallel]"'
        ) from error
    import torch

    try:
        state = PartialState(cpu=not torch.cuda.is_available())
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"the {count} processes cannot be connected: {error}") from error
    if state.num_processes != int(count):
        raise ConfigError(f"the launcher says {count} processes; accelerate has connected {state.num_processes}")
    atexit.register(_quietly, state.destroy_process_group)
    return DistributedProcesses(state.process_index, state.num_processes, state.device)
