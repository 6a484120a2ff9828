"""What one more pass through a model costs, and how much a pass may hold, by the kind of device.

A pass takes time for its tokens, padding among them, and a fixed time: on a CPU for calls, on a GPU for launching some
thousands of kernels. The fixed time is given in padded tokens that are computed in the same time. So a step is cut into
passes of examples of like length only where that saves more padding than it costs. ``benchmarks/pass_costs.py``
measures it on the machine at hand.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class PassCosts:
    """Costs of a pass in training, in padded tokens (prompts included).

    Attributes:
        micro_batch: fixed cost of one more micro-batch of a run.
        joint_pass: fixed cost of one more pass of several runs.
        joint_examples: most examples of several runs in one pass.
        joint_tokens: most tokens of several runs in one pass.
        most_tokens: most tokens in any pass; None where memory is left to ``training.max_micro_batch``.
    """

    micro_batch: int
    joint_pass: int
    joint_examples: int
    joint_tokens: int
    most_tokens: int | None = None


CPU = PassCosts(micro_batch=150, joint_pass=1000, joint_examples=128, joint_tokens=10_000)
"""Measured on two cores of a server processor; see docs/performance.md."""

GPU_PASS = {8: 5_500, 9: 16_000}
"""Fixed cost of a pass by the major compute capability of a card: of the classes of the A100 (8) and of the H100 (9).

Estimates, not measurements: some 4,000 operations of forward and backward pass at about 5 microseconds each, times the
tokens of T5-base that such a card computes in that time. Older cards are taken as the first class, newer as the last.
"""

ACTIVATION_SHARE = 0.5
"""Share of a card's memory for what a pass keeps for its way back. The rest is for weights, gradients, optimiser states
and the output layer."""

LONGEST = 612
"""Positions that the memory of attention is counted for: the study's longest source, 512 tokens and a prompt of 100."""


def pass_costs(device: torch.device, token_bytes: int) -> PassCosts:
    """The costs of passes on a device.

    Args:
        device: of the model.
        token_bytes: that autograd keeps for one position.
    """
    if device.type != "cuda":
        return CPU
    card = torch.cuda.get_device_properties(device)
    fixed = GPU_PASS[min(max(card.major, min(GPU_PASS)), max(GPU_PASS))]
    room = int(ACTIVATION_SHARE * card.total_memory) // token_bytes
    return PassCosts(fixed, fixed, room, room, room)
