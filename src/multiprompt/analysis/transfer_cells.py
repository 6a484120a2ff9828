"""One score of a transfer matrix: a prompt on a target task, as it is or after some steps of prompt tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from multiprompt.analysis.transfer_store import Cell, CellStore
from multiprompt.errors import TrainingError
from multiprompt.evaluation.scoring import evaluate_task
from multiprompt.methods import Method, PromptTuning
from multiprompt.plan import PlannedStage
from multiprompt.prompts import SoftPrompt
from multiprompt.recipes.build import Start
from multiprompt.recipes.prepare import PreparedTask
from multiprompt.recipes.stage_training import Place, stage_training
from multiprompt.runs.materials import Materials
from multiprompt.runs.stage_options import StageOptions, options_for
from multiprompt.training import Progress, Training, TrainingReport, train_together


@dataclass(frozen=True)
class Question:
    """A score that is wanted.

    Attributes:
        key: digest of all that it depends on.
        source: where the prompt comes from.
        target: the task.
        steps: of prompt tuning on the target before.
        rows: the prompt.
    """

    key: str
    source: str
    target: str
    steps: int
    rows: Float[np.ndarray, "P D"]


@dataclass(frozen=True)
class Settings:
    """How prompts are adapted to a target task, and scored on it.

    Attributes:
        inputs: backbone, data, and options with prompt tuning among the methods of targets.
        stage: prompt tuning on the task with all examples.
        seed: of the run.
    """

    inputs: Materials
    stage: PlannedStage
    seed: int

    @cached_property
    def task(self) -> PreparedTask:
        """The target task."""
        return self.inputs.tasks_of(self.stage, self.seed)[0]

    @cached_property
    def options(self) -> StageOptions:
        """Those of prompt tuning on the task."""
        return options_for(self.inputs.experiment, self.stage, [self.task])

    @property
    def batch_size(self) -> int:
        """Examples of a step."""
        return min(self.options.training.batch_size, len(self.task.train))

    def new_rows(self) -> Float[np.ndarray, "P D"]:
        """What the run's own prompt tuning on the task starts from."""
        start = Start(
            backbone=self.inputs.backbone,
            tasks=self.stage.tasks,
            options=self.options.method,
            training=self.options.training,
            prompt=self.inputs.experiment.prompt,
            earlier={},
            seed=self.seed,
            stage=self.stage.name,
            max_source_length=self.task.task.max_source_length,
        )
        return start.prompt_rows().double().numpy()

    def method(self, rows: Float[np.ndarray, "P D"]) -> PromptTuning:
        """Prompt tuning that starts from these rows."""
        prompt = SoftPrompt([torch.from_numpy(rows)])
        options = self.options
        return PromptTuning(
            self.inputs.backbone, prompt, options.method.learning_rate, dropout=options.training.dropout
        )


def ask(settings: Settings, question: Question, method: Method | None = None) -> Cell:
    """Score a prompt on the dev rows of its target.

    Args:
        settings: of the target.
        question: gives the prompt.
        method: what the prompt has become by training; None for the prompt as it is.
    """
    task = settings.task
    method = method or settings.method(question.rows)
    evaluation = evaluate_task(method, task.task, task.data.dev, task.dev, 0, task.baselines)
    return Cell(
        source=question.source,
        target=question.target,
        seed=settings.seed,
        steps=question.steps,
        metric=task.task.reported,
        **evaluation.fields_of(Cell),
    )


def train_and_ask(
    settings: Mapping[str, Settings],
    questions: Sequence[Question],
    store: CellStore,
    folder: Path,
    progress: Progress,
) -> None:
    """Adapt prompts side by side, score them, and keep the scores.

    All prompts on one target see the same examples in the same order. A training that is stopped goes on from its
    checkpoint.

    Args:
        settings: by target.
        questions: what is asked, each with steps.
        store: gets the scores.
        folder: for checkpoints, each in a folder of its own.
        progress: told about the training.

    Raises:
        TrainingError: a training cannot go on; the others are finished first.
    """
    methods = [settings[question.target].method(question.rows) for question in questions]
    trainings = [
        _training(settings[question.target], method, question, folder, progress)
        for question, method in zip(questions, methods, strict=True)
    ]
    reports = train_together(trainings, progress)
    for question, method, report in zip(questions, methods, reports, strict=True):
        if isinstance(report, TrainingReport):
            cell = ask(settings[question.target], question, method)
            store.add({question.key: cell})
            progress.end(_title(question), f"{cell.metric} {cell.value:.1f} on {cell.n} dev rows")
    for report in reports:
        if isinstance(report, TrainingError):
            raise report


def _training(settings: Settings, method: Method, question: Question, folder: Path, progress: Progress) -> Training:
    options = settings.options
    # Named after the target alone: equal prompts are trained equally, whatever they are called.
    place = Place(f"transfer-{question.target}", folder / question.key[:16], question.key, progress, _title(question))
    rest = options.training, options.mixing, options.default_epochs, settings.seed, place
    training = stage_training(method, [settings.task], *rest)
    return replace(training, evaluate=None)  # it is scored afterwards, once


def _title(question: Question) -> str:
    return f"{question.source} on {question.target}, {question.steps} steps"
