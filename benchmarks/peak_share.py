"""Share of the machine's float32 peak that a prompt-tuning step reaches, and the memory it takes.

Counted are the multiply-adds of the forward pass and of the backward pass towards the activations (no weight gradient),
for real tokens only. With D the width, I = heads x head width, F the inner width, V the vocabulary, s the source
tokens of an example with its prompt, t its target tokens, E and L the encoder's and the decoder's blocks:

    encoder  E (2 s (4 D I + 2 D F) + 6 s^2 I)
    decoder  L (2 t (6 D I + 2 D F) + 4 s D I + 6 t^2 I + 6 s t I) - (4 t D I + 4 t^2 I)
    output   2 t D V

A product with a frozen weight has one product in the backward pass; each of the two products inside attention has two.
The backward of the self-attention in the decoder's first block is subtracted: its input has no gradient.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from common import (
    PROMPT_LENGTH,
    SHAPES,
    clock,
    describe_machine,
    matmul_peak,
    plain_batch,
    random_backbone,
    random_examples,
    random_model,
    random_prompt,
    stream_of,
    training_options,
)
from multiprompt.data import EpochSampler, Ragged, TokenisedExamples
from multiprompt.methods import PromptTuning
from multiprompt.training import LiveTraining, Training, step


def multiply_adds(shape: dict[str, int], sources: np.ndarray, targets: np.ndarray) -> float:
    """See the formula at the top."""
    width, feed, blocks = shape["d_model"], shape["d_ff"], shape["num_layers"]
    inner = shape["num_heads"] * shape["d_kv"]
    s, t = sources + PROMPT_LENGTH, targets
    encoder = blocks * (2 * s * (4 * width * inner + 2 * width * feed) + 6 * s**2 * inner)
    rows = 2 * t * (6 * width * inner + 2 * width * feed) + 4 * s * width * inner
    decoder = blocks * (rows + 6 * t**2 * inner + 6 * s * t * inner)
    decoder = decoder - (4 * t * width * inner + 4 * t**2 * inner)
    return float((encoder + decoder + 2 * t * width * shape["vocab_size"]).sum())


def our_step(shape: str, examples: TokenisedExamples, dropout: bool, batch_size: int) -> Callable[[], Any]:
    backbone = random_backbone(shape)
    method = PromptTuning(backbone, random_prompt(backbone.width), dropout=dropout)
    sampler = EpochSampler(examples.sources.lengths, batch_size, seed=0, group_by_length=False)
    stream = stream_of(backbone, [examples], sampler)
    run = LiveTraining(Training(method, stream, training_options(dropout), steps=10**6, seed=0))
    return lambda: step([run])


def plain_step(shape: str, examples: TokenisedExamples, dropout: bool, batch_size: int) -> Callable[[], Any]:
    model = random_model(shape).train(dropout)
    prompt = torch.nn.Parameter(torch.randn(PROMPT_LENGTH, model.config.d_model))
    optimiser = torch.optim.AdamW([prompt], lr=0.3)
    batch = plain_batch([examples], [(0, position) for position in range(batch_size)], None)
    mask = torch.cat([batch["attention_mask"].new_ones(batch_size, PROMPT_LENGTH), batch["attention_mask"]], 1)

    def step() -> None:
        embedded = torch.cat([prompt.expand(batch_size, -1, -1), model.shared(batch["input_ids"])], 1)
        model(inputs_embeds=embedded, attention_mask=mask, labels=batch["labels"]).loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def shares(shape: str, batch_size: int, dropout: bool, rounds: int, length: int | None) -> None:
    # One batch, the same in every step.
    examples = random_examples(("sst2", "mrpc", "qnli"), batch_size)
    if length is not None:
        sources, targets = ([[5] * size] * batch_size for size in (length, 2))
        examples = TokenisedExamples(Ragged.of(sources), Ragged.of(targets), 0, 0)
    work = multiply_adds(SHAPES[shape], examples.sources.lengths, examples.targets.lengths)
    contestants = {
        "multiprompt": our_step(shape, examples, dropout, batch_size),
        "transformers": plain_step(shape, examples, dropout, batch_size),
    }
    reached: dict[str, list[tuple[float, float, float]]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, take_step in contestants.items():
            plain, tiled = matmul_peak(0.15), matmul_peak(0.15, tiled=True)
            began = clock()
            take_step()
            seconds = clock() - began
            if turn:
                reached[name].append((seconds, work / seconds / plain, work / seconds / max(plain, tiled)))
    for name, rows in reached.items():
        label = f"T5-{shape} shape, batch {batch_size}, dropout {'on' if dropout else 'off'}, {name}"
        seconds, *shares_of = zip(*rows, strict=True)
        shown = "   ".join(f"{statistics.median(v):.3f} ({min(v):.3f} to {max(v):.3f})" for v in shares_of)
        print(f"  {label:60} {statistics.median(seconds):6.2f} s   {shown}", flush=True)


def peak_memory(which: str) -> None:
    """Largest memory of this process, in which one thing happens: a step on T5-base shape."""
    build = {"multiprompt": our_step, "transformers": plain_step}[which]
    build("base", random_examples(("sst2", "mrpc", "qnli"), 8), True, 8)()
    print(f"  {which:20} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--shape", choices=tuple(SHAPES), action="append")
    parser.add_argument("--length", type=int, help="every source has so many tokens; default: mixed lengths")
    parser.add_argument("--memory", choices=("multiprompt", "transformers"), help="only this, in this process")
    arguments = parser.parse_args()
    if arguments.memory:
        peak_memory(arguments.memory)
        return
    print(describe_machine())
    # First, while this process is small: a child's peak begins at the memory of its parent.
    print("peak memory of a process that takes one step, T5-base shape, batch 8, dropout on:", flush=True)
    for which in ("multiprompt", "transformers"):
        subprocess.run([sys.executable, __file__, "--memory", which], check=True)
    plain, tiled = matmul_peak(0.5) / 1e9, matmul_peak(0.5, tiled=True) / 1e9
    print(f"thousand million multiply-adds a second: torch.mm {plain:.0f}, with one operand in tiles {tiled:.0f}")
    print("seconds of a step; its share of the peak of torch.mm, and of the better of the two:", flush=True)
    for shape in arguments.shape or ("small", "base"):
        for dropout in (False, True):
            shares(shape, 8 if shape == "base" else 16, dropout, arguments.rounds, arguments.length)


if __name__ == "__main__":
    main()
