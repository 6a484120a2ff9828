"""SPoT: what a target prompt starts from, among the prompts of the source tasks.

Vu, Lester, Constant, Al-Rfou, Cer, *SPoT: Better Frozen Model Adaptation through Soft Prompt Transfer*, ACL 2022,
arXiv:2110.07904. Tasks are compared by their prompts: the target's own one, after a short training, with those of the
source tasks. A prompt stands for its task by the mean of its rows, since prompts that start from rows of their own have
no row in common.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from multiprompt.methods.base import Method
from multiprompt.methods.prompt_tuning import PromptTuning
from multiprompt.methods.start import Start
from multiprompt.prompts import SoftPrompt


def prompt_similarities(target: Float[Tensor, "P D"], sources: Float[Tensor, "K P D"]) -> Float[Tensor, " K"]:
    """Cosine of the mean row of the target's prompt with that of every source prompt."""
    return F.cosine_similarity(target.mean(0), sources.mean(1), dim=-1)


def retrieved_start(target: Float[Tensor, "P D"], sources: Float[Tensor, "K P D"]) -> Float[Tensor, "P D"]:
    """The source prompt that is most similar to the target's."""
    return sources[int(prompt_similarities(target, sources).argmax())]


def weighted_start(target: Float[Tensor, "P D"], sources: Float[Tensor, "K P D"]) -> Float[Tensor, "P D"]:
    """The mean of the source prompts, weighted by their similarity; what is not similar at all has no weight."""
    weights = prompt_similarities(target, sources).clamp_min(0)
    if not weights.any():
        weights = torch.ones_like(weights)
    return torch.einsum("k,kpd->pd", weights / weights.sum(), sources)


def build(start: Start) -> Method:
    """A prompt that starts from what source tasks have learned."""
    prompt = SoftPrompt([_start_rows(start)])
    return PromptTuning(start.backbone, prompt, start.options.learning_rate, dropout=start.training.dropout)


def _start_rows(start: Start) -> Float[Tensor, "P D"]:
    if start.options.start == "mixture":
        return start.prompt_of("source-mixture").all_tasks().detach()[0]
    sources = start.teacher_rows()
    if start.options.start not in _CHOICES:
        return sources[0]  # the plan asks for the one teacher that is named
    return _CHOICES[start.options.start](start.early_rows(), sources)


_CHOICES = {"retrieved": retrieved_start, "weighted": weighted_start}
