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
    live = [LiveTraining(training) for training in trainings]
    total = max(training.steps for training in trainings)
    progress.begin(trainings[0].title if len(live) == 1 else _joint_title(trainings), total)
    while active := [each for each in live if each.goes_on]:
        began = time.monotonic()
        results = step(active)
        seconds = time.monotonic() - began
        counts = {each: sum(result.examples.values()) for each, result in results.items()}
        for each, result in results.items():
            for finding in each.after_step(result, seconds * counts[each] / sum(counts.values())):
                progress.message(finding.text(each.training.title))
        if results:
            loss = sum(result.loss for result in results.values()) / len(results)
            # Each has been given its share of the seconds, so its own speed is that of all of them.
            taken = sum(each.state.seconds for each in results)
            speed = sum(each.state.examples for each in results) / max(taken, 1e-9)
            progress.step(max(each.state.step for each in active), loss, speed)
        # All at once: trainings that go on from the same step go through the same joint passes again.
        if any(each.is_due for each in results):
            for each in results:
                each.save()
    return [each.error or each.report() for each in live]


def _joint_title(trainings: Sequence[Training]) -> str:
    return f"{len(trainings)} together, {trainings[0].title} and others"
