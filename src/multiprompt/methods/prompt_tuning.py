"""Prompt tuning: the task loss, and nothing but the prompt moves.

With a ``SoftPrompt`` this is ordinary prompt tuning, the way teachers are trained. With a ``DecomposedPrompt`` it is
the target stage of multitask prompt tuning, for one task or a group of tasks with one shared prompt (section 3.2).
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from multiprompt.backbone import FrozenT5
from multiprompt.batch import Batch
from multiprompt.losses import token_cross_entropy
from multiprompt.methods.base import ParameterGroup, move_to
from multiprompt.prompts import DecomposedPrompt, Prompt


class PromptTuning:
    """Train a prompt on the task loss.

    Args:
        backbone: the frozen model.
        prompt: what is trained.
        learning_rate: of a plain or shared prompt (the paper: 0.3).
        factor_learning_rate: of ``u`` and ``v`` of a decomposed prompt (the paper: 0.3 on the source tasks, 0.4 on a
            target).
        dropout: whether the frozen model drops out while training, as all public code does.
    """

    def __init__(
        self,
        backbone: FrozenT5,
        prompt: Prompt,
        learning_rate: float = 0.3,
        factor_learning_rate: float = 0.4,
        dropout: bool = True,
    ) -> None:
        self.backbone = backbone
        self.prompt = prompt.to(backbone.device)
        self.learning_rate = learning_rate
        self.factor_learning_rate = factor_learning_rate
        self.dropout = dropout

    @property
    def weights(self) -> dict[str, float]:
        return {"task": 1.0}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"task": batch.target_lengths}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        with self.backbone.dropout(self.dropout):
            output = self.backbone.forward(batch, self.prompt(batch.task_ids))
        return {"task": token_cross_entropy(output.logits, output.labels, output.example_ids, len(batch))}

    def parameter_groups(self) -> list[ParameterGroup]:
        return prompt_parameter_groups(self.prompt, self.learning_rate, self.factor_learning_rate)

    def tensors(self) -> dict[str, Tensor]:
        return {name: parameter.detach() for name, parameter in self.prompt.named_parameters()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        move_to(self.prompt, tensors, "the prompt")

    def prompts(self, task_ids: Tensor) -> Tensor | None:
        module: Callable[[Tensor], Tensor] = self.prompt
        return module(task_ids)


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
