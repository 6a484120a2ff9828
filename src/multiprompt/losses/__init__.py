"""Terms of the loss. Each returns one sum per example; the training loop alone divides."""

from multiprompt.losses.distillation import (
    hidden_state_error,
    logit_divergence,
    normalised_layers,
    prompt_distance,
)
from multiprompt.losses.task import token_cross_entropy

__all__ = [
    "hidden_state_error",
    "logit_divergence",
    "normalised_layers",
    "prompt_distance",
    "token_cross_entropy",
]
