"""The transfer matrix of a run: every source prompt on every target task, as it is and after some steps.

All scores are on dev rows; test rows stay unseen.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from multiprompt.analysis.similarity import prompt_cosine
from multiprompt.analysis.stages import is_finished, leaves_prompt, read_prompt, rows_of
from multiprompt.analysis.transfer_cells import Question, Settings, ask, train_and_ask
from multiprompt.analysis.transfer_store import Cell, CellStore
from multiprompt.config import task_name
from multiprompt.errors import ConfigError, refuse_one_text, unknown_name
from multiprompt.methods.prompt_starts import start_target_prompt
from multiprompt.options import Experiment, Methods
from multiprompt.options.records.prompt_tuning import PromptTuningOptions
from multiprompt.plan import PlannedStage, plan_stages
from multiprompt.prompts import StoredPrompt, load_prompt
from multiprompt.recipes.prepare import metric_files
from multiprompt.recipes.use import check_width
from multiprompt.runs.graph import JOINT_STEP_EXAMPLES, digest, own_task
from multiprompt.runs.materials import Materials, load_materials
from multiprompt.runs.run_folder import only_process, read_run_config
from multiprompt.training import SILENT, Progress

NEW = "new prompt"
"""The source that is none: what the run's own prompt tuning on the target starts from (rows of the vocabulary, unless
the options name another start)."""

Rows = Float[np.ndarray, "P D"]


@dataclass(frozen=True)
class Transfer:
    """Scores of source prompts on target tasks.

    Attributes:
        run: its folder.
        seed: of the source prompts.
        steps: of the adapted scores; 0 without them.
        sources: prompts, ``NEW`` last.
        targets: tasks.
        cells: by source, target and steps (0, and ``steps``).
        cosines: of the mean rows of source and target prompt, by target and source; empty for a target whose prompt
            the run does not have.
        compared_with: stage of the target prompt, by target.
        learning_rate: of the steps.
    """

    run: str
    seed: int
    steps: int
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    cells: Mapping[tuple[str, str, int], Cell]
    cosines: Mapping[str, Mapping[str, float]]
    compared_with: Mapping[str, str]
    learning_rate: float

    @property
    def kinds(self) -> tuple[int, ...]:
        """Numbers of steps that there are scores of."""
        return (0, self.steps) if self.steps else (0,)

    @staticmethod
    def when(steps: int) -> str:
        """When scores are taken, in words."""
        return f"after {steps} step{'s' * (steps > 1)}" if steps else "as they are"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        cells = [asdict(cell) | {"source": source, "seed": self.seed} for (source, _, _), cell in self.cells.items()]
        return {
            "version": 1,
            "analysis": "transfer",
            "run": self.run,
            "seed": self.seed,
            "steps": self.steps,
            "learning_rate": self.learning_rate,
            "rows": "dev",
            "sources": list(self.sources),
            "targets": list(self.targets),
            "cells": cells,
            "cosines": {target: dict(own) for target, own in self.cosines.items()},
            "compared_with": dict(self.compared_with),
        }


def transfer_matrix(
    run: Path,
    steps: int = 0,
    *,
    with_student: bool = False,
    seed: int | None = None,
    tasks: Sequence[str] | None = None,
    progress: Progress = SILENT,
) -> Transfer:
    """Score every source prompt of a run on the dev rows of every target task.

    Scores are kept in RUN/analysis/transfer.json as they come, by the content of the prompt and all else that they
    depend on: what is there is not computed again, and prompts of the same rows are trained once.

    Args:
        run: folder of the run.
        steps: of prompt tuning from each source prompt, on all training rows of the target, with the run's options;
            0 for scores of the prompts as they are alone.
        with_student: take the prompts of source training too: that which targets start from, and that of every task.
        seed: of the run; None for the first.
        tasks: only these targets; None for all.
        progress: told about everything.

    Raises:
        CheckpointError: the folder holds no run, a source prompt is not finished or does not fit, or transfer.json is
            damaged or is being written.
        ConfigError: the run has no targets, no source prompts or not this seed.
        UnknownNameError: the run has no such target.
        TrainingError: a training cannot go on; what is finished is kept.
    """
    refuse_one_text(tasks, "tasks")
    experiment = read_run_config(run)
    seed = experiment.seeds[0] if seed is None else seed
    targets = _targets(experiment, seed, tasks)
    if steps < 0:
        raise ConfigError(f"the number of steps is {steps}; expected 0 or more")
    sources = _source_prompts(run, experiment, seed, with_student)
    tuned = _for_tuning(experiment, steps)
    stages = {task: PlannedStage("target", (task,), "prompt_tuning") for task in targets}
    inputs = load_materials(tuned, list(stages.values()), progress)
    for name, rows in sources.items():
        check_width(f"the prompt of {name}", rows.shape[1], inputs.backbone)
    settings = {task: Settings(inputs, stage, seed) for task, stage in stages.items()}
    questions: dict[tuple[str, str, int], Question] = {}
    for kind in dict.fromkeys((0, steps)):
        for task in targets:
            for name, rows in {**sources, NEW: settings[task].new_rows()}.items():
                questions[name, task, kind] = _question(settings[task], name, rows, kind)
    folder = run / "analysis"
    with only_process(folder):
        store = CellStore(folder / "transfer.json")
        _answer(questions.values(), settings, store, folder / "trainings", inputs, progress)
    stored = {task: _target_prompt(run, experiment, seed, task) for task in targets}
    return Transfer(
        run=str(run),
        seed=seed,
        steps=steps,
        sources=(*sources, NEW),
        targets=tuple(targets),
        cells={place: store[question.key] for place, question in questions.items()},
        cosines={
            task: {name: prompt_cosine(rows, found[1]) for name, rows in sources.items()} if found else {}
            for task, found in stored.items()
        },
        compared_with={task: found[0] for task, found in stored.items() if found},
        learning_rate=settings[targets[0]].options.method.learning_rate,
    )


def _targets(experiment: Experiment, seed: int, tasks: Sequence[str] | None) -> list[str]:
    if seed not in experiment.seeds:
        raise ConfigError(f"the run has no seed {seed}; it has {', '.join(map(str, experiment.seeds))}")
    if experiment.targets is None:
        raise ConfigError("the run has no target tasks; transfer needs a run with a section targets")
    names = [task_name(task) for task in tasks or ()]
    for name in names:
        if name not in experiment.targets.tasks:
            raise unknown_name("target task of this run", name, experiment.targets.tasks)
    return [task for task in experiment.targets.tasks if not names or task in names]


def _source_prompts(run: Path, experiment: Experiment, seed: int, with_student: bool) -> dict[str, Rows]:
    """The prompts by names for people."""
    sources: dict[str, Rows] = {}
    student: StoredPrompt | None = None
    if with_student and experiment.targets is not None and experiment.targets.source_prompt is not None:
        student = load_prompt(Path(experiment.targets.source_prompt))
    for stage in plan_stages(experiment):
        if stage.method == "teacher":
            sources[f"teacher {stage.tasks[0]}"] = rows_of(read_prompt(run, seed, stage).prompt, 0)
        elif stage.method == "student" and with_student:
            student = read_prompt(run, seed, stage)
    if with_student:
        if student is None:
            raise ConfigError("the run has no source training; leave out --with-student")
        sources["source start"] = rows_of(start_target_prompt(student.prompt, 1), 0)
        sources |= {f"student {task}": rows_of(student.prompt, place) for place, task in enumerate(student.tasks)}
    if not sources:
        raise ConfigError(
            "the run has no teachers, so there is nothing to transfer; add --with-student for the prompts of source "
            "training, if it has that"
        )
    return sources


def _for_tuning(experiment: Experiment, steps: int) -> Experiment:
    """The same experiment, with prompt tuning on the targets for so many steps.

    The rate is that of the run's prompt tuning on targets or, without it, of its teachers. The last tensors are kept:
    dev rows that had chosen them could not score them as well.
    """
    targets = experiment.targets
    assert targets is not None, "it has been looked at"
    tuning = targets.methods.get("prompt_tuning") or PromptTuningOptions(experiment.teachers.learning_rate)
    training = targets.training.without_dev(steps or None)
    # Nothing else of the targets is asked for, such as the source prompt of another run.
    tuned = replace(targets, methods=Methods(prompt_tuning=tuning), source_prompt=None, training=training)
    return replace(experiment, targets=tuned)


def _question(settings: Settings, name: str, rows: Rows, steps: int) -> Question:
    """A score that is wanted; its key is a digest of all that it depends on."""
    task = settings.task
    own = settings.inputs.experiment.tasks.get(task.name)
    made_from: dict[str, Any] = {
        "backbone": settings.inputs.backbone_digest,
        "data": [task.name, task.task.version, task.data.fingerprint, len(task.train), len(task.dev)],
        "limit": task.task.max_source_length,
        "compat": settings.inputs.experiment.data.compat,
        "own": None if own is None else own_task(own),
        "prompt": hashlib.sha256(rows.astype(np.float32).tobytes()).hexdigest(),
        "length": len(rows),
    }
    if metrics := metric_files(task.task):
        made_from["own_metrics"] = metrics
    if steps:
        # The start is what is compared: it is the prompt itself that counts, not how the options would make one.
        options = {key: value for key, value in settings.options.plain.items() if key != "prompt"}
        made_from |= {"options": options, "seed": settings.seed}
    return Question(digest(made_from), name, task.name, steps, rows)


def _answer(
    questions: Iterable[Question],
    settings: Mapping[str, Settings],
    store: CellStore,
    trainings: Path,
    inputs: Materials,
    progress: Progress,
) -> None:
    """Compute what the store lacks, each content once: first the prompts as they are, then what is trained."""
    wanted: dict[str, Question] = {}
    for question in questions:
        wanted.setdefault(question.key, question)
    left = [question for key, question in wanted.items() if key not in store]
    if len(left) < len(wanted):
        progress.message(f"{len(wanted) - len(left)} of {len(wanted)} scores are in {store.path} already")
    for question in left:
        if not question.steps:
            title = f"{question.source} on {question.target}"
            progress.begin(title, 1)
            cell = ask(settings[question.target], question)
            store.add({question.key: cell})
            progress.end(title, f"{cell.metric} {cell.value:.1f} on {cell.n} dev rows")
    adapted = [question for question in left if question.steps]
    size = 1
    if inputs.experiment.together and adapted:
        size = max(1, JOINT_STEP_EXAMPLES // max(each.batch_size for each in settings.values()))
    for first in range(0, len(adapted), size):
        chosen = adapted[first : first + size]
        train_and_ask(settings, chosen, store, trainings, progress)
    shutil.rmtree(trainings, ignore_errors=True)


def _target_prompt(run: Path, experiment: Experiment, seed: int, task: str) -> tuple[str, Rows] | None:
    """The prompt that stands for a target task: that of prompt tuning or, without it, of mpt; and its stage."""
    stages = {stage.method: stage for stage in plan_stages(experiment) if stage.shots == "all" and task in stage.tasks}
    for method in ("prompt_tuning", "mpt"):
        stage = stages.get(method)
        if stage is not None and is_finished(run, seed, stage) and leaves_prompt(run, seed, stage):
            stored = read_prompt(run, seed, stage)
            return stage.name, rows_of(stored.prompt, stored.task_id(task))
    return None
