"""DePT."""

from __future__ import annotations

from dataclasses import dataclass

from multiprompt.errors import option_error
from multiprompt.options.records.base import MethodOptions, MethodRecord, register_method


@dataclass(frozen=True)
class DeptOptions(MethodOptions):
    """A shorter prompt and a low-rank matrix added to the source's embeddings (Shi and Lipani 2024).

    Raises:
        ConfigError: a number is not above 0, or the share is not below 1.
    """

    method = "dept"

    learning_rate: float = 0.3
    """Learning rate of the prompt."""
    matrix_learning_rate: float = 5e-4
    """Learning rate of the two factors of the low-rank matrix."""
    length_share: float = 0.4
    """Length of the prompt, as a share of prompt.length; the rest of the numbers goes to the matrix."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.length_share < 1:
            raise option_error("targets.methods.dept", f"length_share is {self.length_share}; expected a share below 1")


register_method(
    MethodRecord(
        options=DeptOptions,
        version=1,
        about="A shorter prompt, and a low-rank matrix added to the embeddings of the source.",
        trains="at most l·d",
        build="multiprompt.methods.dept:build",
        count="multiprompt.methods.dept:count",
        place=10,
        before_inputs=True,
    )
)
