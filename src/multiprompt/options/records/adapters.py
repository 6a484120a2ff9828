"""Adapters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from multiprompt.options.records.base import MethodOptions, MethodRecord, register_method, trained_first


@dataclass(frozen=True)
class AdapterOptions(MethodOptions):
    """Small bottleneck layers inside every block, and the layer norms (Houlsby et al. 2019).

    Raises:
        ConfigError: a number is not above 0, or source tasks contradict.
    """

    method = "adapters"

    learning_rate: float = 3e-4
    """Learning rate of the layers and norms."""
    reduction: int = 32
    """The bottleneck is the width of the model divided by it."""
    places: Literal["both", "self_attention"] = "both"
    """After self-attention and after the feed-forward layer of every block, or after self-attention alone."""
    source_tasks: tuple[str, ...] = ()
    """Tasks that the adapters and norms are trained on first, all together: targets start from them."""
    nearest: dict[str, str] = field(default_factory=dict)
    """By target, the source task whose adapters it starts from. A target that is not named starts from its own if it is
    a source task, or else from that of the first one."""


register_method(
    MethodRecord(
        options=AdapterOptions,
        version=1,
        about="A bottleneck behind self-attention and feed-forward of every block, and the norms.",
        trains="2·d·b + b + d for each place, and the norms; in a group norms/K",
        build="multiprompt.methods.adapters:build",
        count="multiprompt.methods.adapters:count",
        place=6,
        other_names=("bottleneck_adapters", "houlsby_adapters"),
        needs=trained_first,
        first="multitask_adapters",
        grouped=True,
    )
)
