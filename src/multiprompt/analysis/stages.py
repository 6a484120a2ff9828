"""Finding the prompts that the finished stages of a run have left."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from jaxtyping import Float

from multiprompt.errors import CheckpointError, ConfigError, unknown_name
from multiprompt.options import Experiment
from multiprompt.plan import PlannedStage, plan_stages
from multiprompt.prompts import Prompt, StoredPrompt, load_prompt
from multiprompt.runs.graph import node_key
from multiprompt.runs.stage_folder import check_whole, read_result


def read_prompt(run: Path, seed: int, stage: PlannedStage) -> StoredPrompt:
    """The prompt of a finished stage.

    Raises:
        CheckpointError: the stage is not finished, has left no prompt, or its files are not as they were written.
    """
    folder = run / node_key(seed, stage.name)
    result = read_result(folder)
    if result is None:
        raise CheckpointError(f"{folder} is not finished; run the experiment with --resume until it is")
    if not leaves_prompt(run, seed, stage):
        raise CheckpointError(
            f"{folder} holds no prompt: {stage.method} trains something else (method.safetensors). Choose a stage of a "
            "method that learns a prompt, such as mpt, prompt_tuning, spot or a teacher"
        )
    check_whole(folder, result)
    return load_prompt(folder / "prompt.safetensors")


def leaves_prompt(run: Path, seed: int, stage: PlannedStage) -> bool:
    """Whether a finished stage has left a prompt, and not the tensors of another method; by its record."""
    folder = run / node_key(seed, stage.name)
    result = read_result(folder)
    files = result.files if result is not None else {}
    # A record without files is that of an earlier release.
    return "prompt.safetensors" in files if files else (folder / "prompt.safetensors").exists()


def is_finished(run: Path, seed: int, stage: PlannedStage) -> bool:
    """Whether a stage is finished.

    Raises:
        CheckpointError: its record is damaged.
    """
    return read_result(run / node_key(seed, stage.name)) is not None


def rows_of(prompt: Prompt, task_id: int) -> Float[np.ndarray, "P D"]:
    """The plain prompt of one task, as the model gets it, in double precision."""
    return prompt.collapse([task_id])[0].detach().cpu().double().numpy()


def match_stages(experiment: Experiment, patterns: Sequence[str]) -> list[PlannedStage]:
    """The stages whose names match one of some glob patterns, in plan order.

    Raises:
        UnknownNameError: a pattern matches no stage of the experiment.
    """
    stages = plan_stages(experiment)
    for pattern in patterns:
        if not any(fnmatchcase(stage.name, pattern) for stage in stages):
            raise unknown_name("stage of this experiment", pattern, [stage.name for stage in stages])
    return [stage for stage in stages if any(fnmatchcase(stage.name, pattern) for pattern in patterns)]


def find_stage(experiment: Experiment, name: str) -> tuple[int, PlannedStage]:
    """The seed and the stage that a name means.

    Args:
        experiment: of the run.
        name: such as "seed-1/source", or "source" for that of the first seed.

    Raises:
        ConfigError: the experiment has no such seed.
        UnknownNameError: it has no such stage.
    """
    seeds = {f"seed-{seed}": seed for seed in experiment.seeds}
    folder, _, rest = name.rstrip("/").rpartition("/")
    if folder and folder not in seeds:
        raise ConfigError(
            f"{name!r} names no seed of this experiment; expected SEED/STAGE with one of {', '.join(seeds)}, or a "
            "stage alone"
        )
    stages = {stage.name: stage for stage in plan_stages(experiment)}
    if rest not in stages:
        raise unknown_name("stage of this experiment", rest, stages)
    return (seeds[folder] if folder else experiment.seeds[0]), stages[rest]
