"""What a finished stage has trained, as a method that can be used again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from multiprompt.backbone.base import Backbone
from multiprompt.errors import CheckpointError
from multiprompt.files import read_json
from multiprompt.methods import (
    Method,
    PromptTuning,
    Start,
    StoredMethod,
    TaskMethod,
    build_method,
    load_learned,
    load_method,
)
from multiprompt.options import Experiment
from multiprompt.plan import options_of, plan_stages
from multiprompt.prompts import StoredPrompt, load_prompt
from multiprompt.recipes.prepare import choose_task
from multiprompt.runs.graph import STAGE_VERSION
from multiprompt.runs.stage_folder import STAGE, check_whole, read_result

PROMPT = "prompt.safetensors"
"""File of a stage whose method has trained a prompt and nothing else."""


@dataclass(frozen=True)
class Restored:
    """What a stage has trained, in a method of its backbone.

    Attributes:
        method: changes the backbone inside its ``with`` block only.
        learned: as it was stored.
    """

    method: Method
    learned: StoredPrompt | StoredMethod

    @property
    def joins(self) -> bool:
        """Whether it acts on the inputs of the backbone alone."""
        return isinstance(self.method, TaskMethod) and self.method.joins

    @property
    def size(self) -> int:
        """Numbers in memory beside those of a prompt."""
        tensors = self.learned.tensors if isinstance(self.learned, StoredMethod) else {}
        return sum(tensor.numel() for tensor in tensors.values())

    @contextmanager
    def inside(self) -> Iterator[Method]:
        """The method as it was trained, in force inside the ``with`` block."""
        with self.method as method:
            if isinstance(self.learned, StoredMethod):
                method.load(self.learned.tensors)
            yield method


def restore(backbone: Backbone, experiment: Experiment, folder: Path) -> Restored:
    """What a stage has trained, in its method.

    Raises:
        CheckpointError: a file of the stage, or of one that it needs, is not as it was written, or the backbone is
            another one.
    """
    check_stage(folder)
    _check_backbone(folder, backbone)
    if (folder / PROMPT).exists():
        prompt = load_prompt(folder / PROMPT)
        return Restored(PromptTuning(backbone, prompt.prompt), prompt)
    trained = load_method(folder / "method.safetensors")
    targets = experiment.targets
    assert targets is not None, "only the methods of targets store something else than a prompt"
    stage = next(stage for stage in plan_stages(experiment) if stage.name == folder.name)
    for name in stage.needs:
        check_stage(folder.parent / name)
    start = Start(
        backbone=backbone,
        tasks=trained.tasks,
        options=options_of(stage, targets.methods),
        training=targets.training,
        prompt=experiment.prompt,
        earlier={name: load_learned(folder.parent / name) for name in stage.needs},
        seed=int(folder.parent.name.removeprefix("seed-")),
        stage=stage.name,
        max_source_length=max(
            choose_task(name, experiment.data, experiment.tasks)[0].max_source_length for name in trained.tasks
        ),
    )
    return Restored(build_method(stage.method, start), trained)


def _check_backbone(folder: Path, backbone: Backbone) -> None:
    """Stages of earlier releases name their backbone in another way, and are not checked."""
    made_from = read_json(folder / STAGE).get("made_from", {}) if (folder / STAGE).exists() else {}
    if made_from.get("version") == STAGE_VERSION and made_from.get("backbone") != backbone.fingerprint():
        raise CheckpointError(
            f"the backbone {backbone.name} is not the one that {folder} was trained with: its weights or its tokenizer "
            "have changed since, and the answers would be those of another model. Put the old files back, or run the "
            "experiment again"
        )


def check_stage(folder: Path) -> None:
    """Check that a stage is finished and whole.

    Raises:
        CheckpointError: it is not.
    """
    result = read_result(folder)
    if result is None:
        raise CheckpointError(f"{folder} is not finished; run the experiment with --resume")
    check_whole(folder, result)
