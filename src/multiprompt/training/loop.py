"""The only training loop: prompts, decomposed prompts, distillation and fine-tuning all go through it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from multiprompt.errors import TrainingError
from multiprompt.methods import can_join
from multiprompt.training.active import LiveTraining, Training, TrainingReport
from multiprompt.training.progress import SILENT, Progress
from multiprompt.training.step import step


def train(training: Training, progress: Progress = SILENT) -> TrainingReport:
    """Train a method; afterwards it holds the tensors that its options select.

    A training that was stopped and goes on from its checkpoint ends bitwise as without the interruption.

    Args:
        training: what to do.
        progress: told about every step.

    Raises:
        TrainingError: the loss or the gradient is not finite.
        CheckpointError: the checkpoint cannot be read, written, or is of another training.
    """
    report = train_together([training], progress)[0]
    if isinstance(report, TrainingError):
        raise report
    return report


def train_together(trainings: Sequence[Training], progress: Progress = SILENT) -> list[TrainingReport | TrainingError]:
    """Train independent methods side by side on one backbone, by joint passes through it.

    Each keeps its own optimiser, schedule, clipping, selection, random numbers, log and checkpoint, and leaves when its
    steps are done; it ends as it would alone, up to the rounding of float32. One that cannot go on leaves the others.

    Args:
        trainings: one, or several whose methods ``can_join``.
        progress: told about every joint step.

    Returns:
        For every training its report, or the error that ended it.

    Raises:
        CheckpointError: a checkpoint cannot be read, written, or is of another training.
    """
    if len(trainings) > 1 and not can_join([training.method for training in trainings]):
        raise ValueError("these methods cannot train together; see multiprompt.methods.can_join")
    runs = [LiveTraining(training) for training in trainings]
    total = max(training.steps for training in trainings)
    progress.begin(trainings[0].title if len(runs) == 1 else _joint_title(trainings), total)
    while active := [run for run in runs if run.goes_on]:
        began = time.monotonic()
        results = step(active)
        seconds = time.monotonic() - began
        counts = {run: sum(result.examples.values()) for run, result in results.items()}
        for run, result in results.items():
            for finding in run.after_step(result, seconds * counts[run] / sum(counts.values())):
                progress.message(finding.text(run.training.title))
        if results:
            loss = sum(result.loss for result in results.values()) / len(results)
            # Each run has been given its share of the seconds, so its own speed is that of all of them.
            taken = sum(run.state.seconds for run in results)
            speed = sum(run.state.examples for run in results) / max(taken, 1e-9)
            progress.step(max(run.state.step for run in active), loss, speed)
        # All at once: runs that go on from the same step go through the same joint passes again.
        if any(run.is_due for run in results):
            for run in results:
                run.save()
    return [run.error or run.report() for run in runs]


def _joint_title(trainings: Sequence[Training]) -> str:
    return f"{len(trainings)} together, {trainings[0].title} and others"
