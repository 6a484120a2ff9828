"""Trainings that one process and several must end alike, and ways to fail in one of several.

Run as a program by each of several processes, it does them all and leaves what came out in a folder.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from conftest import THREADS, build_tiny_model, build_tiny_tokenizer, random_batch
from multiprompt.backbone import T5Backbone
from multiprompt.batch import Batch
from multiprompt.data import Ragged, TokenisedExamples
from multiprompt.errors import DataError, MultipromptError, TrainingError
from multiprompt.evaluation.generate import generate_answers
from multiprompt.methods import FineTuning, Method, PromptTuning, SourceTraining
from multiprompt.options import DistillationOptions, TrainingOptions
from multiprompt.parallel import distributed_processes, processes
from multiprompt.prompts import DecomposedPrompt, SoftPrompt, start_task_factors
from multiprompt.terms import Term
from multiprompt.training import Training, TrainingReport, train, train_together
from rounding import SMOOTH, smooth_optimisers

WIDTH, LENGTH, TASKS, STEPS = 16, 4, 3, 4
CASES = ["prompt_tuning", "source", "fine_tuning", "alone_in_its_step", "together"]
OPTIONS = TrainingOptions(
    dropout=False, schedule="constant", warmup_ratio=0.0, clip=100.0, log_every=1, evaluate_every=2
)
"""Without clipping, which would hide a gradient that is too long."""


class Drawn:
    """Random batches cut into micro-batches; the place is the number of steps. Task 1 never occurs."""

    def __init__(self, seed: int, size: int, parts: int) -> None:
        self.place, self.seed, self.size, self.parts = 0, seed, size, parts

    def __iter__(self) -> Iterator[list[Batch]]:
        return self

    def __next__(self) -> list[Batch]:
        self.place += 1
        batch = random_batch(100 * self.seed + self.place, self.size, num_tasks=1)
        # Rows of task 2 are rare, so that some micro-batches have them in one process only, and some not at all.
        batch = replace(batch, task_ids=torch.where(torch.arange(self.size) % 7 == 3, 2, 0))
        rows = torch.arange(self.size).chunk(self.parts)
        return [Batch(batch.input_ids[r], batch.attention_mask[r], batch.labels[r], batch.task_ids[r]) for r in rows]

    def state(self) -> dict[str, Any]:
        return {"place": self.place}

    def restore(self, state: dict[str, Any]) -> None:
        self.place = state["place"]


def backbone() -> T5Backbone:
    made = T5Backbone(build_tiny_model(**SMOOTH), build_tiny_tokenizer(), "tiny")
    made.packs = True
    return made


def method_of(case: str, model: T5Backbone) -> Method:
    generator = torch.Generator().manual_seed(5)

    def rows() -> torch.Tensor:
        return torch.randn(LENGTH, WIDTH, generator=generator)

    if case == "fine_tuning":
        return FineTuning(model, 0.1, dropout=False)
    if case == "source":
        factors = [start_task_factors(LENGTH, WIDTH, 1, "near_one", generator) for _ in range(TASKS)]
        teachers = torch.stack([rows() for _ in range(TASKS)])
        return SourceTraining(
            model, DecomposedPrompt(rows(), factors), teachers, DistillationOptions(), 0.1, 0.05, dropout=False
        )
    return PromptTuning(model, SoftPrompt([rows() for _ in range(TASKS)]), 0.1, dropout=False)


def examples_to_answer() -> TokenisedExamples:
    batch = random_batch(9, 7, 1)
    sources = [ids[:length].tolist() for ids, length in zip(batch.input_ids, batch.source_lengths, strict=True)]
    return TokenisedExamples(Ragged.of(sources), Ragged.of([[3, 1]] * 7), 0, 0)


def training_of(case: str, model: T5Backbone, folder: Path, **changes: Any) -> Training:
    method = method_of(case, model)
    stream = Drawn(1, 1, 1) if case == "alone_in_its_step" else Drawn(2, 9, 4)
    return replace(
        Training(method, stream, OPTIONS, STEPS, seed=3, log=folder / f"{case}.jsonl", title=case),
        evaluate=lambda: float(sum(map(len, generate_answers(method, examples_to_answer(), 0, 5)))),
        **changes,
    )


def do(case: str, folder: Path) -> dict[str, torch.Tensor]:
    """What a case has trained with smooth optimisers; its log is in the folder."""
    model = backbone()
    with smooth_optimisers():
        if case == "together":
            trainings = [
                replace(training_of("prompt_tuning", model, folder), stream=Drawn(n, 2 + 3 * n, 1 + n), log=None)
                for n in range(3)
            ]
            train_together(trainings)
            return {f"{n}/{name}": t for n, each in enumerate(trainings) for name, t in each.method.tensors().items()}
        training = training_of(case, model, folder)
        with training.method if case == "fine_tuning" else nullcontext():
            train(training)
            return {name: tensor.clone() for name, tensor in training.method.tensors().items()}


def start_of(case: str) -> dict[str, torch.Tensor]:
    """What ``do`` begins with."""
    tensors = method_of(case, backbone()).tensors()
    runs = [f"{n}/" for n in range(3)] if case == "together" else [""]
    return {f"{run}{name}": tensor for run in runs for name, tensor in tensors.items()}


def masks_differ(model: T5Backbone, folder: Path) -> list[float]:
    """The losses of the same example in every process with dropout: equal where the masks are."""
    method = PromptTuning(model, SoftPrompt([torch.ones(LENGTH, WIDTH)]), 0.0)
    batch = random_batch(1, 1, 1)
    twice = Batch(*(torch.cat([t, t]) for t in (batch.input_ids, batch.attention_mask, batch.labels, batch.task_ids)))

    class Twins(Drawn):
        def __next__(self) -> list[Batch]:
            return [twice]

    losses = []
    original = method.losses

    def watched(own: Batch) -> tuple[Term, ...]:
        result = original(own)
        losses.append(float(result[0].sums.sum()))
        return result

    method.losses = watched
    train(Training(method, Twins(0, 2, 1), replace(OPTIONS, dropout=True), 1, seed=3))
    return [each[0] for each in processes().gather(losses)]


def spoil(training: Training) -> Training:
    """From step 2 on the loss is not finite in the last process."""
    original, stream = training.method.prompts, training.stream

    def spoilt(batch: Batch) -> torch.Tensor:
        broken = stream.place >= 2 and processes().rank == processes().count - 1
        return original(batch) * (float("nan") if broken else 1.0)

    training.method.prompts = spoilt
    return training


def failures(folder: Path) -> dict[str, Any]:
    """What every process is told when something goes wrong in the last one."""
    told: dict[str, Any] = {}
    model = backbone()

    def named(title: str) -> Training:
        return training_of("prompt_tuning", model, folder, title=title, log=None)

    try:
        train(spoil(named("spoilt")))
    except TrainingError as error:
        told["not finite"] = str(error)
    outcomes = train_together([named("sound"), spoil(named("broken"))])
    told["together"] = [f"{each.steps} steps" if isinstance(each, TrainingReport) else str(each) for each in outcomes]
    try:
        train(replace(named("split"), identity=f"run-{processes().rank}"))
    except MultipromptError as error:
        told["other place"] = str(error)
    return told


def main(folder: Path) -> None:
    torch.set_num_threads(THREADS)
    with distributed_processes() as connected:
        own = folder / f"process-{connected.rank}"
        own.mkdir()
        told: dict[str, Any] = {"rank": connected.rank, "count": connected.count}
        for case in CASES:
            save_file(do(case, own), own / f"{case}.safetensors")
        told["answers"] = generate_answers(method_of("prompt_tuning", backbone()), examples_to_answer(), 0, 5)
        told["masks"] = masks_differ(backbone(), own)
        told |= failures(own)
    try:
        with distributed_processes() as connected:
            if connected.rank == 1:
                raise DataError("a file is missing on this machine")
            connected.barrier()
            told["went on"] = True
    except DataError as error:
        told["shared error"] = str(error)
    (own / "told.json").write_text(json.dumps(told), encoding="utf-8")
    try:
        with distributed_processes() as connected:
            if connected.rank == 1:
                os._exit(0)  # as if it were killed
            connected.barrier()
    except TrainingError as error:
        (own / "lost.txt").write_text(str(error), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
