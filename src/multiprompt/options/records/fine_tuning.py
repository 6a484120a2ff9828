"""Full fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass

from multiprompt.options.records.base import MethodOptions, MethodRecord, register_method, trained_first


@dataclass(frozen=True)
class FineTuningOptions(MethodOptions):
    """Every weight of the backbone.

    Raises:
        ConfigError: a number is not above 0, or source tasks contradict.
    """

    method = "fine_tuning"

    learning_rate: float = 3e-4
    """Learning rate of all weights."""
    source_tasks: tuple[str, ...] = ()
    """Tasks that the model is trained on first, all together: targets start from it, and not from the backbone."""


register_method(
    MethodRecord(
        options=FineTuningOptions,
        version=1,
        about="Every weight of the backbone.",
        trains="all of the backbone; in a group all/K",
        build="multiprompt.methods.fine_tuning:build",
        count="multiprompt.methods.fine_tuning:count",
        place=3,
        other_names=("ft", "full", "finetuning", "full_fine_tuning", "full_finetuning"),
        needs=trained_first,
        first="multitask_fine_tuning",
        grouped=True,
        moves_backbone=True,
    )
)
