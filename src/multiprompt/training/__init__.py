"""The one training loop, its optimisers and its checkpoints. It sees batches and a method, never a task."""

from multiprompt.training.active import LiveTraining, StepResult, Training, TrainingReport, checkpoint_interval
from multiprompt.training.checkpoint import checkpoint_step
from multiprompt.training.loop import train, train_together
from multiprompt.training.optimiser import build_optimiser, learning_rate_factor
from multiprompt.training.progress import SILENT, Progress
from multiprompt.training.step import step

__all__ = [
    "SILENT",
    "LiveTraining",
    "Progress",
    "StepResult",
    "Training",
    "TrainingReport",
    "build_optimiser",
    "checkpoint_interval",
    "checkpoint_step",
    "learning_rate_factor",
    "step",
    "train",
    "train_together",
]
