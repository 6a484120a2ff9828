"""Plain soft prompts, one matrix per task (Lester et al., EMNLP 2021, arXiv:2104.08691)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from multiprompt.prompts.base import Prompt


class SoftPrompt(Prompt):
    """K independent prompts.

    Args:
        starts: the first value of each task's prompt, ``[P, D]`` each (see ``prompts.starts``). They are copied, as
            fp32, whatever the precision of the backbone.

    Raises:
        ValueError: no prompt is given, or their shapes differ.
    """

    def __init__(self, starts: Sequence[Float[Tensor, "P D"]]) -> None:
        super().__init__()
        if not starts:
            raise ValueError("a SoftPrompt needs the start of at least one prompt")
        if len({tuple(start.shape) for start in starts}) > 1 or starts[0].dim() != 2:
            raise ValueError(f"prompts must be [P, D] and of one shape, got {[tuple(s.shape) for s in starts]}")
        self.num_tasks = len(starts)
        self.length, self.width = starts[0].shape
        self.prompts = nn.ParameterList(start.detach().clone().float() for start in starts)

    def collapse(self, tasks: list[int]) -> Float[Tensor, "K P D"]:
        return torch.stack([self.prompts[task] for task in tasks])


class SharedPrompt(Prompt):
    """One plain prompt that K tasks share: source training without decomposition (Table 6, first two rows).

    Args:
        start: its first value.
        num_tasks: K.
    """

    def __init__(self, start: Float[Tensor, "P D"], num_tasks: int) -> None:
        super().__init__()
        self.num_tasks = num_tasks
        self.length, self.width = start.shape
        self.shared = nn.Parameter(start.detach().clone().float())

    def collapse(self, tasks: list[int]) -> Float[Tensor, "K P D"]:
        return self.shared.expand(len(tasks), -1, -1)
