"""A whole experiment in a run folder: teachers, source training, target adaptation, scores; for every seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from multiprompt.backbone import FrozenT5, load_backbone
from multiprompt.config import to_plain
from multiprompt.errors import CheckpointError
from multiprompt.evaluation.results import Score, write_results
from multiprompt.files import read_json, write_json
from multiprompt.methods import Method, PromptTuning
from multiprompt.options import DistillationOptions, Experiment, MixingOptions, TrainingOptions
from multiprompt.plan import PlannedStage, options_of, plan_stages
from multiprompt.prompts import Prompt, SoftPrompt, load_prompt
from multiprompt.recipes.build import Learned, Start, build_method, check_packages, load_learned
from multiprompt.recipes.outcome import Outcome, outcomes_of, write_predictions
from multiprompt.recipes.prepare import PreparedTask, load_task
from multiprompt.recipes.run_folder import check_run_folder, digest, open_run_folder, write_environment
from multiprompt.recipes.source import SOURCE_EPOCHS, train_source
from multiprompt.recipes.stage import Place, train_stage
from multiprompt.recipes.target import target_epochs
from multiprompt.recipes.teacher import train_teacher
from multiprompt.training import SILENT, Progress, TrainingReport

STAGE_VERSION = 3
"""Raised when a stage would give other tensors from the same inputs."""


@dataclass(frozen=True)
class _Done:
    """What a stage hands on: its identity, and a way to what it has learned, which only some later stages read."""

    identity: str
    learned: Callable[[], Learned]


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
class _Job:
    """A stage with what it needs: its tasks (cut to the shots), and the stages that it starts from."""

    run: _Run
    seed: int
    stage: PlannedStage
    tasks: list[PreparedTask]
    needed: dict[str, _Done]

    def outcome(self, trained: Prompt | Method, report: TrainingReport, place: Place) -> list[Outcome]:
        """Store what was trained and score it."""
        method = PromptTuning(self.run.backbone, trained) if isinstance(trained, Prompt) else trained
        return outcomes_of(method, self.tasks, report, self.stage, self.seed, place)

    def start(self, options: Any, training: TrainingOptions, place: Place) -> Start:
        """What a method with these options is made from."""
        return Start(
            backbone=self.run.backbone,
            tasks=self.stage.tasks,
            options=options,
            training=training,
            prompt=self.run.experiment.prompt,
            earlier={name: each.learned() for name, each in self.needed.items()},
            seed=self.seed,
            stage=place.name,
            max_source_length=max(task.task.max_source_length for task in self.tasks),
            data=self.tasks,
        )


Work = Callable[[Place], list[Outcome]]
"""The work of a stage: train, store the prompt, score."""

Wired = tuple[dict[str, Any], Work]
"""What a stage depends on, beside data, backbone and seed; and its work."""


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
    stages = plan_stages(experiment)
    names = list(dict.fromkeys(name for stage in stages for name in stage.tasks))
    check_packages(stage.method for stage in stages)
    check_run_folder(experiment, folder, resume)
    backbone = load_backbone(**to_plain(experiment.backbone))
    tasks: dict[str, PreparedTask] = {}
    for name in names:
        tasks[name] = load_task(name, backbone, experiment.data, experiment.tasks)
        for note in tasks[name].notes():
            progress.message(note)
    open_run_folder(experiment, folder)
    backbone_digest = backbone.fingerprint()
    write_environment(
        folder,
        experiment.seeds,
        {name: task.data.fingerprint for name, task in tasks.items()},
        backbone.facts() | {"fingerprint": backbone_digest},
    )
    run = _Run(experiment, folder, backbone, backbone_digest, tasks, progress)
    for seed in experiment.seeds:
        done: dict[str, _Done] = {}
        stored_source = _stored_source(run)
        if stored_source is not None:
            done["source"] = stored_source
        for stage in stages:
            done[stage.name] = _do(run, seed, stage, done)


def _stored_source(run: _Run) -> _Done | None:
    """The source prompt of an earlier run that the targets name."""
    targets = run.experiment.targets
    if targets is None or targets.source_prompt is None:
        return None
    stored = load_prompt(Path(targets.source_prompt))
    if stored.prompt.width != run.backbone.width:
        raise CheckpointError(
            f"the prompt in {targets.source_prompt} has width {stored.prompt.width} (trained with {stored.backbone}); "
            f"the backbone {run.backbone.name} needs {run.backbone.width}"
        )
    return _Done(digest({name: p.tolist() for name, p in stored.prompt.named_parameters()}), lambda: stored.prompt)


def _do(run: _Run, seed: int, stage: PlannedStage, done: dict[str, _Done]) -> _Done:
    """Do the work of a stage unless its folder holds the result; hand on its prompt as it is stored."""
    tasks = [run.tasks[name] for name in stage.tasks]
    targets = run.experiment.targets
    if stage.shots != "all" and targets is not None:
        tasks = [task.few_shot(stage.shots, seed, targets.balanced, run.backbone) for task in tasks]
    wire = {"teacher": _teacher, "source": _source, "target": _target}[stage.kind]
    job = _Job(run, seed, stage, tasks, {name: done[name] for name in stage.needs})
    depends_on, work = wire(job)
    own = [repr(run.experiment.tasks[name]) for name in stage.tasks if name in run.experiment.tasks]
    if own:  # the version of a registered task says the same
        depends_on["own_tasks"] = own
    folder = run.folder / f"seed-{seed}" / stage.name
    identity = digest(
        {
            "version": STAGE_VERSION,
            "stage": stage.name,
            "seed": seed,
            "backbone": run.backbone_digest,
            "data": [(task.name, task.task.version, task.data.fingerprint, len(task.train)) for task in tasks],
            "depends_on": depends_on | {name: each.identity for name, each in job.needed.items()},
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
        title = stage.name if len(run.experiment.seeds) == 1 else f"seed {seed}, {stage.name}"
        outcomes = work(Place(stage.name, folder, identity, run.progress, title))
        for outcome, task in zip(outcomes, tasks, strict=True):
            write_predictions(folder, task, outcome)
        scores = [outcome.score for outcome in outcomes]
        record = {"version": 1, "identity": identity, "scores": [s.to_json() for s in scores]}
        if stage.shots != "all":
            record["few_shot_rows"] = {task.name: [each.row_id for each in task.data.train] for task in tasks}
        write_json(result, record)
        (folder / "checkpoint.safetensors").unlink(missing_ok=True)
        run.scores += scores
        run.progress.end(", ".join(f"{s.task} {s.metric} {s.value:.1f}" for s in scores))
    write_results(run.folder / "results.json", run.experiment.name, run.scores)
    return _Done(identity, partial(load_learned, folder))


def _teacher(job: _Job) -> Wired:
    options, prompt = job.run.experiment.teachers, job.run.experiment.prompt

    def work(place: Place) -> list[Outcome]:
        teacher, report = train_teacher(job.run.backbone, job.tasks[0], options, prompt, job.seed, place)
        return job.outcome(teacher, report, place)

    return {"options": to_plain(options), "prompt": to_plain(prompt)}, work


def _source(job: _Job) -> Wired:
    options, prompt = job.run.experiment.source, job.run.experiment.prompt
    assert options is not None, "a source stage is planned only with its options"
    if job.stage.method == "attention":
        # ATTEMPT's network, with a prompt for each source task that is not handed on
        return _built(job, options.training, options.mixing, SOURCE_EPOCHS)
    if job.stage.method == "mixture":
        options = replace(options, decomposed=False, distillation=DistillationOptions(kind="none"))

    def work(place: Place) -> list[Outcome]:
        learned = [each.learned() for each in job.needed.values()]
        teachers = [prompt for prompt in learned if isinstance(prompt, SoftPrompt)]
        student, report = train_source(job.run.backbone, job.tasks, teachers, options, prompt, job.seed, place)
        return job.outcome(student, report, place)

    return {"options": to_plain(options), "prompt": to_plain(prompt)}, work


def _target(job: _Job) -> Wired:
    options = job.run.experiment.targets
    assert options is not None, "a target stage is planned only with its options"
    training = options.training if job.stage.shots == "all" else options.few_shot_training
    return _built(job, training, options.mixing, target_epochs(job.tasks))


def _built(job: _Job, training: TrainingOptions, mixing: MixingOptions, default_epochs: int) -> Wired:
    """A stage that trains one of the methods of targets."""
    prompt, targets = job.run.experiment.prompt, job.run.experiment.targets
    assert targets is not None, "the stage is planned for a method of targets"
    chosen = options_of(job.stage, targets.methods)

    def work(place: Place) -> list[Outcome]:
        start = job.start(chosen, training, place)
        with build_method(job.stage.method, start) as method:
            report = train_stage(method, job.tasks, training, mixing, default_epochs, job.seed, place)
            return job.outcome(method, report, place)

    depends_on = {"method": chosen, "training": training, "prompt": prompt, "mixing": mixing}
    return {name: to_plain(value) for name, value in depends_on.items()}, work
