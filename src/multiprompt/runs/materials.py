"""What all stages of an experiment are made from, loaded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from multiprompt.backbone.base import Backbone
from multiprompt.backbone.loading import load_backbone
from multiprompt.config import to_plain
from multiprompt.data.sources import missing_files, refuse_missing
from multiprompt.options import Experiment
from multiprompt.plan import PlannedStage
from multiprompt.prompts import Prompt, load_prompt
from multiprompt.recipes.prepare import PreparedTask, choose_task, load_task
from multiprompt.recipes.use import check_width
from multiprompt.runs.setup_notes import notes_on_setup
from multiprompt.seeding import derive_seed
from multiprompt.training import Progress

_Draw = tuple[str, int, int, int]


@dataclass(frozen=True)
class Materials:
    """Options, backbone and data.

    Attributes:
        experiment: the options.
        backbone: the frozen model.
        backbone_digest: its fingerprint.
        tasks: by name, with all their examples.
        source_prompt: the source prompt of an earlier run that the targets name; None if they name none.
    """

    experiment: Experiment
    backbone: Backbone
    backbone_digest: str
    tasks: dict[str, PreparedTask]
    source_prompt: Prompt | None = None
    _draws: dict[_Draw, PreparedTask] = field(default_factory=dict)

    def tasks_of(self, stage: PlannedStage, seed: int) -> list[PreparedTask]:
        """The tasks of a stage, cut to its shots. Every draw is made once.

        Raises:
            ConfigError: a task has fewer examples than the stage asks for.
        """
        tasks = [self.tasks[name] for name in stage.tasks]
        targets = self.experiment.targets
        if stage.shots == "all" or targets is None:
            return tasks
        drawn = []
        for task in tasks:
            key = (task.name, stage.shots, seed, stage.draw)
            if key not in self._draws:
                of = derive_seed(seed, "draw", stage.draw) if stage.draw else seed
                self._draws[key] = task.few_shot(stage.shots, of, targets.balanced, self.backbone)
            drawn.append(self._draws[key])
        return drawn


def load_materials(
    experiment: Experiment, stages: Sequence[PlannedStage], progress: Progress, loaded: Materials | None = None
) -> Materials:
    """Load the backbone and the tasks of some stages.

    Args:
        experiment: the options.
        stages: those that will be run, with all that they start from.
        progress: told what a reader of results should know about backbone, rates and data.
        loaded: inputs of other stages of the same experiment, which get the tasks that they lack.

    Raises:
        DataError: files of tasks are not there; the message lists all of them.
        MultipromptError: the backbone, a task or a stored prompt cannot be loaded, or do not fit each other.
    """
    names = list(dict.fromkeys(name for stage in stages for name in stage.tasks))
    refuse_missing([line for name in names for line in _missing(name, experiment)])
    if loaded is None:
        for note in notes_on_setup(experiment):
            progress.message(note)
        backbone = load_backbone(**to_plain(experiment.backbone))
        digest = backbone.fingerprint()
        source = None if experiment.targets is None else experiment.targets.source_prompt
        start = experiment.prompt.path
        stored = {path: load_prompt(Path(path)) for path in (source, start) if path is not None}
        for path, each in stored.items():
            check_width(f"the prompt in {path} (trained with {each.backbone})", each.prompt.width, backbone)
            if other := each.other_model(backbone.name, digest):
                progress.message(f"the prompt in {path}: {other}")
        loaded = Materials(experiment, backbone, digest, {}, None if source is None else stored[source].prompt)
    for name in names:
        if name not in loaded.tasks:
            task = loaded.tasks[name] = load_task(name, loaded.backbone, experiment.data, experiment.tasks)
            for note in task.notes():
                progress.message(note)
    return loaded


def _missing(name: str, experiment: Experiment) -> list[str]:
    """What of a task's files is not there; all tasks are asked before anything is loaded."""
    task, _ = choose_task(name, experiment.data, experiment.tasks)
    location = experiment.data.location
    return missing_files(task, Path(location) if location else None)
