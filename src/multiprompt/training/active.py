"""One training under way: its state, and what happens around its steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from multiprompt.batch import Batch
from multiprompt.errors import CheckpointError, ConfigError, TrainingError
from multiprompt.health import Finding
from multiprompt.methods import Method
from multiprompt.options import TrainingOptions
from multiprompt.parallel import processes
from multiprompt.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from multiprompt.training.log import JsonLog, Record
from multiprompt.training.optimiser import build_optimiser, learning_rate_factor
from multiprompt.training.watch import Watch

SAMPLE = 1000
"""Numbers of a tensor that stand for all of it when its way from the start is measured."""


WRITTEN_PER_SECOND = 10_000_000
"""Most bytes of checkpoints a second, on average."""


class Stream(Protocol):
    """An endless source of steps, each a list of micro-batches, whose place can be saved."""

    def __iter__(self) -> Iterator[list[Batch]]: ...
    def __next__(self) -> list[Batch]: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class TrainingReport:
    """How a training went.

    Attributes:
        steps: optimiser steps that were taken.
        best_step: the step whose tensors the method holds now.
        dev_value: their dev metric; None without an evaluation.
        seconds: time spent, evaluation included.
        examples_per_second: training examples over the whole time.
    """

    steps: int
    best_step: int
    dev_value: float | None
    seconds: float
    examples_per_second: float


@dataclass(frozen=True)
class StepResult:
    """One optimiser step.

    Attributes:
        loss: the weighted sum of the terms.
        terms: of the loss, without weights.
        task_losses: the task loss by task.
        gradient_norm: before clipping.
        gradients: the same for what every task alone trains, by task; empty if the step is not logged.
        examples: of every task.
    """

    loss: float
    terms: dict[str, float]
    task_losses: dict[int, float]
    gradient_norm: float
    gradients: dict[int, float]
    examples: dict[int, int]


@dataclass(frozen=True)
class Training:
    """What to train: a method, its batches, and all that its outcome depends on.

    Attributes:
        method: what is trained.
        stream: the batches.
        options: schedule, optimiser, selection; the time between evaluations in steps.
        steps: number of optimiser steps.
        seed: of the dropout masks, which depend on it, the step, the micro-batch and the rank of the process alone.
        evaluate: gives the dev metric of the method as it stands; higher is better.
        checkpoint: file for the state between steps. If it exists, training goes on from it. It is left in place; the
            caller removes it when its own work is safe.
        identity: what this training is; a checkpoint of another one is refused.
        log: JSON-lines file.
        task_names: names of the task ids, for the log.
        mixing: share of every task in the examples that its batches are drawn by, for the log; empty for one task.
        title: for progress and errors.
    """

    method: Method
    stream: Stream
    options: TrainingOptions
    steps: int
    seed: int
    evaluate: Callable[[], float] | None = None
    checkpoint: Path | None = None
    identity: str = ""
    log: Path | None = None
    task_names: Sequence[str] = ()
    mixing: Sequence[float] = ()
    title: str = "training"

    def __post_init__(self) -> None:
        if self.options.evaluate_each_epoch:
            raise ConfigError(
                "training.evaluate_each_epoch is set, but the training loop counts steps and knows no epochs: give it "
                "options.in_steps(number of examples)"
            )


class LiveTraining:
    """A training under way.

    Args:
        training: what to do; goes on from its checkpoint if there is one.

    Raises:
        CheckpointError: the checkpoint cannot be read, or is of another training.
    """

    def __init__(self, training: Training) -> None:
        self.training = training
        self.optimiser = build_optimiser(training.method.parameter_groups(), training.options)
        self.state = TrainingState()
        self.log = JsonLog(training.log if processes().is_main else None)
        self.error: TrainingError | None = None
        self.last_saved = time.monotonic()
        self.start = [_sample(parameter) for parameter in self.parameters]
        if training.checkpoint is not None and training.checkpoint.exists():
            self.state, trained = load_checkpoint(training.checkpoint, training.identity, self.optimiser)
            training.method.load(trained)
            training.stream.restore(self.state.stream)
            self._diverged()
        _check_same((training.identity, self.state.step), training.title)
        kept, dropped = self.log.cut(self.state.step)
        self.watch = Watch(self.log, training.steps, kept, dropped, training.method.prompt_length > 0)

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """All that is trained."""
        return [parameter for group in self.optimiser.param_groups for parameter in group["params"]]

    @property
    def logs_next(self) -> bool:
        """Whether the step that comes is logged."""
        step = self.state.step + 1
        return step % self.training.options.log_every == 0 or step == self.training.steps

    @property
    def goes_on(self) -> bool:
        """Whether a step is left, and worth it."""
        return self.error is None and self.state.step < self.training.steps and not self._has_stopped

    @property
    def _has_stopped(self) -> bool:
        """Whether the dev metric has not become better for too long."""
        options = self.training.options
        if options.patience is None or options.evaluate_every is None or self.state.best_value is None:
            return False
        return self.state.step - self.state.best_step >= options.patience * options.evaluate_every

    @property
    def speed(self) -> float:
        """Examples per second so far."""
        return self.state.examples / max(self.state.seconds, 1e-9)

    def fail(self, what: str) -> None:
        """End it; ``what`` went wrong in the step under way."""
        where = f"{self.training.title}, step {self.state.step + 1}"
        advice = "nothing was updated. Try a lower learning rate, or check the backbone and the data"
        self.error = TrainingError(f"{what} in {where}; {advice}")

    def _diverged(self) -> bool:
        """Whether the norm of a trained tensor is not finite, which ends the training: such tensors are never kept."""
        if bool(torch.stack(torch._foreach_norm([*self.parameters])).isfinite().all()):
            return False
        self.error = TrainingError(
            f"{self.training.title} has diverged: after step {self.state.step} the trained numbers are not finite, or "
            "too large to compute with; they are no result. Try a lower learning rate"
        )
        return True

    def set_rates(self) -> None:
        """The learning rates of the step that comes."""
        options = self.training.options
        factor = learning_rate_factor(self.state.step, self.training.steps, options.schedule, options.warmup_ratio)
        for group in self.optimiser.param_groups:
            group["lr"] = group["top"] * factor

    def after_step(self, result: StepResult, seconds: float) -> list[Finding]:
        """Count, log, evaluate, keep the best.

        Returns:
            What a person should be told.
        """
        training, state = self.training, self.state
        logs = self.logs_next
        state.step += 1
        for task, count in result.examples.items():
            state.examples += count
            state.task_examples[task] = state.task_examples.get(task, 0) + count
        state.seconds += seconds
        last = state.step == training.steps
        every = training.options.evaluate_every or training.steps
        looks = state.step % every == 0 or last
        if looks and self._diverged():  # in other steps the next loss tells
            return []
        findings = self._write(result, last) if logs else []
        if training.evaluate is not None and looks:
            began = time.monotonic()
            value = training.evaluate()
            state.seconds += time.monotonic() - began
            self.log.write({"step": state.step, "dev": value})
            if training.options.select == "last" or state.best_value is None or value > state.best_value:
                state.best_value, state.best_step = value, state.step
                state.best = {name: tensor.clone() for name, tensor in training.method.tensors().items()}
        return findings

    def _write(self, result: StepResult, last: bool) -> list[Finding]:
        """Write a line of the log, and look at what the log says."""
        record = _log_record(result, self.state, self.optimiser, self.training, self.speed)
        moved = _largest_change(self.start, self.parameters) if last else None
        if moved is not None and math.isfinite(moved):  # the norm of huge numbers is beyond float32
            record["moved"] = float(f"{moved:.4g}")
        if self.training.mixing and not self.watch.records:
            record["mixing"] = _by_name(dict(enumerate(self.training.mixing)), self.training.task_names, 5)
        self.log.write(record)
        return self.watch.look(record)

    @property
    def is_due(self) -> bool:
        """Whether it is time for a checkpoint: after the last step, and when the last one is old enough."""
        age, options = time.monotonic() - self.last_saved, self.training.options
        return not self.goes_on or (
            age >= options.checkpoint_seconds and age >= checkpoint_interval(options, self._checkpoint_bytes)
        )

    @property
    def _checkpoint_bytes(self) -> int:
        """Size of the tensors of a checkpoint."""
        tensors = [*self.training.method.tensors().values(), *self.state.best.values()]
        moments = [value for state in self.optimiser.state.values() for value in state.values()]
        return sum(each.numel() * each.element_size() for each in (*tensors, *moments) if isinstance(each, Tensor))

    def save(self) -> None:
        """Write the checkpoint, unless the training has failed: it goes on from the one before."""
        training, state = self.training, self.state
        if self.error is None and training.checkpoint is not None and processes().is_main:
            state.stream = training.stream.state()
            self.log.sync()  # so that no checkpoint is on the disk without the lines that lead to it
            save_checkpoint(training.checkpoint, training.identity, state, training.method.tensors(), self.optimiser)
            self.last_saved = time.monotonic()

    def report(self) -> TrainingReport:
        """Put the selected tensors back and say how it went."""
        if self.state.best:
            self.training.method.load(self.state.best)
        return TrainingReport(
            steps=self.state.step,
            best_step=self.state.best_step if self.state.best else self.state.step,
            dev_value=self.state.best_value,
            seconds=self.state.seconds,
            examples_per_second=self.speed,
        )


def checkpoint_interval(options: TrainingOptions, size: int) -> float:
    """Seconds between two checkpoints of so many bytes.

    Those of a prompt are due by the clock alone. The twelve gigabytes of a fine-tuned T5-large are written every twenty
    minutes, not every half a minute.
    """
    return max(options.checkpoint_seconds, size / WRITTEN_PER_SECOND)


def _check_same(place: tuple[str, int], title: str) -> None:
    """All processes must go on from the same place of the same training."""
    places = processes().gather(place)
    if len(set(places)) > 1:
        found = ", ".join(
            f"process {rank} at step {step} of {identity[:12]}" for rank, (identity, step) in enumerate(places)
        )
        raise CheckpointError(
            f"the processes do not agree on where {title} stands ({found}). All of them must see the same data, model "
            "and run folder; put the folder on a disk that all machines share"
        )


def _sample(parameter: torch.Tensor) -> torch.Tensor:
    """About a thousand numbers of a tensor, always the same ones."""
    flat = parameter.detach().flatten()
    return flat[:: max(1, len(flat) // SAMPLE)].clone()


def _largest_change(start: Sequence[torch.Tensor], parameters: Sequence[torch.Tensor]) -> float | None:
    """How far the tensor has moved that has moved most, relative to its start; None if all start at zero.

    Tensors that start at zero have no scale to compare with.
    """
    pairs = [(old.float(), _sample(new).float()) for old, new in zip(start, parameters, strict=True)]
    return max((float((new - old).norm() / old.norm()) for old, new in pairs if old.any()), default=None)


def _by_name(values: Mapping[int, float], names: Sequence[str], digits: int | None) -> dict[str, float]:
    """Values of tasks under their names, in the order of the tasks; digits of the fraction, None for whole numbers."""
    return {names[t] if t < len(names) else str(t): round(values[t], digits) for t in sorted(values)}


def _log_record(
    result: StepResult,
    state: TrainingState,
    optimiser: torch.optim.Optimizer,
    training: Training,
    examples_per_second: float,
) -> Record:
    rates = {
        group.name: settings["lr"]
        for group, settings in zip(training.method.parameter_groups(), optimiser.param_groups, strict=True)
    }
    names = training.task_names
    record: Record = {
        "step": state.step,
        "loss": round(result.loss, 6),
        "terms": {term: round(value, 6) for term, value in result.terms.items()},
        "tasks": _by_name(result.task_losses, names, 5),
        "learning_rates": rates,
        "gradient_norm": round(result.gradient_norm, 6),
        "examples_per_second": round(examples_per_second, 2),
    }
    if len(training.mixing) > 1:
        if result.gradients:
            record["gradients"] = _by_name(result.gradients, names, 6)
        if sum(state.task_examples.values()) == state.examples:
            seen = dict.fromkeys(range(len(training.mixing)), 0) | state.task_examples
            record["examples"] = _by_name(seen, names, None)
    return record
