"""Prompt tuning: the task loss, and nothing but the prompt moves.

With a ``SoftPrompt`` this is ordinary prompt tuning, the way teachers are trained. With a ``DecomposedPrompt`` it is
the target stage of multitask prompt tuning, for one task or a group of tasks with one shared prompt (section 3.2).
"""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

from multiprompt.backbone.base import Backbone
from multiprompt.batch import Batch
from multiprompt.methods.base import ParameterGroup, TaskMethod
from multiprompt.prompts import DecomposedPrompt, Prompt


class PromptTuning(TaskMethod):
    """Train a prompt on the task loss.

    Args:
        backbone: the frozen model.
        prompt: what is trained.
        learning_rate: of a plain or shared prompt (the paper: 0.3).
        factor_learning_rate: of ``u`` and ``v`` of a decomposed prompt (the paper: 0.3 on the source tasks, 0.4 on a
            target).
        dropout: whether the frozen model drops out while training, as all public code does.
    """

    joins = True
    title = "the prompt"

    def __init__(
        self,
        backbone: Backbone,
        prompt: Prompt,
        learning_rate: float = 0.3,
        factor_learning_rate: float = 0.4,
        dropout: bool = True,
    ) -> None:
        super().__init__(backbone, dropout)
        self.prompt = prompt.to(backbone.device)
        self.learning_rate = learning_rate
        self.factor_learning_rate = factor_learning_rate

    @property
    def prompt_length(self) -> int:
        return self.prompt.length

    def prompts(self, batch: Batch) -> Float[Tensor, "B P D"]:
        return self.prompt.of_examples(batch.tasks)

    def parameter_groups(self) -> list[ParameterGroup]:
        return prompt_parameter_groups(self.prompt, self.learning_rate, self.factor_learning_rate)

    def task_parameters(self) -> list[list[nn.Parameter]]:
        if not isinstance(self.prompt, DecomposedPrompt):
            return []
        return [list(factors) for factors in zip(self.prompt.u, self.prompt.v, strict=True)]

    def trained(self) -> Mapping[str, nn.Parameter]:
        return dict(self.prompt.named_parameters())


def prompt_parameter_groups(prompt: Prompt, learning_rate: float, factor_learning_rate: float) -> list[ParameterGroup]:
    """The parameters of a prompt with their two learning rates (appendix A); frozen ones are left out."""
    if isinstance(prompt, DecomposedPrompt):
        factors: list[nn.Parameter] = [*prompt.u, *prompt.v]
        groups = [
            ParameterGroup("shared prompt", [prompt.shared], learning_rate),
            ParameterGroup("task factors", factors, factor_learning_rate),
        ]
        return [group for group in groups if group.parameters[0].requires_grad]
    return [ParameterGroup("prompt", list(prompt.parameters()), learning_rate)]
