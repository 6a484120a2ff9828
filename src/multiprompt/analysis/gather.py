"""The prompts of several runs that are compared: which, what they are called, what was left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from multiprompt.analysis.stages import is_finished, leaves_prompt, match_stages, read_prompt, rows_of
from multiprompt.config import to_plain
from multiprompt.errors import ConfigError
from multiprompt.options import Experiment
from multiprompt.plan import PlannedStage, plan_stages
from multiprompt.prompts import SharedPrompt
from multiprompt.runs.run_folder import read_run_config


@dataclass(frozen=True)
class FoundPrompt:
    """The prompt of one task, by one stage of one seed.

    Attributes:
        run: name of the run; runs that differ in seeds and name alone have one.
        seed: of the stage.
        stage: that trained it.
        task: its task.
        rows: the plain prompt.
        backbone: name of the model that it was trained with.
        origin: prompts of one origin and seed started from the same rows.
        label: for people, the same for all seeds and draws.
    """

    run: str
    seed: int
    stage: PlannedStage
    task: str
    rows: Float[np.ndarray, "P D"]
    backbone: str
    origin: str
    label: str = ""


def find_prompts(runs: Sequence[Path], patterns: Sequence[str] | None) -> tuple[list[FoundPrompt], list[str]]:
    """The prompts of finished stages, with labels that tell them apart, and what was left out, in words.

    Args:
        runs: folders.
        patterns: of the names of stages; None for those of mpt on targets with all examples or, in a run without
            them, for all that leave a prompt.

    Raises:
        CheckpointError: a folder holds no run, or the files of a stage are not as they were written.
        ConfigError: the same stages of the same seed are named twice.
        UnknownNameError: a pattern matches no stage.
    """
    if len({run.resolve() for run in runs}) < len(runs):
        raise ConfigError("a run folder is named twice; name each once")
    experiments = [read_run_config(run) for run in runs]
    kinds = [to_plain(replace(experiment, name="", seeds=(0,))) for experiment in experiments]
    names = [str(runs[kinds.index(kind)]) for kind in kinds]  # of the first run of its kind
    found: list[FoundPrompt] = []
    unfinished, without = [], []
    for run, name, experiment in zip(runs, names, experiments, strict=True):
        chosen = _default_stages(experiment) if patterns is None else match_stages(experiment, patterns)
        for seed in experiment.seeds:
            for stage in chosen:
                if not is_finished(run, seed, stage):
                    unfinished.append(f"{run}/seed-{seed}/{stage.name}")
                elif leaves_prompt(run, seed, stage):
                    found += _items(run, name, seed, stage, experiment)
                else:
                    without.append(stage.name)
    seen: set[tuple[str, int, str]] = set()
    for item in found:
        key = (item.run, item.seed, f"{item.stage.name} {item.task}")
        if key in seen:
            raise ConfigError(f"two of the runs are the same experiment with the same seed {item.seed}; leave one out")
        seen.add(key)
    return _labelled(found), list(_left_out(unfinished, without, patterns))


def _left_out(unfinished: Sequence[str], without: Sequence[str], patterns: Sequence[str] | None) -> Iterator[str]:
    if unfinished:
        more = f" and {len(unfinished) - 1} more stages" if len(unfinished) > 1 else ""
        yield f"left out: {unfinished[0]}{more}, not finished (run the experiment with --resume)"
    if without and patterns is not None:  # nobody asked for these by name
        names = list(dict.fromkeys(without))
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield f"left out: {names[0]}{more}, without a prompt: their methods train something else"


def _default_stages(experiment: Experiment) -> list[PlannedStage]:
    stages = plan_stages(experiment)
    adapted = [s for s in stages if (s.kind, s.method, s.shots) == ("target", "mpt", "all")]
    return adapted or [stage for stage in stages if stage.scored]


def _items(run: Path, name: str, seed: int, stage: PlannedStage, experiment: Experiment) -> Iterator[FoundPrompt]:
    stored = read_prompt(run, seed, stage)
    tasks = stored.tasks[:1] if isinstance(stored.prompt, SharedPrompt) else stored.tasks  # one prompt, so one item
    for task_id, task in enumerate(tasks):
        shown = task if len(tasks) == len(stored.tasks) else "+".join(stored.tasks)
        rows = rows_of(stored.prompt, task_id)
        yield FoundPrompt(name, seed, stage, shown, rows, stored.backbone, f"{name} {_origin(stage, experiment)}")


def _origin(stage: PlannedStage, experiment: Experiment) -> str:
    """Prompts of one origin start from the same rows."""
    if stage.method in ("student", "mpt"):
        return "source"
    fixed = experiment.prompt.start in ("text", "saved") and stage.method in (
        "teacher",
        "early",
        "prompt_tuning",
        "mixture",
    )
    return "given" if fixed else stage.name


def _labelled(found: Sequence[FoundPrompt]) -> list[FoundPrompt]:
    """Labels of the task alone, and of what else differs."""
    runs, methods = {item.run for item in found}, {item.stage.method for item in found}
    shots = {item.stage.shots for item in found}

    def label(item: FoundPrompt) -> str:
        parts = [item.task] + [item.stage.method] * (len(methods) > 1) + [str(item.stage.shots)] * (len(shots) > 1)
        return " ".join(parts + [f"({item.run})"] * (len(runs) > 1))

    return [replace(item, label=label(item)) for item in found]
