"""The one training loop, its optimisers and its checkpoints. It sees batches and a method, never a task."""

from multiprompt.training.loop import TrainingReport, train
from multiprompt.training.optimiser import build_optimiser, learning_rate_factor
from multiprompt.training.progress import SILENT, Progress

__all__ = ["SILENT", "Progress", "TrainingReport", "build_optimiser", "learning_rate_factor", "train"]
