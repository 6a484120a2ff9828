"""Every kind of stage and every method that the package can build, ready to be built on a random backbone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from multiprompt.backbone import T5Backbone
from multiprompt.methods import Learned, Start, StoredMethod
from multiprompt.methods.attempt import Attention
from multiprompt.options import (
    AttemptOptions,
    DataOptions,
    DistillationOptions,
    PromptOptions,
    PromptTuningOptions,
    SourceOptions,
    TeacherOptions,
    TrainingOptions,
    method_records,
    record_of_stage,
)
from multiprompt.plan import early_name, joins
from multiprompt.prompts import DecomposedPrompt, SharedPrompt, SoftPrompt, start_task_factors
from multiprompt.recipes.prepare import PreparedTask, load_task

METHODS = tuple(record.name for record in method_records())
GROUPED = tuple(record.name for record in method_records() if record.grouped)
MULTITASK = {record.first: record.name for record in method_records() if record.first != "attention" and record.first}
KINDS = ("teacher", "early", "student", "mixture", *METHODS, "attention", *MULTITASK)
"""By the names of what stages train."""

JOINED = tuple(kind for kind in KINDS if joins(kind))

TASKS = ("mini-sst2", "mini-rte")
LENGTH = 4

_STUDENT = SourceOptions(tasks=TASKS)
_SOURCE_OPTIONS = {
    "teacher": TeacherOptions(),
    "student": _STUDENT,
    "mixture": replace(_STUDENT, decomposed=False, distillation=DistillationOptions(kind="none")),
    "early": PromptTuningOptions(),
}


def default_options(kind: str) -> Any:
    """What a kind is built with if nobody says more."""
    if kind in _SOURCE_OPTIONS:
        return _SOURCE_OPTIONS[kind]
    record = record_of_stage(kind)
    assert record is not None
    return record.options()


def tasks_of(kind: str) -> tuple[str, ...]:
    """Two tasks for what trains on several, one for all others."""
    several = (*GROUPED, *MULTITASK, "student", "mixture", "attention")
    return TASKS if kind in several else TASKS[1:]


def prepared(backbone: T5Backbone) -> dict[str, PreparedTask]:
    """The tasks: a handful of rows each, and answers of one token."""
    options = DataOptions(max_train=8, max_dev=2, max_test=3, max_source_length=16)
    loaded = [load_task(name, backbone, options) for name in TASKS]
    short = [replace(each.data, task=replace(each.task, generation_length=1)) for each in loaded]
    return {each.name: replace(each, data=data) for each, data in zip(loaded, short, strict=True)}


def learned(width: int) -> Mapping[str, Learned]:
    """What earlier stages have left, as it is read from a disk: on the processor."""
    generator = torch.Generator().manual_seed(3)

    def rows() -> torch.Tensor:
        return torch.randn(LENGTH, width, generator=generator)

    factors = [start_task_factors(LENGTH, width, 1, "near_one", generator) for _ in TASKS]
    network = Attention(width, AttemptOptions().bottleneck, generator)
    tensors = {f"attention.{name}": parameter.detach() for name, parameter in network.named_parameters()}
    return {
        **{f"teacher-{task}": SoftPrompt([rows()]) for task in TASKS},
        "source": DecomposedPrompt(rows(), factors),
        "source-mixture": SharedPrompt(rows(), len(TASKS)),
        "source-attention": StoredMethod("attention", tensors, TASKS),
    }


def start_of(
    kind: str,
    backbone: T5Backbone,
    training: TrainingOptions,
    **changes: Any,
) -> Start:
    """What a kind is made from, with what differs from its default options."""
    names = tasks_of(kind)
    earlier = dict(learned(backbone.width)) | {early_name(kind): SoftPrompt([torch.ones(LENGTH, backbone.width)])}
    if kind in ("teacher", "mixture", "attention"):
        del earlier["source-attention"]
    if kind == "mixture":
        earlier = {}
    return Start(
        backbone=backbone,
        tasks=names,
        options=replace(default_options(kind), **changes),
        training=training,
        prompt=PromptOptions(length=LENGTH),
        earlier=earlier,
        seed=1,
        stage=kind,
        max_source_length=16,
    )


def data_of(start: Start, tasks: Mapping[str, PreparedTask]) -> list[PreparedTask]:
    """The tasks of a method."""
    return [tasks[name] for name in start.tasks]
