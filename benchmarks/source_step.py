"""Source training, teacher and student on mixed batches: this package against the same losses on top of peft."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from peft import MultitaskPromptTuningConfig, TaskType, get_peft_model
from torch.nn import functional as F

from common import (
    PROMPT_LENGTH,
    alternate,
    describe_machine,
    plain_batch,
    print_ratios,
    random_backbone,
    random_examples,
    random_model,
    stream_of,
    training_options,
)
from multiprompt.batch import IGNORED
from multiprompt.data import TaskSampler, TokenisedExamples
from multiprompt.methods import SourceTraining
from multiprompt.options import DistillationOptions
from multiprompt.prompts import DecomposedPrompt, start_task_factors
from multiprompt.training import Training, train

TASKS = ("mnli", "qnli", "qqp", "sst2", "squad", "record")
BATCH_SIZE = 32
TEMPERATURE, WEIGHT = 2.0, 0.9


def sampler_of(tasks: list[TokenisedExamples]) -> TaskSampler:
    return TaskSampler([len(task) for task in tasks], BATCH_SIZE, seed=0, mode="uniform_tasks")


def random_teachers(width: int) -> torch.Tensor:
    return torch.randn(len(TASKS), PROMPT_LENGTH, width, generator=torch.Generator().manual_seed(2))


def our_training(
    tasks: list[TokenisedExamples], dropout: bool, steps: int, shape: str = "small", device: str = "cpu"
) -> Training:
    """Source training from all tasks."""
    backbone = random_backbone(shape, device=device)
    teachers = random_teachers(backbone.width)
    factors = [start_task_factors(PROMPT_LENGTH, backbone.width) for _ in TASKS]
    prompt = DecomposedPrompt(teachers[0], factors)
    options = DistillationOptions(temperature=TEMPERATURE, weight=WEIGHT)
    method = SourceTraining(backbone, prompt, teachers, options, dropout=dropout)
    return Training(method, stream_of(backbone, tasks, sampler_of(tasks)), training_options(dropout), steps, seed=0)


def ours(tasks: list[TokenisedExamples], dropout: bool, steps: int) -> Callable[[], None]:
    training = our_training(tasks, dropout, steps)

    def run() -> None:
        train(training)

    return run


def with_peft(
    tasks: list[TokenisedExamples], dropout: bool, steps: int, shape: str = "small", device: str = "cpu"
) -> Callable[[], None]:
    base = random_model(shape, device=device)
    teachers = random_teachers(base.config.d_model).to(device, base.dtype)
    config = MultitaskPromptTuningConfig(
        task_type=TaskType.SEQ_2_SEQ_LM,
        num_virtual_tokens=PROMPT_LENGTH,
        num_transformer_submodules=1,
        num_tasks=len(TASKS),
    )
    model = get_peft_model(base, config)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.3)
    sampler = sampler_of(tasks)

    def step() -> None:
        task_of, positions = sampler.draw()
        batch = plain_batch(tasks, list(zip(task_of.tolist(), positions.tolist(), strict=True)), None, device)
        ids, mask, labels = batch["input_ids"], batch["attention_mask"], batch["labels"]
        task_ids = torch.as_tensor(task_of, device=device)
        ones = mask.new_ones(len(mask), PROMPT_LENGTH)
        extended = torch.cat([ones, mask], 1)
        with torch.no_grad():
            model.eval()
            embedded = torch.cat([teachers[task_ids], base.shared(ids)], 1)
            teacher = base(inputs_embeds=embedded, attention_mask=extended, labels=labels, output_hidden_states=True)
        model.train(dropout)
        student = model(input_ids=ids, attention_mask=mask, labels=labels, task_ids=task_ids, output_hidden_states=True)
        counted = labels != IGNORED
        divergence = F.kl_div(
            F.log_softmax(student.logits[counted] / TEMPERATURE, -1),
            F.log_softmax(teacher.logits[counted] / TEMPERATURE, -1),
            reduction="batchmean",
            log_target=True,
        )
        encoder = student.encoder_last_hidden_state - teacher.encoder_last_hidden_state
        decoder = student.decoder_hidden_states[-1] - teacher.decoder_hidden_states[-1]
        states = encoder[extended.bool()].pow(2).mean() + decoder[counted].pow(2).mean()
        loss = student.loss + WEIGHT * (TEMPERATURE**2 * divergence + states)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    def run() -> None:
        for _ in range(steps):
            step()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3, help="steps of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dropout", choices=("off", "on", "both"), default="both")
    arguments = parser.parse_args()
    print(describe_machine())
    tasks = [random_examples([task], 400, seed=number) for number, task in enumerate(TASKS)]
    for dropout in {"off": [False], "on": [True], "both": [False, True]}[arguments.dropout]:
        print(f"seconds for {arguments.steps} steps of {BATCH_SIZE}, dropout {'on' if dropout else 'off'}:")
        contestants = {
            "multiprompt": ours(tasks, dropout, arguments.steps),
            "peft, padded to the longest of the batch": with_peft(tasks, dropout, arguments.steps),
        }
        print_ratios(alternate(contestants, arguments.rounds), "multiprompt")


if __name__ == "__main__":
    main()
