"""What a finished stage leaves in its folder: tensors, scores, predictions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multiprompt.evaluation.finished_findings import finished_findings
from multiprompt.evaluation.results import Score
from multiprompt.evaluation.scoring import Evaluation
from multiprompt.files import write_text
from multiprompt.health import Answers
from multiprompt.methods import Method, PromptTuning, StoredMethod, save_method
from multiprompt.options import Selection
from multiprompt.parallel import processes
from multiprompt.plan import PlannedStage
from multiprompt.prompts import DecomposedPrompt, StoredPrompt, save_plain_prompt, save_prompt
from multiprompt.recipes.prepare import PreparedTask
from multiprompt.recipes.stage_training import Place
from multiprompt.recipes.use import evaluate_method
from multiprompt.text import json_text
from multiprompt.training import TrainingReport
from multiprompt.training.log import JsonLog
from multiprompt.training.watch import Watch

USUAL_SCALES = (0.5, 2.0)
"""Root mean square of a task's matrix that needs no word; it starts at 1 (prompts.start_task_factors)."""


@dataclass(frozen=True)
class Outcome:
    """A score and the answers that it was given for."""

    score: Score
    evaluation: Evaluation


def outcomes_of(
    method: Method,
    tasks: Sequence[PreparedTask],
    report: TrainingReport,
    selection: Selection,
    stage: PlannedStage,
    seed: int,
    place: Place,
) -> list[Outcome]:
    """Store what a method has trained, and score it on its tasks.

    A prompt is stored as trained and merged; of any other method the trained tensors are stored.
    """
    if processes().is_main:
        _store(method, tuple(task.name for task in tasks), stage, place)
    trained = sum(p.numel() for group in method.parameter_groups() for p in group.parameters)
    return _score(method, tasks, report, selection, stage, seed, round(trained / len(tasks)))


def _store(method: Method, names: tuple[str, ...], stage: PlannedStage, place: Place) -> None:
    assert place.folder is not None, "stages of an experiment have a folder"
    model = method.backbone.name, method.backbone.fingerprint()
    if isinstance(method, PromptTuning):
        prompt, stored = method.prompt, StoredPrompt(method.prompt, names, *model)
        save_prompt(place.folder / "prompt.safetensors", stored)
        save_plain_prompt(place.folder / "merged.safetensors", stored)
        if isinstance(prompt, DecomposedPrompt):
            _tell_scales(dict(zip(names, prompt.factor_scales(), strict=True)), place)
    else:
        save_method(place.folder / "method.safetensors", StoredMethod(stage.method, method.tensors(), names, *model))


def _tell_scales(scales: Mapping[str, float], place: Place) -> None:
    """Say which prompts have come far from the shared one in size; what is usual needs no word."""
    low, high = USUAL_SCALES
    odd = ", ".join(f"{name} {scale:.3g} times" for name, scale in scales.items() if not low <= scale <= high)
    if odd:
        place.progress.message(
            f"{place.title or place.name}: prompts of another size than the shared one: {odd}. If their scores "
            "are poor, try a lower factor_learning_rate; multiprompt analyse prompt shows the factors"
        )


def _score(
    method: Method,
    tasks: Sequence[PreparedTask],
    report: TrainingReport,
    selection: Selection,
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
            **evaluation.fields_of(Score),
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
            draw=stage.draw,
            selection=selection,
        )
        outcomes.append(Outcome(score, evaluation))
    return outcomes


def drawn_examples(tasks: Sequence[PreparedTask]) -> dict[str, Any]:
    """What ``result.json`` says about a few-shot draw.

    Args:
        tasks: cut to the draw.

    Returns:
        ``few_shot_rows``: row ids by task, in the order of the draw; ``few_shot_labels``: how many examples each label
        has, by task, for the tasks that have labels.
    """
    counts = {
        task.name: dict.fromkeys(task.task.labels, 0) | dict(Counter(example.target for example in task.data.train))
        for task in tasks
        if task.task.labels is not None
    }
    rows = {task.name: [example.row_id for example in task.data.train] for task in tasks}
    return {"few_shot_rows": rows, "few_shot_labels": counts}


def summary_of(scores: Sequence[Score]) -> str:
    """The scores of a stage in one line."""
    return ", ".join(f"{score.task} {score.metric} {score.value:.1f}" for score in scores)


def tell_findings(place: Place, steps: int, outcomes: Sequence[Outcome], tasks: Sequence[PreparedTask]) -> None:
    """Write and tell what the rules say about the scores and answers of a stage, unless its log says so already.

    Args:
        place: folder and progress of the stage.
        steps: of the training.
        outcomes: of the stage's tasks.
        tasks: in the same order.
    """
    assert place.folder is not None, "stages of an experiment have a folder"
    log = JsonLog(place.folder / "log.jsonl")
    watch = Watch(log, steps, *log.cut(steps))
    answers = {
        task.name: Answers.of(
            zip(outcome.evaluation.predictions, (example.references for example in task.data.test), strict=True)
        )
        for task, outcome in zip(tasks, outcomes, strict=True)
    }
    findings = finished_findings([outcome.score for outcome in outcomes], answers, watch.records)
    for finding in watch.note(steps, findings):
        place.progress.message(finding.text(place.title or place.name))


def write_predictions(folder: Path, task: PreparedTask, outcome: Outcome) -> None:
    """Write the ``prediction_lines`` of a task."""
    write_text(folder / f"predictions-{task.name}.jsonl", prediction_lines(task, outcome.evaluation.predictions))


def prediction_lines(task: PreparedTask, predictions: Sequence[str]) -> str:
    """Every answer with its row, its group and cluster if it has them, and its references, one JSON object a line.

    Args:
        task: gives the rows.
        predictions: for its test examples, in their order.
    """
    lines = [
        json_text(
            {"row": example.row_id}
            | ({} if example.group is None else {"group": example.group})
            | ({} if example.cluster is None else {"cluster": example.cluster})
            | {"prediction": prediction, "references": example.references}
        )
        for example, prediction in zip(task.data.test, predictions, strict=True)
    ]
    return "\n".join(lines) + "\n"
