"""An experiment of seconds on a random backbone, and a way to end it anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from multiprompt.config import build_experiment
from multiprompt.options import Experiment
from rounding import SAME, assert_same


def small_experiment(backbone: Path, **changes) -> Experiment:
    training = {
        "steps": 4,
        "batch_size": 6,
        "evaluate_every": 2,
        "checkpoint_seconds": 0.0001,
        "log_every": 1,
    }
    values = {
        "name": "small",
        "seeds": [1],
        "backbone": {"name": str(backbone)},
        "data": {"max_train": 20, "max_dev": 6, "max_test": 8, "max_source_length": 24},
        "prompt": {"length": 4, "factor_start": "near_one"},
        "teachers": {"training": training},
        "source": {"tasks": ["mini-sst2", "mini-qqp", "mini-squad"], "training": training},
        "targets": {
            "tasks": ["mini-rte", "mini-boolq"],
            "methods": {"mpt": {}, "prompt_tuning": {}, "fine_tuning": {"learning_rate": 0.001}},
            "training": training,
        },
    }
    for key, value in changes.items():
        if isinstance(value, dict):
            values[key] = values[key] | value
        else:
            values[key] = value
    return build_experiment(values)


def stored_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors in a folder, of which there are some."""
    tensors = {
        f"{path.relative_to(folder)}/{name}": tensor
        for path in sorted(folder.rglob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }
    assert tensors, f"{folder} holds no tensors"
    return tensors


def assert_as_alone(joint: Path, alone: Path) -> None:
    """Two runs, whose stages trained together and alone, are the same up to rounding, in every step and at the end.

    Both have trained with smooth optimisers. How far a tensor has moved is not stored: its changes show in the log.
    """
    tensors, expected = stored_tensors(joint), stored_tensors(alone)
    assert tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        assert_same(tensors[name], tensor, name)
    logs = sorted(path.relative_to(alone) for path in alone.rglob("log.jsonl"))
    assert logs
    for log in logs:
        lines, expected_lines = (
            map(json.loads, (run / log).read_text(encoding="utf-8").splitlines()) for run in (joint, alone)
        )
        for ours, theirs in zip(lines, expected_lines, strict=True):
            assert ours.keys() == theirs.keys(), log
            for key in {"loss", "gradient_norm", "terms", "tasks"} & theirs.keys():
                assert ours[key] == pytest.approx(theirs[key], rel=SAME, abs=2e-5), f"{log}: {key}"


class Killed(BaseException):
    """As sudden as a signal: nothing catches it."""


class KillAt:
    """Ends the run at one of its steps, counted over all stages."""

    def __init__(self, step: int) -> None:
        self.left = step

    def begin(self, stage, total): ...
    def end(self, stage, summary): ...
    def message(self, text): ...
    def step(self, step, loss, speed):
        self.left -= 1
        if self.left == 0:
            raise Killed


class Listener:
    """Notes which trainings were begun, which stages were trained to their end, and what was said."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.trained: list[str] = []
        self.messages: list[str] = []

    def begin(self, stage, total):
        self.begun.append(stage)

    def step(self, step, loss, speed): ...
    def end(self, stage, summary):
        self.trained.append(stage)

    def message(self, text):
        self.messages.append(text)

    def said(self, text: str) -> bool:
        return any(text in message for message in self.messages)
