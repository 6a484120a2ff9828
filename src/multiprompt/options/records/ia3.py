"""IA3."""

from __future__ import annotations

from dataclasses import dataclass

from multiprompt.options.records.base import MethodOptions, MethodRecord, register_method


@dataclass(frozen=True)
class Ia3Options(MethodOptions):
    """Learned scales of keys, values and feed-forward activations, by the peft library (Liu et al. 2022).

    Raises:
        ConfigError: a number is not above 0.
    """

    method = "ia3"

    learning_rate: float = 3e-3
    """Learning rate of the scales."""


register_method(
    MethodRecord(
        options=Ia3Options,
        version=1,
        about="Scales of keys, values and inner states, by the peft library.",
        trains="129,024 on T5-base",
        build="multiprompt.methods.peft_library:build_ia3",
        count="multiprompt.methods.peft_library:count_ia3",
        place=13,
        other_names=("(ia)3", "(ia)^3", "infused_adapter"),
        package=("peft", "peft"),
    )
)
