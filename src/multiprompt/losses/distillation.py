"""Distillation from the teachers' prompts into the student's (Eq. 3 to 5), and the prompt-distance variant."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F


def logit_divergence(
    student: Float[Tensor, "N V"],
    teacher: Float[Tensor, "N V"],
    example_ids: Int[Tensor, " N"],
    batch_size: int,
    temperature: float = 1.0,
) -> Float[Tensor, " B"]:
    """KL(teacher || student) of the output distributions at a temperature, summed for each example (Eq. 3).

    For every target position: ``sum_j p_T[j] (log p_T[j] - log p_S[j])`` over the whole vocabulary, with
    ``p = softmax(z / temperature)``: the expectation is the teacher's. The result is multiplied by the temperature's
    square, so that gradients keep their size when the temperature changes (Hinton et al., 2015).

    Args:
        student: scores at the target positions that count; gradients flow through these alone.
        teacher: scores of the teacher at the same positions.
        example_ids: the example that each position belongs to.
        batch_size: B.
        temperature: above zero. The paper does not give its value.
    """
    student_log = F.log_softmax(student.float() / temperature, dim=-1)
    teacher_log = F.log_softmax(teacher.detach().float() / temperature, dim=-1)
    divergence = F.kl_div(student_log, teacher_log, reduction="none", log_target=True).sum(-1)
    return divergence.new_zeros(batch_size).index_add(0, example_ids, divergence * temperature**2)


def hidden_state_error(
    student: Float[Tensor, "B N D"], teacher: Float[Tensor, "B N D"], mask: Bool[Tensor, "B N"]
) -> Float[Tensor, " B"]:
    """Squared difference of hidden states, averaged over the width, summed over the positions that count (Eq. 4).

    Divided by the number of positions it is the mean squared error over real positions. A literal sum over
    positions and width would be about 1e5 times the task loss.
    """
    error = (student.float() - teacher.detach().float()).pow(2).mean(-1)
    return (error * mask).sum(1)


def normalised_layers(states: Sequence[Float[Tensor, "B N D"]]) -> Float[Tensor, "B N LD"]:
    """States of several layers, each divided by its root mean square over the width, side by side.

    A residual stream without norms between its blocks grows to hundreds with depth; without the division the last
    layers would be all that counts. The mean squared error of the result is the mean over the layers.
    """
    scaled = [s.float() * torch.rsqrt(s.float().pow(2).mean(-1, keepdim=True) + 1e-6) for s in states]
    return torch.cat(scaled, dim=-1)


def prompt_distance(student: Float[Tensor, "B P D"], teacher: Float[Tensor, "B P D"]) -> Float[Tensor, " B"]:
    """Mean squared difference between each example's prompt and its teacher's: the ablation of section 4.3."""
    return (student.float() - teacher.detach().float()).pow(2).mean((1, 2))
