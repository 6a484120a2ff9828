"""Training steps of every method that has a peer: peft in a plain loop, or transformers in one for fine-tuning.

Both sides train on the same examples, in turns, with AdamW and gradients clipped at 1 (the study's recipe); optimisers
and methods are set up before the clock starts. The peer pads every batch to its longest example, as most training
scripts do. Where ours is slower than ``--floor`` times the peer, the program says so and ends with an error.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from peft import IA3Config, LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model

from common import (
    PROMPT_LENGTH,
    alternate,
    describe_machine,
    plain_batch,
    print_ratios,
    random_backbone,
    random_examples,
    random_model,
    random_prompt,
    stream_of,
    training_options,
)
from multiprompt.backbone import T5Backbone
from multiprompt.data import EpochSampler, TokenisedExamples
from multiprompt.methods import FineTuning, Method, PromptTuning
from multiprompt.methods.peft_library import PrefixTuning, ia3, lora
from multiprompt.training import LiveTraining, Training, step

BATCH_SIZE = 16
RANK = 8

OURS: dict[str, Callable[[T5Backbone, bool], Method]] = {
    "prompt_tuning": lambda backbone, dropout: PromptTuning(backbone, random_prompt(backbone.width), dropout=dropout),
    "lora": lambda backbone, dropout: lora(backbone, RANK, 16.0, 3e-4, dropout, seed=0),
    "ia3": lambda backbone, dropout: ia3(backbone, 3e-3, dropout, seed=0),
    "prefix_tuning": lambda backbone, dropout: PrefixTuning(backbone, PROMPT_LENGTH, 0.3, dropout, seed=0),
    "fine_tuning": lambda backbone, dropout: FineTuning(backbone, dropout=dropout),
}
PEFT: dict[str, Callable[[], Any]] = {
    "prompt_tuning": lambda: PromptTuningConfig(
        task_type="SEQ_2_SEQ_LM", num_virtual_tokens=PROMPT_LENGTH, num_transformer_submodules=1
    ),
    "lora": lambda: LoraConfig(task_type="SEQ_2_SEQ_LM", r=RANK, lora_alpha=16),
    "ia3": lambda: IA3Config(task_type="SEQ_2_SEQ_LM"),
    "prefix_tuning": lambda: PrefixTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=PROMPT_LENGTH),
}


def ours(
    name: str,
    examples: TokenisedExamples,
    dropout: bool,
    shape: str = "small",
    device: str = "cpu",
    size: int = BATCH_SIZE,
) -> Callable[[], None]:
    """An epoch in batches of a size, as a stage of a run trains it."""
    backbone = random_backbone(shape, device=device)
    method = OURS[name](backbone, dropout).__enter__()  # its backbone is its own and ends with it
    sampler = EpochSampler(examples.sources.lengths, size, seed=0)
    stream = stream_of(backbone, [examples], sampler, method.prompt_length)
    run = LiveTraining(Training(method, stream, training_options(dropout), steps=10**6, seed=0))

    def epoch() -> None:
        for _ in range(0, len(examples), size):
            step([run])

    return epoch


def peer(
    name: str,
    examples: TokenisedExamples,
    dropout: bool,
    shape: str = "small",
    device: str = "cpu",
    size: int = BATCH_SIZE,
) -> Callable[[], None]:
    """An epoch of the library itself, in a plain loop; in bfloat16 on a GPU."""
    model = random_model(shape, device=device)
    if name in PEFT:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            model = get_peft_model(model, PEFT[name]())
    else:
        model.requires_grad_(True)
    model.train(dropout)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=3e-4)
    random = np.random.default_rng(0)

    def epoch() -> None:
        order = random.permutation(len(examples)).tolist()
        for start in range(0, len(order), size):
            drawn = [(0, position) for position in order[start : start + size]]
            model(**plain_batch([examples], drawn, None, device)).loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimiser.step()
            optimiser.zero_grad()

    return epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("methods", nargs="*", default=[], help=f"of {', '.join(OURS)}; all if none is named")
    parser.add_argument("--examples", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--dropout", choices=("off", "on"), default="on")
    parser.add_argument("--floor", type=float, default=0.95)
    arguments = parser.parse_args()
    print(describe_machine())
    examples = random_examples(("sst2", "mrpc", "qnli"), arguments.examples)
    lengths = examples.sources.lengths
    print(f"T5-small shape, {len(examples)} examples of {lengths.mean():.0f} tokens (sd {lengths.std():.0f})")
    print(f"seconds per epoch in batches of {BATCH_SIZE}, dropout {arguments.dropout}:")
    slow = []
    for name in arguments.methods or OURS:
        contestants = {
            f"multiprompt {name}": ours(name, examples, arguments.dropout == "on"),
            f"{'peft' if name in PEFT else 'transformers'} {name}": peer(name, examples, arguments.dropout == "on"),
        }
        seconds = alternate(contestants, arguments.rounds)
        print_ratios(seconds, f"multiprompt {name}")
        own, theirs = (statistics.median(values) for values in seconds.values())
        if theirs / own < arguments.floor:
            slow.append(f"{name}: {theirs / own:.2f} times the speed of its peer")
    if slow:
        sys.exit("too slow: " + "; ".join(slow))


if __name__ == "__main__":
    main()
