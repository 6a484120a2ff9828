"""What a run folder holds, read from its files alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from multiprompt.backbone.published import note_on_model
from multiprompt.config import load_experiment
from multiprompt.errors import CheckpointError
from multiprompt.evaluation.results import AnswerFile, Score, read_results, with_selection
from multiprompt.files import read_json
from multiprompt.health import Answers
from multiprompt.options import Experiment
from multiprompt.plan import PlannedStage, Shots, plan_stages
from multiprompt.tasks import TASKS, make_task
from multiprompt.text import lines_of

Points = tuple[tuple[int, float], ...]
"""Pairs of a step and a value."""


@dataclass(frozen=True)
class Stage:
    """The log of one stage of one seed.

    Attributes:
        seed: the seed.
        name: such as "teacher-rte", "source" or "target-boolq-mpt-all"; all draws of a stage
            have the name of the first.
        draw: which draw of the training examples, from 0.
        losses: training loss by step.
        dev: dev metric by step.
        finished: whether the stage has its result.
        records: the lines of the log that hold a loss.
        scores: of its tasks, so far.
        answers: to the test examples, by task.
        method: that it trains; see ``plan.PlannedStage``.
    """

    seed: int
    name: str
    draw: int
    losses: Points
    dev: Points
    finished: bool
    records: tuple[Mapping[str, Any], ...] = ()
    scores: tuple[Score, ...] = ()
    answers: Mapping[str, Answers] = field(default_factory=dict)
    method: str = "prompt_tuning"


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        label: the experiment's name; with the folder's name where several runs share it.
        folder: the folder.
        experiment: the resolved configuration.
        configuration: the same as it is written in the folder.
        environment: versions, machine, data and backbone; empty if not written yet.
        scores: all scores so far.
        stages: all stages begun so far, in the order of the experiment.
        missing: what a finished run would hold and this one does not, in words.
    """

    label: str
    folder: Path
    experiment: Experiment
    configuration: str
    environment: dict[str, Any]
    scores: tuple[Score, ...]
    stages: tuple[Stage, ...]
    missing: tuple[str, ...]


def read_runs(folders: Sequence[Path], answers: bool = True) -> list[Run]:
    """Read several run folders; runs of one name get labels that tell them apart.

    Args:
        folders: of the runs.
        answers: see ``read_run``.

    Raises:
        CheckpointError: a folder holds no run, or a file in it is damaged.
    """
    runs = [read_run(folder, answers) for folder in folders]
    names = [run.label for run in runs]
    labelled = []
    for run in runs:
        label = run.label if names.count(run.label) == 1 else f"{run.label} ({run.folder})"
        labelled.append(replace(run, label=label))
    return labelled


def read_run(folder: Path, answers: bool = True) -> Run:
    """Read one run folder, finished or not.

    Args:
        folder: of the run.
        answers: whether to read the answers too, which are most of a folder, and which the rules about them need.

    Raises:
        CheckpointError: the folder holds no run, or a file in it is damaged.
    """
    config = folder / "config.yaml"
    if not config.is_file():
        raise CheckpointError(f"{folder} is not a run folder: it holds no config.yaml")
    experiment = load_experiment(config)
    missing = []
    environment: dict[str, Any] = {}
    if (folder / "environment.json").exists():
        environment = read_json(folder / "environment.json")
        if not isinstance(environment, dict):
            raise CheckpointError(f"{folder / 'environment.json'} is damaged: it holds no names and values")
    else:
        missing.append("environment.json")
    planned = plan_stages(experiment)
    scores: list[Score] = []
    if (folder / "results.json").exists():
        scores = [with_selection(score, experiment) for score in read_results(folder / "results.json")[1]]
        scores = _with_answers(scores, folder, experiment, planned)
    by_stage: dict[tuple[int, str, Shots, int], list[Score]] = {}
    for score in scores:
        by_stage.setdefault((score.seed, score.method, score.shots, score.draw), []).append(score)
    stages = []
    for seed in experiment.seeds:
        waiting = 0
        for stage in planned:
            stage_folder = folder / f"seed-{seed}" / stage.name
            records, dev = _read_log(stage_folder / "log.jsonl")
            losses = tuple((int(record["step"]), float(record["loss"])) for record in records)
            finished = (stage_folder / "result.json").exists()
            if losses or finished:
                name, key = replace(stage, draw=0).name, (seed, stage.method, stage.shots, stage.draw)
                own = tuple(s for s in by_stage.get(key, ()) if s.task in stage.tasks)
                given = _read_answers(stage_folder, stage.tasks) if finished and answers else {}
                stages.append(Stage(seed, name, stage.draw, losses, dev, finished, records, own, given, stage.method))
            if losses and not finished:
                missing.append(f"seed {seed}: {stage.name}, last seen at step {losses[-1][0]:,}")
            waiting += not losses and not finished
        if waiting:
            missing.append(f"seed {seed}: {waiting} of {len(planned)} stages, not begun")
    return Run(
        label=experiment.name,
        folder=folder,
        experiment=experiment,
        configuration=config.read_text(encoding="utf-8"),
        environment=environment,
        scores=tuple(scores),
        stages=tuple(stages),
        missing=tuple(missing),
    )


def _with_answers(
    scores: Sequence[Score], folder: Path, experiment: Experiment, planned: Sequence[PlannedStage]
) -> list[Score]:
    """Scores that know where their answers would be."""
    stages = {(stage.method, stage.shots, stage.draw, task): stage.name for stage in planned for task in stage.tasks}
    tasks = {task: TASKS[task] for *_, task in stages if task in TASKS}
    tasks |= {name: make_task(definition) for name, definition in experiment.tasks.items()}
    found = []
    for score in scores:
        stage = stages.get((score.method, score.shots, score.draw, score.task))
        task = tasks.get(score.task)
        if stage is not None and task is not None:
            path = folder / f"seed-{score.seed}" / stage / f"predictions-{score.task}.jsonl"
            score = replace(score, answers=AnswerFile(path, task.labels))
        found.append(score)
    return found


def _read_log(path: Path) -> tuple[tuple[Mapping[str, Any], ...], Points]:
    """Lines with a loss, and dev values, of a log; none if it is not there. A last line may be half written.

    Findings are passed over: they are worked out again from the other lines.
    """
    try:
        lines = lines_of(path.read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return (), ()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    records: list[Mapping[str, Any]] = []
    dev: list[tuple[int, float]] = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            step = int(record["step"])
            if "dev" in record:
                dev.append((step, float(record["dev"])))
            elif "finding" not in record:
                float(record["loss"])
                records.append(record)
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                continue
            raise CheckpointError(f"{path}, line {number} is damaged: {error!r}") from error
    return tuple(records), tuple(dev)


def _read_answers(folder: Path, tasks: Sequence[str]) -> dict[str, Answers]:
    """How often every answer was given to the test examples of a stage's tasks, where its folder has them."""
    answers = {}
    for task in tasks:
        path = folder / f"predictions-{task}.jsonl"
        try:
            rows = [json.loads(line) for line in lines_of(path.read_text(encoding="utf-8"))]
            counted = Answers.of((row["prediction"], row["references"]) for row in rows)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{path} is damaged: {error!r}") from error
        if counted.predictions:
            answers[task] = counted
    return answers


def notes_of(runs: Sequence[Run]) -> list[str]:
    """What a reader of the scores should know: notes on the data, and runs whose data differ."""
    about = [note_on_model(run.experiment.backbone.name) for run in runs]
    of_data = [note for run in runs for score in run.scores for note in score.notes]
    notes = list(dict.fromkeys(note for note in (*about, *of_data) if note))
    prints: dict[str, dict[tuple[str, int, str], None]] = {}
    for run in runs:
        for score in run.scores:
            key = (score.fingerprint, score.task_version, score.metric)
            prints.setdefault(score.task, {})[key] = None
    for task, kinds in prints.items():
        if len(kinds) > 1 and len(runs) > 1:
            notes.append(f"{task}: the runs differ in data, task version or metric; do not compare their scores")
    return notes
