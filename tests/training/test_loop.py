"""The training loop: what moves, what does not, and that neither cuts nor kills change the outcome."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch

from conftest import random_batch, run_on, step_of
from multiprompt.backbone import T5Backbone
from multiprompt.batch import Batch
from multiprompt.errors import CheckpointError, TrainingError
from multiprompt.files import read_tensors, tensors_digest, write_tensors
from multiprompt.methods import FineTuning, Method, PromptTuning, SourceTraining
from multiprompt.options import DistillationOptions, TrainingOptions
from multiprompt.prompts import DecomposedPrompt, SharedPrompt, SoftPrompt, start_task_factors
from multiprompt.terms import kind_of
from multiprompt.training import Training, train
from rounding import SAME, assert_same, assert_same_gradients

TASKS, LENGTH, WIDTH = 3, 5, 16
OPTIONS = TrainingOptions(steps=6, dropout=True, log_every=1)


class Batches:
    """Random batches, a new one every step; the place is the number of steps."""

    def __init__(self, tasks: list[int] | None = None, parts: int = 1) -> None:
        self.place = 0
        self.tasks = tasks
        self.parts = parts

    def __iter__(self) -> Iterator[list[Batch]]:
        return self

    def __next__(self) -> list[Batch]:
        self.place += 1
        batch = random_batch(seed=self.place, batch_size=6, num_tasks=TASKS)
        if self.tasks is not None:
            batch = replace(batch, task_ids=torch.tensor(self.tasks))
        return cut(batch, self.parts)

    def state(self) -> dict[str, Any]:
        return {"place": self.place}

    def restore(self, state: dict[str, Any]) -> None:
        self.place = state["place"]


def cut(batch: Batch, parts: int) -> list[Batch]:
    rows = torch.arange(len(batch)).chunk(parts)
    return [Batch(batch.input_ids[r], batch.attention_mask[r], batch.labels[r], batch.task_ids[r]) for r in rows]


def build(kind: str, backbone: T5Backbone) -> Method:
    generator = torch.Generator().manual_seed(5)

    def rows() -> torch.Tensor:
        return torch.randn(LENGTH, WIDTH, generator=generator)

    factors = [start_task_factors(LENGTH, WIDTH, 1, "near_one", generator) for _ in range(TASKS)]
    decomposed = DecomposedPrompt(rows(), factors)
    teachers = torch.stack([rows() for _ in range(TASKS)])
    if kind == "prompt_tuning":
        return PromptTuning(backbone, SoftPrompt([rows() for _ in range(TASKS)]), 0.1)
    if kind == "target":
        return PromptTuning(backbone, decomposed, 0.1, 0.05)
    if kind == "task_only":
        decomposed.shared.requires_grad_(False)
        return PromptTuning(backbone, decomposed, 0.1, 0.05)
    if kind == "plain_source":
        return SourceTraining(backbone, SharedPrompt(rows(), TASKS), teachers, DistillationOptions(), 0.1)
    if kind == "fine_tuning":
        return FineTuning(backbone, 1e-3)
    options = DistillationOptions(
        kind=kind.removeprefix("source_").removesuffix("_all"),
        hidden="all" if kind.endswith("_all") else "last",
    )
    return SourceTraining(backbone, decomposed, teachers, options, 0.1, 0.05)


KINDS = [
    "prompt_tuning",
    "target",
    "plain_source",
    "source_full",
    "source_full_all",
    "source_no_hidden",
    "source_prompt_distance",
    "source_none",
]


def copies(method: Method) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in method.tensors().items()}


@pytest.mark.parametrize("kind", [*KINDS, "task_only"])
@pytest.mark.parametrize("optimiser", ["adamw", "adafactor"])
def test_one_step_moves_the_declared_tensors_and_nothing_else(tiny_backbone, kind, optimiser):
    method = build(kind, tiny_backbone)
    before, weights = copies(method), {n: t.clone() for n, t in tiny_backbone.model.state_dict().items()}
    train(Training(method, Batches(), replace(OPTIONS, optimiser=optimiser), 1, seed=0))
    for name, tensor in method.tensors().items():
        frozen = kind == "task_only" and name == "shared"
        assert torch.equal(tensor, before[name]) == frozen, name
    for name, tensor in tiny_backbone.model.state_dict().items():
        assert torch.equal(tensor, weights[name]), name
    assert not tiny_backbone.model.training


def test_fine_tuning_moves_every_weight_and_gives_the_backbone_back(tiny_backbone):
    weights = {n: t.clone() for n, t in tiny_backbone.model.named_parameters()}
    with FineTuning(tiny_backbone, 1e-3) as method:
        train(Training(method, Batches(), OPTIONS, 1, seed=0))
        for name, tensor in method.tensors().items():
            assert not torch.equal(tensor, weights[name]), name
    for name, tensor in tiny_backbone.model.named_parameters():
        assert torch.equal(tensor, weights[name])
        assert not tensor.requires_grad


@pytest.mark.parametrize("optimiser", ["adamw", "adafactor"])
def test_a_task_that_is_absent_is_moved_neither_by_momentum_nor_by_decay(tiny_backbone, optimiser):
    method = build("source_full", tiny_backbone)
    batches = Batches()
    run = run_on(method, batches, optimiser=optimiser, weight_decay=0.1)
    step_of(run)
    before = copies(method)
    batches.tasks = [0, 2, 0, 2, 0, 2]
    step_of(run)
    for name, tensor in method.tensors().items():
        absent = name in ("u.1", "v.1")
        assert torch.equal(tensor, before[name]) == absent, name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("parts", [2, 3, 6])
def test_the_gradient_does_not_depend_on_micro_batches(smooth_backbone, kind, parts):
    results = []
    for number in (1, parts):
        method = build(kind, smooth_backbone)
        method.dropout = False
        outcome = step_of(run_on(method, Batches(parts=number), clip=1e9))
        gradients = [p.grad for group in method.parameter_groups() for p in group.parameters]
        results.append((outcome, gradients))
    (whole, gradients), (split, split_gradients) = results
    assert split.loss == pytest.approx(whole.loss, rel=SAME)
    assert split.terms == pytest.approx(whole.terms, rel=SAME)
    assert split.task_losses == pytest.approx(whole.task_losses, rel=SAME)
    assert_same_gradients(split_gradients, gradients)


def test_the_total_is_the_task_loss_plus_lambda_times_the_rest(tiny_backbone):
    method = build("source_full", tiny_backbone)
    outcome = step_of(run_on(method, Batches()))
    terms = outcome.terms
    assert list(terms) == ["task", "logits", "encoder states", "decoder states"]
    rest = terms["logits"] + terms["encoder states"] + terms["decoder states"]
    assert outcome.loss == pytest.approx(terms["task"] + 0.9 * rest)


@pytest.mark.parametrize("kind", KINDS)
def test_a_log_tells_the_kind_of_every_term(tiny_backbone, kind):
    terms = build(kind, tiny_backbone).terms(random_batch())
    assert [kind_of(term.name) for term in terms] == [term.kind for term in terms]
    assert terms[0].kind == "task"
    with pytest.raises(ValueError, match=r"'task' has no sums yet"):
        _ = terms[0].sums


def test_a_mixed_batch_is_the_sum_of_its_tasks(tiny_backbone):
    method = build("source_full", tiny_backbone)
    method.dropout = False
    batch = random_batch()
    together = method.losses(batch)
    for row in range(len(batch)):
        alone = method.losses(cut(batch, len(batch))[row])
        for term, own in zip(together, alone, strict=True):
            assert_same(term.sums[row], own.sums[0], term.name)


@pytest.mark.parametrize("kind", ["prompt_tuning", "source_full", "target", "fine_tuning"])
@pytest.mark.parametrize("optimiser", ["adamw", "adafactor"])
def test_a_killed_run_ends_with_bitwise_the_same_tensors(tiny_backbone, tmp_path, kind, optimiser):
    options = replace(OPTIONS, optimiser=optimiser, checkpoint_seconds=0, evaluate_every=2)
    values = [1.0, 3.0, 2.0]

    class Killed(Exception):
        pass

    def run(path, die_after: int | None):
        method = build(kind, tiny_backbone)
        with method if kind == "fine_tuning" else nullcontext():
            batches = Batches()

            class Progress:
                def begin(self, stage, total): ...
                def end(self, stage, summary): ...
                def message(self, text): ...
                def step(self, step, loss, speed):
                    if step == die_after:
                        raise Killed

            training = Training(
                method,
                batches,
                options,
                6,
                seed=7,
                evaluate=lambda: values[batches.place // 2 - 1],
                checkpoint=path / "checkpoint.safetensors",
                identity="me",
                log=path / "log.jsonl",
            )
            report = train(training, Progress())
            return copies(method), report

    expected, report = run(tmp_path / "whole", None)
    assert report.best_step == 4
    assert report.dev_value == 3.0
    for die_after in sorted(random.Random(kind + optimiser).sample(range(1, 7), 3)):
        path = tmp_path / str(die_after)
        with pytest.raises(Killed):
            run(path, die_after)
        tensors, resumed = run(path, None)
        assert resumed.best_step == 4
        for name, tensor in expected.items():
            assert torch.equal(tensors[name], tensor), (die_after, name)
        logs = [
            [
                {k: v for k, v in json.loads(line).items() if k != "examples_per_second"}
                for line in file.read_text(encoding="utf-8").splitlines()
            ]
            for file in (tmp_path / "whole" / "log.jsonl", path / "log.jsonl")
        ]
        assert logs[0] == logs[1]


def test_a_checkpoint_of_another_training_is_refused(tiny_backbone, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    train(Training(build("target", tiny_backbone), Batches(), OPTIONS, 2, 0, checkpoint=path, identity="one"))
    with pytest.raises(CheckpointError, match="another configuration or other data"):
        train(Training(build("target", tiny_backbone), Batches(), OPTIONS, 2, 0, checkpoint=path, identity="two"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="damaged"):
        train(Training(build("target", tiny_backbone), Batches(), OPTIONS, 2, 0, checkpoint=path, identity="one"))


def test_a_checkpoint_whose_tensors_have_changed_is_refused(tiny_backbone, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    train(Training(build("target", tiny_backbone), Batches(), OPTIONS, 2, 0, checkpoint=path))
    tensors, metadata = read_tensors(path)
    next(tensor for name, tensor in tensors.items() if name.startswith("optimiser/")).view(-1)[-1] += 1
    write_tensors(path, tensors, metadata)
    with pytest.raises(CheckpointError, match="its tensors are not those that were written; delete this file"):
        train(Training(build("target", tiny_backbone), Batches(), OPTIONS, 2, 0, checkpoint=path))


def test_a_loss_that_is_not_finite_stops_before_the_update(tiny_backbone):
    method = build("source_full", tiny_backbone)
    with torch.no_grad():
        method.prompt.shared[0, 0] = float("nan")
    before = copies(method)
    with pytest.raises(TrainingError, match=r"not finite \(terms: task, logits.*\) in training, step 1"):
        train(Training(method, Batches(), OPTIONS, 3, 0))
    for name, tensor in method.tensors().items():
        assert torch.equal(tensor, before[name]) or name == "shared"


def test_the_tasks_of_a_loss_that_is_not_finite_are_named(tiny_backbone):
    method = build("target", tiny_backbone)
    with torch.no_grad():
        method.prompt.v[1][:] = float("inf")
    training = Training(method, Batches(), OPTIONS, 3, 0, task_names=["rte", "cb", "wsc"])
    with pytest.raises(TrainingError, match=r"^the loss of cb is not finite \(terms: task\) in training, step 1; "):
        train(training)


@pytest.mark.parametrize("rate", [1e38, 1e300])
@pytest.mark.parametrize("optimiser", ["adamw", "adafactor"])
@pytest.mark.parametrize("steps", [1, 3])
def test_a_training_that_diverges_is_never_finished(tiny_backbone, tmp_path, rate, optimiser, steps):
    checkpoint = tmp_path / "checkpoint.safetensors"
    options = replace(OPTIONS, optimiser=optimiser, schedule="constant", warmup_ratio=0.0, evaluate_every=2)

    def dev():
        pytest.fail("tensors that are not finite were looked at")

    for _ in ("at first", "and again"):
        method = PromptTuning(tiny_backbone, SharedPrompt(torch.ones(LENGTH, WIDTH), TASKS), rate)
        training = Training(method, Batches(), options, steps, 0, evaluate=dev, checkpoint=checkpoint, identity="x")
        with pytest.raises(TrainingError, match=r"not finite|beyond float32"):
            train(training)
    assert not checkpoint.exists()


def test_a_checkpoint_of_a_training_that_has_diverged_is_no_result(tiny_backbone, tmp_path):
    def training():
        method = PromptTuning(tiny_backbone, SharedPrompt(torch.ones(LENGTH, WIDTH), TASKS), 1e-9)
        return Training(method, Batches(), OPTIONS, 2, 0, checkpoint=tmp_path / "c.safetensors", identity="x")

    train(training())
    path = tmp_path / "c.safetensors"
    tensors, metadata = read_tensors(path)
    infinite = {name: tensor * float("inf") for name, tensor in tensors.items()}
    record = json.loads(metadata["multiprompt"]) | {"sha256": tensors_digest(infinite)}
    write_tensors(path, infinite, {"multiprompt": json.dumps(record)})
    with pytest.raises(TrainingError, match="training has diverged: after step 2"):
        train(training())


@pytest.mark.parametrize("kind", ["prompt_tuning", "plain_source", "target", "source_full"])
def test_one_batch_can_be_overfitted(tiny_backbone, kind):
    # A frozen random model cannot say everything: ask for answers that some other prompts do bring out of it.
    method = build(kind, tiny_backbone)
    method.dropout = False
    batch = random_batch(batch_size=3, max_target=1)
    hidden = torch.randn(1, LENGTH, WIDTH, generator=torch.Generator().manual_seed(1)).expand(3, -1, -1)
    if kind in ("plain_source", "source_full"):
        method.teachers = hidden
    batch = replace(batch, labels=tiny_backbone.forward(batch, hidden).logits.argmax(-1)[:, None])

    def answers() -> list[int]:
        with torch.no_grad():
            return tiny_backbone.forward(batch, method.prompts(batch)).logits.argmax(-1).tolist()

    class Same(Batches):
        def __next__(self) -> list[Batch]:
            return [batch]

    assert answers() != batch.labels[:, 0].tolist()
    train(Training(method, Same(), OPTIONS, 80, 0))
    assert answers() == batch.labels[:, 0].tolist()


def test_the_dropout_of_a_step_depends_on_the_seed_and_the_step_alone(tiny_backbone):
    outcomes = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        method = build("target", tiny_backbone)
        train(Training(method, Batches(), OPTIONS, 2, seed=3))
        outcomes.append(copies(method))
    for name in outcomes[0]:
        assert torch.equal(outcomes[0][name], outcomes[1][name])
    method = build("target", tiny_backbone)
    train(Training(method, Batches(), OPTIONS, 2, seed=4))
    assert not torch.equal(method.tensors()["shared"], outcomes[0]["shared"])
