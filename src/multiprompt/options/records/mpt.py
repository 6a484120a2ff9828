"""Multitask prompt tuning, on the target tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from multiprompt.options.records.base import MethodOptions, MethodRecord, Needs, register_method


@dataclass(frozen=True)
class MptOptions(MethodOptions):
    """Multitask prompt tuning, stage 2: the shared prompt and the mean factors of the source tasks, tuned on.

    Raises:
        ConfigError: a number is not above 0.
    """

    method = "mpt"

    learning_rate: float = 0.3
    """Learning rate of the shared prompt."""
    factor_learning_rate: float = 0.4
    """Learning rate of u and v."""
    adapt: Literal["both", "shared_only", "task_only"] = "both"
    """What is used and tuned (section 4.3): all, the shared prompt without u and v, or u and v alone."""


register_method(
    MethodRecord(
        options=MptOptions,
        version=1,
        about="A shared prompt learnt from many source tasks, and a low-rank matrix per task, all tuned on the target.",
        trains="l·d + r·(l + d); in a group of K tasks l·d/K + r·(l + d)",
        build="multiprompt.methods.mpt:build",
        count="multiprompt.methods.mpt:count",
        place=1,
        other_names=("multitask_prompt_tuning", "multi_task_prompt_tuning"),
        needs=lambda options, source_tasks: Needs(student=True),
        grouped=True,
        before_inputs=True,
    )
)
