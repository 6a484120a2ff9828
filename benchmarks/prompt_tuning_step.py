"""An epoch of prompt tuning: this package against peft in a plain loop, over the same examples."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch
from peft import PromptTuningConfig, TaskType, get_peft_model

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
from multiprompt.data import EpochSampler, TokenisedExamples
from multiprompt.methods import PromptTuning
from multiprompt.training import Training, train

BATCH_SIZE = 16


def ours(examples: TokenisedExamples, dropout: bool) -> Callable[[], None]:
    backbone = random_backbone("small")
    method = PromptTuning(backbone, random_prompt(backbone.width), dropout=dropout)
    sampler = EpochSampler(examples.sources.lengths, BATCH_SIZE, seed=0)
    stream = stream_of(backbone, [examples], sampler)
    steps = -(-len(examples) // BATCH_SIZE)

    def epoch() -> None:
        train(Training(method, stream, training_options(dropout), steps, seed=0))

    return epoch


def with_peft(examples: TokenisedExamples, dropout: bool, width: int | None) -> Callable[[], None]:
    config = PromptTuningConfig(
        task_type=TaskType.SEQ_2_SEQ_LM, num_virtual_tokens=PROMPT_LENGTH, num_transformer_submodules=1
    )
    model = get_peft_model(random_model("small"), config)
    model.train(dropout)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.3)
    random = np.random.default_rng(0)

    def epoch() -> None:
        order = random.permutation(len(examples)).tolist()
        for start in range(0, len(order), BATCH_SIZE):
            drawn = [(0, position) for position in order[start : start + BATCH_SIZE]]
            loss = model(**plain_batch([examples], drawn, width)).loss
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()

    return epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dropout", choices=("off", "on", "both"), default="both")
    arguments = parser.parse_args()
    print(describe_machine())
    examples = random_examples(("sst2", "mrpc", "qnli"), arguments.examples)
    lengths = examples.sources.lengths
    print(f"T5-small shape, {len(examples)} examples of {lengths.mean():.0f} tokens (sd {lengths.std():.0f})")
    for dropout in {"off": [False], "on": [True], "both": [False, True]}[arguments.dropout]:
        print(f"seconds per epoch, dropout {'on' if dropout else 'off'}:")
        contestants = {
            "multiprompt": ours(examples, dropout),
            "peft, padded to the longest of the batch": with_peft(examples, dropout, None),
            "peft, padded to 256": with_peft(examples, dropout, 256),
        }
        print_ratios(alternate(contestants, arguments.rounds), "multiprompt")


if __name__ == "__main__":
    main()
