"""What one more pass through a model costs on this machine, in padded tokens of work.

A pass of B examples of one length takes about ``fixed + B * length * seconds for a token``. Both are fitted to forward
and backward passes of several sizes by least squares; ``fixed / seconds for a token`` is the cost that
``multiprompt.backbone.costs`` has for a kind of device. Put a figure there that this program prints, and name the card.

    python benchmarks/pass_costs.py                    # T5-base shape on a GPU, the smaller shapes on a CPU
    python benchmarks/pass_costs.py --shape small --device cpu
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import numpy as np
import torch

from common import PROMPT_LENGTH, SHAPES, describe_machine, random_backbone, random_prompt, seconds_on
from multiprompt.backbone import T5Backbone
from multiprompt.batch import Batch
from multiprompt.methods import PromptTuning

SIZES = (1, 2, 4, 8, 16, 32)
TARGET = 3


def batch_of(size: int, length: int, device: torch.device) -> Batch:
    """Random tokens, all of one length."""
    ids = torch.randint(3, 2000, (size, length), generator=torch.Generator().manual_seed(size))
    labels = ids[:, :TARGET].clone()
    return Batch(ids, torch.ones_like(ids), labels, torch.zeros(size, dtype=torch.long)).to(device)


def training_pass(backbone: T5Backbone, batch: Batch) -> Callable[[], None]:
    """Forward and backward of prompt tuning without dropout."""
    method = PromptTuning(backbone, random_prompt(backbone.width), dropout=False)

    def run() -> None:
        method.losses(batch)[0].sums.sum().backward()

    return run


def fitted(tokens: np.ndarray, seconds: np.ndarray) -> tuple[float, float]:
    """Fixed seconds, and seconds for a token.

    Weighted by one over the seconds: an error of a tenth counts alike for a small and a large pass.
    """
    rows = np.stack([np.ones(len(tokens)), tokens], 1) / seconds[:, None]
    (fixed, for_token), *_ = np.linalg.lstsq(rows, np.ones(len(tokens)), rcond=None)
    return float(fixed), float(for_token)


def measured(backbone: T5Backbone, length: int, rounds: int) -> tuple[np.ndarray, float, float]:
    """Median seconds of every size, and what is fitted to them."""
    passes = {size: training_pass(backbone, batch_of(size, length, backbone.device)) for size in SIZES}
    taken: dict[int, list[float]] = {size: [] for size in SIZES}
    for turn in range(rounds + 1):
        for size, run in passes.items():
            seconds = seconds_on(backbone.device, run)
            if turn:
                taken[size].append(seconds)
    medians = np.array([statistics.median(taken[size]) for size in SIZES])
    return medians, *fitted(np.array(SIZES) * (length + PROMPT_LENGTH), medians)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--shape", choices=tuple(SHAPES), action="append")
    parser.add_argument("--length", type=int, default=64, help="source tokens of every example")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    print(describe_machine())
    for shape in arguments.shape or (("base",) if device.type == "cuda" else ("tiny", "small")):
        backbone = random_backbone(shape, device=device)
        medians, fixed, for_token = measured(backbone, arguments.length, arguments.rounds)
        width = arguments.length + PROMPT_LENGTH
        print(f"T5-{shape} shape, {backbone.embedding.dtype}, {width} positions an example:")
        for size, seconds in zip(SIZES, medians, strict=True):
            line = fixed + for_token * size * width
            print(f"  {size:3} examples {1000 * seconds:9.2f} ms   fitted {1000 * line:9.2f} ms")
        speed, cost = 1 / for_token, fixed / for_token
        print(f"  fixed {1000 * fixed:.2f} ms, {speed:,.0f} tokens/s: one more pass costs {cost:,.0f} tokens")


if __name__ == "__main__":
    main()
