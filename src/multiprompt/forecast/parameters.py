"""How many numbers a method trains: counted on a backbone without weights, beside the arithmetic of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from multiprompt.backbone.base import Backbone
from multiprompt.backbone.loading import outline_backbone
from multiprompt.errors import ConfigError, unknown_name
from multiprompt.forecast.stand_ins import stand_ins
from multiprompt.methods import Item, Start, build_method
from multiprompt.methods.arithmetic import SOURCE_LENGTH
from multiprompt.methods.distillation import count_decomposed
from multiprompt.options import (
    DistillationOptions,
    PromptOptions,
    SourceOptions,
    TrainingOptions,
    is_method_file,
    load_method_file,
    method_record,
    method_records,
    other_names,
)
from multiprompt.plan import early_name

SOURCE = "source"
"""Name of the source stage of multitask prompt tuning, which is counted too."""


@dataclass(frozen=True)
class ParameterCount:
    """What a method trains.

    Attributes:
        method: its name.
        backbone: name of the backbone.
        tasks: of the group; 1 for a task alone.
        items: the arithmetic.
        trained: numbers that the method, as it was built, trains for all tasks together.
        frozen: numbers of the backbone.
    """

    method: str
    backbone: str
    tasks: int
    items: tuple[Item, ...]
    trained: int
    frozen: int

    @property
    def per_task(self) -> float:
        """Trained numbers for each task."""
        return self.trained / self.tasks


def count_parameters(
    method: str, backbone: str = "t5-base", group: int = 1, length: int = 100, rank: int | None = None
) -> ParameterCount:
    """Build a method with its default options on a backbone without weights, and count what it trains.

    Args:
        method: its name, the path of a Python file that registers one, or "source" for the source stage of multitask
            prompt tuning.
        backbone: a published model, "embedded", "embedded-small", a folder, or another name on the hub.
        group: tasks that are trained together. Methods that share nothing among tasks are built for one task.
        length: of prompts.
        rank: of the factors of mpt and of its source stage, of lora, or of decomposed_prompt_tuning; None for the
            default of the method.

    Raises:
        UnknownNameError: there is no such method.
        ConfigError: a number is not positive, the method has no rank, its package is not installed, or its record says
            another number than it trains.
        BackboneError: the configuration of the backbone cannot be read.
    """
    if is_method_file(method):
        method = load_method_file(method).record.name
    if method not in countable_methods():
        raise unknown_name("method", method, countable_methods(), other_names())
    if group < 1:
        raise ConfigError(f"the group is of {group} tasks; expected 1 or more")
    tasks = group if method == SOURCE or method_record(method).grouped else 1
    options, prompt = _with_rank(method, _default_options(method), PromptOptions(length=length, start="normal"), rank)
    model = outline_backbone(backbone)
    trained = trained_numbers(method, model, tasks, options, prompt)
    arithmetic = tuple(_items(method, model, tasks, options, prompt, trained))
    count = ParameterCount(method, backbone, tasks, arithmetic, trained, model.parameter_count())
    if not math.isclose(count.per_task, counted := sum(item.per_task(tasks) for item in arithmetic)):
        raise ConfigError(f"{method} trains {count.per_task:,} numbers for each task; its count says {counted:,}")
    return count


def trained_numbers(method: str, backbone: Backbone, tasks: int, options: Any, prompt: PromptOptions) -> int:
    """Build a method on a backbone without weights or tokenizer, and count what it trains for all tasks together.

    Args:
        method: its name, or "source".
        backbone: of ``outline_backbone``.
        tasks: that are trained together.
        options: of the method; nothing that has to be trained or retrieved before.
        prompt: starts from random numbers, as words need a tokenizer.
    """
    built = build_method("student" if method == SOURCE else method, _start(backbone, tasks, options, prompt))
    return sum(p.numel() for each in built.parameter_groups() for p in each.parameters)


def countable_methods() -> tuple[str, ...]:
    """What ``count_parameters`` knows, the source stage last."""
    return (*(record.name for record in method_records()), SOURCE)


def _default_options(method: str) -> Any:
    if method == SOURCE:
        return SourceOptions(distillation=DistillationOptions(kind="none"))  # a teacher trains nothing
    return method_record(method).options()


def _items(
    method: str, backbone: Backbone, tasks: int, options: Any, prompt: PromptOptions, trained: int
) -> Sequence[Item]:
    """The arithmetic; of a method that has none, its result alone."""
    if method == SOURCE:
        return count_decomposed(backbone.shape, prompt)
    counter = method_record(method).counter
    if counter is None:
        return [Item("trained numbers", 1, ((trained,),), shared=tasks > 1)]
    items: Sequence[Item] = counter(backbone.shape, prompt, options)
    return items


def _with_rank(method: str, options: Any, prompt: PromptOptions, rank: int | None) -> tuple[Any, PromptOptions]:
    """Options of the method and of its prompts, with the rank in the one or in the other."""
    if rank is None:
        return options, prompt
    if _has_prompt_rank(method):
        return options, replace(prompt, rank=rank)
    if not hasattr(options, "rank"):
        known = sorted(countable_methods(), key=lambda name: not _has_prompt_rank(name))
        ranked = [name for name in known if _has_prompt_rank(name) or hasattr(_default_options(name), "rank")]
        raise ConfigError(f"{method} has no rank; {', '.join(ranked[:-1])} and {ranked[-1]} have one")
    return replace(options, rank=rank), prompt


def _has_prompt_rank(method: str) -> bool:
    """Whether its rank is that of the factors of the shared prompt."""
    return method == SOURCE or method_record(method).needs(_default_options(method), ()).student


def _start(backbone: Backbone, tasks: int, options: Any, prompt: PromptOptions) -> Start:
    """What the method is built from; what earlier stages would have learned is zero here."""
    rows = torch.zeros(prompt.length, backbone.width)
    return Start(
        backbone=backbone,
        tasks=tuple(f"task-{number}" for number in range(tasks)),
        options=options,
        training=TrainingOptions(),
        prompt=prompt,
        earlier=stand_ins(("source", "source-mixture", "teacher-task", early_name("params")), rows, prompt.rank),
        seed=0,
        stage="params",
        max_source_length=SOURCE_LENGTH,
    )
