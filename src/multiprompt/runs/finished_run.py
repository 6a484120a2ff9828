"""Using what a run has trained: scores on other rows, answers to texts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from multiprompt.backbone.base import Backbone
from multiprompt.backbone.loading import load_backbone
from multiprompt.config import task_name, to_plain
from multiprompt.errors import CheckpointError, refuse_one_text, unknown_name
from multiprompt.evaluation.results import Score, with_selection
from multiprompt.files import read_json
from multiprompt.methods import Method, PromptTuning, Start, build_method, load_learned, load_method
from multiprompt.options import Experiment, method_records, other_names
from multiprompt.plan import options_of, plan_stages, source_methods
from multiprompt.prompts import load_prompt
from multiprompt.recipes.prepare import choose_task, load_task
from multiprompt.recipes.use import answer_with, check_sources, evaluate_method, texts_of
from multiprompt.runs.graph import STAGE_VERSION, node_key
from multiprompt.runs.run_folder import read_run_config
from multiprompt.runs.stage_folder import STAGE, check_whole, read_result
from multiprompt.tasks import Row, Task
from multiprompt.training import SILENT, Progress


@dataclass(frozen=True)
class StoredScore:
    """A score of a run and the folder of the stage that it belongs to."""

    score: Score
    folder: Path


def stored_scores(folder: Path | str) -> list[StoredScore]:
    """Every score that the finished stages of a run hold, in the order of the experiment.

    Raises:
        CheckpointError: the folder holds no run, or a record is damaged.
    """
    folder = Path(folder)
    return _stored(read_run_config(folder), folder)


def _stored(experiment: Experiment, folder: Path) -> list[StoredScore]:
    found = []
    for seed in experiment.seeds:
        for stage in plan_stages(experiment):
            place = folder / node_key(seed, stage.name)
            result = read_result(place)
            if result is not None:
                found += [StoredScore(with_selection(score, experiment), place) for score in result.scores]
    return found


def _restore(stack: ExitStack, backbone: Backbone, experiment: Experiment, stored: StoredScore) -> tuple[Method, int]:
    """The trained method of a stage, and the position of the score's task in it.

    Raises:
        CheckpointError: a file of the stage, or of one that it needs, is not as it was written, or the backbone is
            another one.
    """
    _check(stored.folder)
    _check_backbone(stored.folder, backbone)
    if (stored.folder / "prompt.safetensors").exists():
        prompt = load_prompt(stored.folder / "prompt.safetensors")
        return PromptTuning(backbone, prompt.prompt), prompt.task_id(stored.score.task)
    trained = load_method(stored.folder / "method.safetensors")
    targets = experiment.targets
    assert targets is not None, "only the methods of targets store something else than a prompt"
    stage = next(stage for stage in plan_stages(experiment) if stage.name == stored.folder.name)
    for name in stage.needs:
        _check(stored.folder.parent / name)
    start = Start(
        backbone=backbone,
        tasks=trained.tasks,
        options=options_of(stage, targets.methods),
        training=targets.training,
        prompt=experiment.prompt,
        earlier={name: load_learned(stored.folder.parent / name) for name in stage.needs},
        seed=stored.score.seed,
        stage=stage.name,
        max_source_length=max(
            choose_task(name, experiment.data, experiment.tasks)[0].max_source_length for name in trained.tasks
        ),
    )
    method = stack.enter_context(build_method(stage.method, start))
    method.load(trained.tensors)
    return method, trained.task_id(stored.score.task)


def _check_backbone(folder: Path, backbone: Backbone) -> None:
    """Stages of earlier releases name their backbone in another way, and are not checked."""
    made_from = read_json(folder / STAGE).get("made_from", {}) if (folder / STAGE).exists() else {}
    if made_from.get("version") == STAGE_VERSION and made_from.get("backbone") != backbone.fingerprint():
        raise CheckpointError(
            f"the backbone {backbone.name} is not the one that {folder} was trained with: its weights or its tokenizer "
            "have changed since, and the answers would be those of another model. Put the old files back, or run the "
            "experiment anew"
        )


def _check(folder: Path) -> None:
    result = read_result(folder)
    if result is None:
        raise CheckpointError(f"{folder} is not finished; run the experiment with --resume")
    check_whole(folder, result)


def evaluate_run(
    folder: Path | str,
    *,
    tasks: Sequence[str] | None = None,
    max_test: int | None = None,
    progress: Progress = SILENT,
) -> list[Score]:
    """Score everything that a run has trained once more, on the test rows as they are now.

    Args:
        folder: of the run.
        tasks: only these; None for all.
        max_test: use at most so many test rows; None for the run's own limit.
        progress: told about every stage.

    Raises:
        ConfigError: the tasks are one text.
        UnknownNameError: the run has not trained one of the tasks.
        CheckpointError: the folder holds no run, or a file is damaged.
    """
    folder = Path(folder)
    refuse_one_text(tasks, "tasks")
    experiment = read_run_config(folder)
    stored = _chosen(_stored(experiment, folder), tasks)
    backbone = load_backbone(**to_plain(experiment.backbone))
    data = experiment.data if max_test is None else replace(experiment.data, max_test=max_test)
    prepared = {name: load_task(name, backbone, data, experiment.tasks) for name in {s.score.task for s in stored}}
    scores = []
    for entry in stored:
        task = prepared[entry.score.task]
        title = f"evaluate-{entry.folder.name} {task.name}"
        progress.begin(title, 1)
        with ExitStack() as stack:
            method, task_id = _restore(stack, backbone, experiment, entry)
            evaluation = evaluate_method(method, task, task_id)
        scores.append(replace(entry.score, **evaluation.fields_of(Score), fingerprint=task.data.fingerprint))
        progress.end(title, f"{scores[-1].metric} {evaluation.value:.1f}")
    return scores


def _chosen(stored: list[StoredScore], tasks: Sequence[str] | None) -> list[StoredScore]:
    known = {entry.score.task for entry in stored}
    names = None if tasks is None else [task_name(task) for task in tasks]
    for name in names or ():
        if name not in known:
            raise unknown_name("task of this run", name, known)
    return [entry for entry in stored if names is None or entry.score.task in names]


def _shots(entry: StoredScore) -> float:
    return float("inf") if entry.score.shots == "all" else entry.score.shots


def task_of_run(folder: Path | str, task: str) -> Task:
    """A task that a run has trained, as the run knows it: its own definition, its limits.

    Args:
        folder: of the run.
        task: its name, or the file that defines it.

    Raises:
        UnknownNameError: the run has not trained the task.
        CheckpointError: the folder holds no run.
    """
    folder, name = Path(folder), task_name(task)
    experiment = read_run_config(folder)
    _chosen(_stored(experiment, folder), [name])
    return choose_task(name, experiment.data, experiment.tasks)[0]


def predict(
    folder: Path | str,
    task: str,
    sources: Sequence[str | Row],
    *,
    method: str | None = None,
    seed: int | None = None,
) -> list[str]:
    """Answers by what a run has trained for a task.

    Args:
        folder: of the run.
        task: its name, or the file that defines it.
        sources: texts in the format of the task (``multiprompt show TASK`` prints examples), or rows with the columns
            that the task makes its texts of, such as ``{"premise": "...", "hypothesis": "..."}``.
        method: "mpt", "prompt_tuning", ...; None for the first of the target methods, or else the student.
        seed: of the run; None for the first.

    Raises:
        ConfigError: the sources are one text.
        DataError: there is no source, one holds half of a character, or a row lacks a column or holds something that
            the task cannot use.
        UnknownNameError: the run has not trained the task, or not with this method.
        CheckpointError: the folder holds no run, or has not trained the task with this seed.
    """
    folder, task = Path(folder), task_name(task)
    check_sources(sources)
    experiment = read_run_config(folder)
    stored = _chosen(_stored(experiment, folder), [task])
    seed = experiment.seeds[0] if seed is None else seed
    by_method: dict[str, StoredScore] = {}
    for entry in stored:
        # Of several numbers of examples the largest one is used, and all of them before any number; of several draws
        # the first.
        known = by_method.get(entry.score.method)
        if entry.score.seed == seed and (known is None or _shots(entry) > _shots(known)):
            by_method[entry.score.method] = entry
    if not by_method:
        raise CheckpointError(f"{folder} holds nothing for {task!r} with seed {seed}")
    if method is None:
        order = (*(record.name for record in method_records()), *source_methods())
        method = next(name for name in order if name in by_method)
    if method not in by_method:
        raise unknown_name(f"method for {task!r} in this run", method, by_method, other_names())
    value, _ = choose_task(task, experiment.data, experiment.tasks)
    texts = texts_of(value, sources)
    backbone = load_backbone(**to_plain(experiment.backbone))
    with ExitStack() as stack:
        trained, task_id = _restore(stack, backbone, experiment, by_method[method])
        return answer_with(trained, value, texts, task_id)
