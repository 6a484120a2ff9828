"""What a finished stage leaves in its folder: tensors, scores, predictions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from multiprompt.backbone import FrozenT5
from multiprompt.evaluation.results import Score
from multiprompt.evaluation.scoring import Evaluation
from multiprompt.files import write_tensors, write_text
from multiprompt.methods import FineTuning, Method, PromptTuning
from multiprompt.plan import PlannedStage
from multiprompt.prompts import DecomposedPrompt, Prompt, StoredPrompt, save_plain_prompt, save_prompt
from multiprompt.recipes.prepare import PreparedTask
from multiprompt.recipes.stage import Place
from multiprompt.recipes.use import evaluate_method
from multiprompt.training import TrainingReport


@dataclass(frozen=True)
class Outcome:
    """A score and the answers that it was given for."""

    score: Score
    evaluation: Evaluation


def prompt_outcome(
    backbone: FrozenT5,
    prompt: Prompt,
    tasks: Sequence[PreparedTask],
    report: TrainingReport,
    stage: PlannedStage,
    seed: int,
    place: Place,
) -> list[Outcome]:
    """Store a trained prompt, as trained and merged, and score it on its tasks."""
    assert place.folder is not None, "stages of an experiment have a folder"
    stored = StoredPrompt(prompt, tuple(task.name for task in tasks), backbone.name)
    save_prompt(place.folder / "prompt.safetensors", stored)
    save_plain_prompt(place.folder / "merged.safetensors", stored)
    if isinstance(prompt, DecomposedPrompt):
        scales = ", ".join(f"{t.name} {s:.3f}" for t, s in zip(tasks, prompt.factor_scales(), strict=True))
        place.progress.message(f"{place.title or place.name}: scale of the task matrices: {scales}")
    trained = sum(parameter.numel() for parameter in prompt.parameters() if parameter.requires_grad)
    return _score(PromptTuning(backbone, prompt), tasks, report, stage, seed, round(trained / len(tasks)))


def score_outcome(
    model: FineTuning,
    tasks: Sequence[PreparedTask],
    report: TrainingReport,
    stage: PlannedStage,
    seed: int,
    place: Place,
) -> list[Outcome]:
    """Store a fine-tuned model and score it on its tasks."""
    assert place.folder is not None, "stages of an experiment have a folder"
    tensors = model.tensors()
    write_tensors(place.folder / "model.safetensors", tensors)
    parameters = sum(tensor.numel() for tensor in tensors.values())
    return _score(model, tasks, report, stage, seed, round(parameters / len(tasks)))


def _score(
    method: Method,
    tasks: Sequence[PreparedTask],
    report: TrainingReport,
    stage: PlannedStage,
    seed: int,
    parameters: int,
) -> list[Outcome]:
    outcomes = []
    for task_id, task in enumerate(tasks):
        evaluation = evaluate_method(method, task, task_id)
        score = Score(
            task=task.name,
            method=stage.method,
            seed=seed,
            shots=stage.shots,
            metric=task.task.reported,
            value=evaluation.value,
            metrics=evaluation.metrics,
            n=len(task.data.test),
            majority=evaluation.majority,
            invalid=evaluation.invalid,
            interval=evaluation.interval,
            parameters=parameters,
            steps=report.steps,
            best_step=report.best_step,
            dev_value=report.dev_value,
            seconds=report.seconds,
            examples_per_second=report.examples_per_second,
            truncated=task.test.truncated_sources / len(task.test),
            task_version=task.task.version,
            fingerprint=task.data.fingerprint,
            notes=task.notes(),
        )
        outcomes.append(Outcome(score, evaluation))
    return outcomes


def write_predictions(folder: Path, task: PreparedTask, outcome: Outcome) -> None:
    """Every answer with its row, its group if it has one, and its references, one JSON object a line."""
    lines = [
        json.dumps(
            {"row": example.row_id}
            | ({} if example.group is None else {"group": example.group})
            | {"prediction": prediction, "references": example.references},
            ensure_ascii=False,
        )
        for example, prediction in zip(task.data.test, outcome.evaluation.predictions, strict=True)
    ]
    write_text(folder / f"predictions-{task.name}.jsonl", "\n".join(lines) + "\n")
