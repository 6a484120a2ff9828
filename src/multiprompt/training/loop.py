"""The only training loop: prompts, decomposed prompts, distillation and fine-tuning all go through it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from multiprompt.batch import Batch
from multiprompt.errors import TrainingError
from multiprompt.methods import Method
from multiprompt.options import TrainingOptions
from multiprompt.seeding import derive_seed
from multiprompt.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from multiprompt.training.log import JsonLog
from multiprompt.training.optimiser import build_optimiser, learning_rate_factor
from multiprompt.training.progress import SILENT, Progress


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
        steps: optimiser steps.
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
    """One optimiser step: the loss, its terms, and the task loss by task."""

    loss: float
    terms: dict[str, float]
    task_losses: dict[int, float]
    gradient_norm: float
    examples: int


def train(
    method: Method,
    stream: Stream,
    options: TrainingOptions,
    steps: int,
    seed: int,
    *,
    evaluate: Callable[[], float] | None = None,
    checkpoint: Path | None = None,
    identity: str = "",
    log: Path | None = None,
    task_names: list[str] | None = None,
    progress: Progress = SILENT,
    stage: str = "training",
) -> TrainingReport:
    """Train a method; afterwards it holds the tensors that the options select.

    Args:
        method: what is trained.
        stream: the batches.
        options: schedule, optimiser, selection.
        steps: number of optimiser steps.
        seed: of the dropout masks, which depend on it and on the step alone.
        evaluate: gives the dev metric of the method as it stands; higher is better.
        checkpoint: file for the state between steps. If it exists, training goes on from it, to bitwise the same end
            as without the interruption. It is left in place; the caller removes it when its own work is safe.
        identity: what this training is; a checkpoint of another one is refused.
        log: JSON-lines file.
        task_names: names of the task ids, for the log.
        progress: told about every step.
        stage: name of the stage, for progress and errors.

    Raises:
        TrainingError: the loss or the gradient is not finite.
        CheckpointError: the checkpoint cannot be read, written, or is of another training.
    """
    optimiser = build_optimiser(method.parameter_groups(), options)
    state = TrainingState()
    json_log = JsonLog(log)
    if checkpoint is not None and checkpoint.exists():
        state, trained = load_checkpoint(checkpoint, identity, optimiser)
        method.load(trained)
        stream.restore(state.stream)
    json_log.cut(state.step)
    progress.begin(stage, steps)
    started = last_saved = time.monotonic()
    spent_before = state.seconds
    every = options.evaluate_every or steps
    while state.step < steps:
        factor = learning_rate_factor(state.step, steps, options.schedule, options.warmup_ratio)
        for group in optimiser.param_groups:
            group["lr"] = group["top"] * factor
        torch.manual_seed(derive_seed(seed, "dropout", state.step))
        result = _step(method, next(stream), optimiser, options.clip, f"{stage}, step {state.step + 1}")
        state.step += 1
        state.examples += result.examples
        state.seconds = spent_before + time.monotonic() - started
        speed = state.examples / max(state.seconds, 1e-9)
        last = state.step == steps
        if state.step % options.log_every == 0 or last:
            json_log.write(_log_record(state.step, result, optimiser, method, task_names, speed))
        if evaluate is not None and (state.step % every == 0 or last):
            value = evaluate()
            json_log.write({"step": state.step, "dev": value})
            if options.select == "last" or state.best_value is None or value > state.best_value:
                state.best_value, state.best_step = value, state.step
                state.best = {name: tensor.clone() for name, tensor in method.tensors().items()}
        progress.step(state.step, result.loss, speed)
        if checkpoint is not None and (last or time.monotonic() - last_saved >= options.checkpoint_seconds):
            state.seconds = spent_before + time.monotonic() - started
            state.stream = stream.state()
            save_checkpoint(checkpoint, identity, state, method.tensors(), optimiser)
            last_saved = time.monotonic()
    if state.best:
        method.load(state.best)
    return TrainingReport(
        steps=steps,
        best_step=state.best_step if state.best else steps,
        dev_value=state.best_value,
        seconds=state.seconds,
        examples_per_second=state.examples / max(state.seconds, 1e-9),
    )


def _step(
    method: Method, micro_batches: list[Batch], optimiser: torch.optim.Optimizer, clip: float, where: str
) -> StepResult:
    """Gradients of all micro-batches, then one update.

    Every term is divided by its count over the whole step, so the gradient is the same however the step is cut.
    """
    weights = method.weights
    device = method.backbone.device
    micro_batches = [batch.to(device) for batch in micro_batches]
    counts = [method.counts(batch) for batch in micro_batches]
    totals = {term: sum(float(count[term].sum()) for count in counts) for term in weights}
    optimiser.zero_grad(set_to_none=True)
    terms = dict.fromkeys(weights, 0.0)
    task_sums: dict[int, list[float]] = {}
    for batch, count in zip(micro_batches, counts, strict=True):
        sums = method.losses(batch)
        # Sums start from a tensor, so that the loss of one term is a tensor too.
        loss = torch.stack([weights[term] * sums[term].sum() / totals[term] for term in weights]).sum()
        if not math.isfinite(loss.item()):
            raise TrainingError(_not_finite(where, sums))
        loss.backward()
        for term in weights:
            terms[term] += float(sums[term].detach().sum()) / totals[term]
        per_example = zip(batch.task_ids.tolist(), sums["task"].tolist(), count["task"].tolist(), strict=True)
        for task, value, items in per_example:
            entry = task_sums.setdefault(task, [0.0, 0.0])
            entry[0] += value
            entry[1] += items
    parameters = [p for group in optimiser.param_groups for p in group["params"] if p.grad is not None]
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, clip))
    if not math.isfinite(norm):
        raise TrainingError(f"the gradient is not finite ({norm}) in {where}; {_ADVICE}")
    optimiser.step()
    return StepResult(
        loss=sum(weights[term] * value for term, value in terms.items()),
        terms=terms,
        task_losses={task: total / items for task, (total, items) in sorted(task_sums.items())},
        gradient_norm=norm,
        examples=sum(len(batch) for batch in micro_batches),
    )


_ADVICE = "nothing was updated. Try a lower learning rate, or check the backbone and the data"


def _not_finite(where: str, sums: dict[str, Tensor]) -> str:
    broken = [term for term, values in sums.items() if not bool(torch.isfinite(values).all())]
    return f"the loss is not finite in {where} (terms: {', '.join(broken)}); {_ADVICE}"


def _log_record(
    step: int,
    result: StepResult,
    optimiser: torch.optim.Optimizer,
    method: Method,
    task_names: list[str] | None,
    examples_per_second: float,
) -> dict[str, Any]:
    rates = {
        group.name: settings["lr"]
        for group, settings in zip(method.parameter_groups(), optimiser.param_groups, strict=True)
    }
    names = task_names or []
    tasks = {names[t] if t < len(names) else str(t): round(v, 5) for t, v in result.task_losses.items()}
    return {
        "step": step,
        "loss": round(result.loss, 6),
        "terms": {term: round(value, 6) for term, value in result.terms.items()},
        "tasks": tasks,
        "learning_rates": rates,
        "gradient_norm": round(result.gradient_norm, 6),
        "examples_per_second": round(examples_per_second, 2),
    }
