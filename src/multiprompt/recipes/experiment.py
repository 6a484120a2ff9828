"""A whole experiment in a run folder: teachers, source training, target adaptation, scores; for every seed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from multiprompt.backbone import FrozenT5, load_backbone
from multiprompt.config import to_plain
from multiprompt.errors import CheckpointError
from multiprompt.evaluation.results import Score, write_results
from multiprompt.evaluation.scoring import Evaluation
from multiprompt.files import read_json, write_json, write_tensors, write_text
from multiprompt.methods import FineTuning, Method, PromptTuning
from multiprompt.options import Experiment, MethodOptions, MixingOptions
from multiprompt.prompts import Prompt, SoftPrompt, StoredPrompt, load_prompt, save_plain_prompt, save_prompt
from multiprompt.recipes.prepare import PreparedTask, load_task
from multiprompt.recipes.run_folder import digest, open_run_folder, write_environment
from multiprompt.recipes.source import train_source
from multiprompt.recipes.stage import Place, train_stage
from multiprompt.recipes.target import adapt_target, target_epochs
from multiprompt.recipes.teacher import train_teacher, tune_prompt
from multiprompt.recipes.use import evaluate_method
from multiprompt.training import SILENT, Progress, TrainingReport

Shots = int | Literal["all"]

STAGE_VERSION = 1
"""Raised when a stage would give other tensors from the same inputs."""


@dataclass
class _Run:
    """What all stages of a run share."""

    experiment: Experiment
    folder: Path
    backbone: FrozenT5
    backbone_digest: str
    tasks: dict[str, PreparedTask]
    progress: Progress
    scores: list[Score] = field(default_factory=list)


@dataclass(frozen=True)
class _Trained:
    """What a stage hands on: its identity, and the prompt if it has one."""

    identity: str
    prompt: Prompt | None


def run_experiment(experiment: Experiment, folder: Path, *, resume: bool = False, progress: Progress = SILENT) -> None:
    """Run all stages; stages that the folder holds already are passed over, an unfinished one goes on.

    Args:
        experiment: what to run.
        folder: of the run; made if it does not exist.
        resume: go on with a folder that holds this very experiment.
        progress: told about everything.

    Raises:
        MultipromptError: any of its kinds; what is in the folder stays as it is, and ``resume`` goes on from there.
    """
    open_run_folder(experiment, folder, resume)
    options = experiment.backbone
    backbone = load_backbone(
        options.name,
        revision=options.revision,
        device=options.device,
        precision=options.precision,
        attention=options.attention,
    )
    tasks: dict[str, PreparedTask] = {}
    for name in _task_names(experiment):
        tasks[name] = load_task(name, backbone, experiment.data)
        for note in tasks[name].notes():
            progress.message(note)
    backbone_digest = backbone.fingerprint()
    write_environment(
        folder,
        experiment.seeds,
        {name: task.data.fingerprint for name, task in tasks.items()},
        backbone.facts() | {"fingerprint": backbone_digest},
    )
    run = _Run(experiment, folder, backbone, backbone_digest, tasks, progress)
    for seed in experiment.seeds:
        source = _source_stages(run, seed)
        _target_stages(run, seed, source)


def _task_names(experiment: Experiment) -> list[str]:
    source = experiment.source.tasks if experiment.source else ()
    targets = experiment.targets.tasks if experiment.targets else ()
    return list(dict.fromkeys((*source, *targets)))


def _source_stages(run: _Run, seed: int) -> _Trained | None:
    """Teachers and source training; or the stored source prompt that the targets name."""
    experiment = run.experiment
    options = experiment.source
    if options is None:
        if experiment.targets is None or experiment.targets.source_prompt is None:
            return None
        path = Path(experiment.targets.source_prompt)
        stored = load_prompt(path)
        if stored.prompt.width != run.backbone.width:
            raise CheckpointError(
                f"the prompt in {path} has width {stored.prompt.width} (trained with {stored.backbone}); the backbone "
                f"{run.backbone.name} needs {run.backbone.width}"
            )
        tensors = {name: p.tolist() for name, p in stored.prompt.named_parameters()}
        return _Trained(digest(tensors), stored.prompt)
    tasks = [run.tasks[name] for name in options.tasks]
    teachers: list[_Trained] = []
    if options.distillation.kind != "none":
        teachers = [_teacher_stage(run, seed, task) for task in tasks]
    depends_on = {
        "options": to_plain(options),
        "prompt": to_plain(experiment.prompt),
        "teachers": [teacher.identity for teacher in teachers],
    }

    def work(place: Place) -> list[tuple[Score, Evaluation]]:
        prompts = [teacher.prompt for teacher in teachers if isinstance(teacher.prompt, SoftPrompt)]
        student, report = train_source(run.backbone, tasks, prompts, options, experiment.prompt, seed, place)
        return _finish_prompt(run, place, student, tasks, report, "student", seed, "all")

    return _stage(run, seed, "source", tasks, depends_on, work)


def _teacher_stage(run: _Run, seed: int, task: PreparedTask) -> _Trained:
    options, prompt = run.experiment.teachers, run.experiment.prompt

    def work(place: Place) -> list[tuple[Score, Evaluation]]:
        teacher, report = train_teacher(run.backbone, task, options, prompt, seed, place)
        return _finish_prompt(run, place, teacher, [task], report, "teacher", seed, "all")

    depends_on = {"options": to_plain(options), "prompt": to_plain(prompt)}
    return _stage(run, seed, f"teacher-{task.name}", [task], depends_on, work)


def _target_stages(run: _Run, seed: int, source: _Trained | None) -> None:
    options = run.experiment.targets
    if options is None:
        return
    for shots in options.shots:
        tasks = [run.tasks[name] for name in options.tasks]
        if shots != "all":
            tasks = [task.few_shot(shots, seed, options.balanced, run.backbone) for task in tasks]
        for method, rates in options.methods.items():
            # Only a shared prompt makes a group of tasks; the other methods adapt to one task at a time.
            grouped = options.group and method == "mpt"
            for group in [tasks] if grouped else [[task] for task in tasks]:
                _target_stage(run, seed, source, group, method, rates, shots)


def _target_stage(
    run: _Run,
    seed: int,
    source: _Trained | None,
    tasks: list[PreparedTask],
    method: str,
    rates: MethodOptions,
    shots: Shots,
) -> None:
    options = run.experiment.targets
    assert options is not None
    training = options.training if shots == "all" else options.few_shot_training
    prompt_options = run.experiment.prompt
    depends_on: dict[str, Any] = {
        "method": method,
        "rates": to_plain(rates),
        "training": to_plain(training),
    }

    def mpt(place: Place) -> list[tuple[Score, Evaluation]]:
        assert source is not None
        assert source.prompt is not None
        adapted, report = adapt_target(run.backbone, tasks, source.prompt, rates, training, options.mixing, seed, place)
        return _finish_prompt(run, place, adapted, tasks, report, method, seed, shots)

    def prompt_tuning(place: Place) -> list[tuple[Score, Evaluation]]:
        rate = 0.3 if rates.learning_rate is None else rates.learning_rate
        prompt, report = tune_prompt(
            run.backbone, tasks[0], rate, training, prompt_options, target_epochs(tasks), seed, place
        )
        return _finish_prompt(run, place, prompt, tasks, report, method, seed, shots)

    def fine_tuning(place: Place) -> list[tuple[Score, Evaluation]]:
        rate = 3e-4 if rates.learning_rate is None else rates.learning_rate
        with FineTuning(run.backbone, rate, training.dropout) as model:
            report = train_stage(model, tasks, training, MixingOptions(), target_epochs(tasks), 0, seed, place)
            assert place.folder is not None
            write_tensors(place.folder / "model.safetensors", model.tensors())
            parameters = sum(tensor.numel() for tensor in model.tensors().values())
            return _scores(run, model, tasks, report, method, seed, shots, parameters)

    work = {"mpt": mpt, "prompt_tuning": prompt_tuning, "fine_tuning": fine_tuning}[method]
    if method == "mpt":
        assert source is not None, "the options check that mpt has a source prompt"
        depends_on |= {"source": source.identity, "mixing": to_plain(options.mixing)}
    elif method == "prompt_tuning":
        depends_on |= {"prompt": to_plain(prompt_options)}
    names = "group" if len(tasks) > 1 else tasks[0].name
    _stage(run, seed, f"target-{names}-{method}-{shots}", tasks, depends_on, work)


def _stage(
    run: _Run,
    seed: int,
    name: str,
    tasks: Sequence[PreparedTask],
    depends_on: Mapping[str, Any],
    work: Callable[[Place], list[tuple[Score, Evaluation]]],
) -> _Trained:
    """Do the work of a stage unless its folder holds the result; hand on its prompt as it is stored."""
    folder = run.folder / f"seed-{seed}" / name
    identity = digest(
        {
            "version": STAGE_VERSION,
            "stage": name,
            "seed": seed,
            "backbone": run.backbone_digest,
            "data": [(task.name, task.task.version, task.data.fingerprint, len(task.train)) for task in tasks],
            "depends_on": depends_on,
        }
    )
    result = folder / "result.json"
    if result.exists():
        record = read_json(result)
        if record["identity"] != identity:
            raise CheckpointError(
                f"{folder} was made from other data, another backbone or another release; run into a new folder, or "
                "delete this one to make the stage again"
            )
        run.scores += [Score.from_json(score) for score in record["scores"]]
    else:
        place = Place(name, folder, identity, run.progress)
        outcome = work(place)
        for score, evaluation in outcome:
            _write_predictions(folder / f"predictions-{score.task}.jsonl", run.tasks[score.task], evaluation)
        scores = [score for score, _ in outcome]
        write_json(result, {"version": 1, "identity": identity, "scores": [s.to_json() for s in scores]})
        (folder / "checkpoint.safetensors").unlink(missing_ok=True)
        run.scores += scores
        run.progress.end(", ".join(f"{s.task} {s.metric} {s.value:.1f}" for s in scores))
    write_results(run.folder / "results.json", run.experiment.name, run.scores)
    stored = folder / "prompt.safetensors"
    return _Trained(identity, load_prompt(stored).prompt if stored.exists() else None)


def _finish_prompt(
    run: _Run,
    place: Place,
    prompt: Prompt,
    tasks: Sequence[PreparedTask],
    report: TrainingReport,
    method: str,
    seed: int,
    shots: Shots,
) -> list[tuple[Score, Evaluation]]:
    """Store a trained prompt, as trained and merged, and score it on its tasks."""
    assert place.folder is not None
    stored = StoredPrompt(prompt, tuple(task.name for task in tasks), run.backbone.name)
    save_prompt(place.folder / "prompt.safetensors", stored)
    save_plain_prompt(place.folder / "merged.safetensors", stored)
    trained = sum(parameter.numel() for parameter in prompt.parameters() if parameter.requires_grad)
    parameters = round(trained / len(tasks))
    return _scores(run, PromptTuning(run.backbone, prompt), tasks, report, method, seed, shots, parameters)


def _scores(
    run: _Run,
    trained: Method,
    tasks: Sequence[PreparedTask],
    report: TrainingReport,
    method: str,
    seed: int,
    shots: Shots,
    parameters: int,
) -> list[tuple[Score, Evaluation]]:
    """Test scores of a trained method on each of its tasks."""
    outcome = []
    for task_id, task in enumerate(tasks):
        evaluation = evaluate_method(trained, task, task_id)
        score = Score(
            task=task.name,
            method=method,
            seed=seed,
            shots=shots,
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
        outcome.append((score, evaluation))
    return outcome


def _write_predictions(path: Path, task: PreparedTask, evaluation: Evaluation) -> None:
    lines = [
        json.dumps(
            {"row": example.row_id, "prediction": prediction, "references": example.references},
            ensure_ascii=False,
        )
        for example, prediction in zip(task.data.test, evaluation.predictions, strict=True)
    ]
    write_text(path, "\n".join(lines) + "\n")
