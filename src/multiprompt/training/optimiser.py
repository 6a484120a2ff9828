"""Optimisers and the schedule of their learning rates."""

from __future__ import annotations

from typing import Any

import torch

from multiprompt.methods import ParameterGroup
from multiprompt.options import TrainingOptions


def build_optimiser(groups: list[ParameterGroup], options: TrainingOptions) -> torch.optim.Optimizer:
    """An optimiser over the groups; each keeps the top of its schedule under ``"top"``.

    Parameters without a gradient are passed over by both optimisers, weight decay included.
    """
    settings: list[dict[str, Any]] = [
        {"params": group.parameters, "lr": group.learning_rate, "top": group.learning_rate} for group in groups
    ]
    if options.optimiser == "adafactor":
        from transformers.optimization import Adafactor

        # As in Lester et al. (2021): an external learning rate, no scaling by the size of the parameters.
        return Adafactor(
            settings,
            scale_parameter=False,
            relative_step=False,
            warmup_init=False,
            weight_decay=options.weight_decay,
        )
    return torch.optim.AdamW(settings, weight_decay=options.weight_decay, fused=True)


def learning_rate_factor(step: int, steps: int, schedule: str, warmup_ratio: float) -> float:
    """Share of the top learning rate in step ``step`` (from 0) of ``steps``.

    It rises linearly during the warm-up, reaching 1 in its last step, then falls linearly to reach 0 right after
    the last step (``"linear"``) or stays at 1 (``"constant"``). The warm-up is a share of the steps: a fixed number
    of steps, as in public code, would be longer than the whole training of a small task.
    """
    warmup = round(warmup_ratio * steps)
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    return (steps - step) / max(1, steps - warmup)
