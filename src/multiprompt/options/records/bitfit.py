"""BitFit."""

from __future__ import annotations

from dataclasses import dataclass

from multiprompt.options.records.base import MethodOptions, MethodRecord, register_method


@dataclass(frozen=True)
class BitFitOptions(MethodOptions):
    """A bias on every layer and norm (Ben Zaken et al. 2022).

    Raises:
        ConfigError: a number is not above 0.
    """

    method = "bitfit"

    learning_rate: float = 3e-4
    """Learning rate of the biases."""


register_method(
    MethodRecord(
        options=BitFitOptions,
        version=1,
        about="A bias on every layer and norm.",
        trains="outputs of all layers (280,960 on T5-base)",
        build="multiprompt.methods.bitfit:build",
        count="multiprompt.methods.bitfit:count",
        place=7,
        other_names=("bias_tuning", "bias_only_fine_tuning"),
    )
)
