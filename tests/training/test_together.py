"""Runs that train together end as each of them does alone."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import build_tiny_model, build_tiny_tokenizer, random_batch
from multiprompt.backbone import T5Backbone
from multiprompt.backbone.costs import CPU
from multiprompt.backbone.t5.fast import restore
from multiprompt.batch import IGNORED, Batch
from multiprompt.errors import ConfigError, TrainingError
from multiprompt.methods import FineTuning, Method, PromptTuning, SourceTraining, can_join
from multiprompt.methods.attempt import Attempt, Attention, MixedPrompts
from multiprompt.methods.dept import Dept, ShortPrompt
from multiprompt.options import DistillationOptions, TrainingOptions
from multiprompt.prompts import DecomposedPrompt, FactorisedPrompt, SoftPrompt, start_task_factors, start_thin_factors
from multiprompt.training import LiveTraining, Training, train, train_together
from multiprompt.training.step import _bundles, _look, _Sums, _update
from rounding import SAME, SMOOTH, assert_same_moves, smooth_optimisers

WIDTH = 16
KINDS = ["prompt_tuning", "mpt", "mpt_group", "attempt", "dept", "decomposed_prompt_tuning"]


class Drawn:
    """Random batches that follow from a seed; the place is the number of steps."""

    def __init__(self, seed: int, size: int, tasks: int, longest: int, parts: int = 1) -> None:
        self.place, self.seed, self.size, self.tasks, self.longest, self.parts = 0, seed, size, tasks, longest, parts

    def __iter__(self) -> Drawn:
        return self

    def __next__(self) -> list[Batch]:
        self.place += 1
        batch = random_batch(1000 * self.seed + self.place, self.size, self.tasks, self.longest, 2 + self.seed % 3)
        rows = torch.arange(len(batch)).chunk(self.parts)
        return [Batch(batch.input_ids[r], batch.attention_mask[r], batch.labels[r], batch.task_ids[r]) for r in rows]

    def state(self) -> dict[str, Any]:
        return {"place": self.place}

    def restore(self, state: dict[str, Any]) -> None:
        self.place = state["place"]


def method_of(kind: str, backbone: T5Backbone, seed: int, dropout: bool, length: int = 5) -> Method:
    generator = torch.Generator().manual_seed(seed)

    def rows(count: int = length) -> torch.Tensor:
        return torch.randn(count, WIDTH, generator=generator)

    match kind:
        case "prompt_tuning":
            return PromptTuning(backbone, SoftPrompt([rows()]), 0.03, dropout=dropout)
        case "mpt" | "mpt_group":
            tasks = 3 if kind == "mpt_group" else 1
            factors = [start_task_factors(length, WIDTH, 1, "near_one", generator) for _ in range(tasks)]
            return PromptTuning(backbone, DecomposedPrompt(rows(), factors), 0.03, 0.02, dropout)
        case "attempt":
            mixed = MixedPrompts([rows()], Attention(WIDTH, 4, generator))
            return Attempt(backbone, mixed, torch.stack([rows(), rows()]), 0.03, 0.01, None, dropout)
        case "dept":
            return Dept(backbone, ShortPrompt(rows(2), 7, 2, generator), 0.03, 0.01, dropout)
        case _:
            thin = FactorisedPrompt(*start_thin_factors(length, WIDTH, 2, generator))
            return PromptTuning(backbone, thin, 0.03, dropout=dropout)


def trainings(backbone: T5Backbone, steps: int, dropout: bool, folder: Any = None) -> list[Training]:
    """One of every kind, each with its own seed, batch size, lengths, options, and number of steps."""
    result = []
    for seed, kind in enumerate(KINDS):
        options = TrainingOptions(
            dropout=dropout,
            optimiser="adafactor" if kind == "dept" else "adamw",
            schedule="constant" if seed % 2 else "linear",
            clip=0.5 + seed,
            log_every=1,
            checkpoint_seconds=0.0001,
            evaluate_every=2,
            select="best" if seed % 2 else "last",
        )
        method = method_of(kind, backbone, seed, dropout, length=3 + seed)
        stream = Drawn(seed, 3 + seed, 3 if kind == "mpt_group" else 1, 8 + 2 * seed, parts=1 + seed % 2)
        place = folder / kind if folder else None
        training = Training(method, stream, options, steps + seed, seed, title=kind, identity=kind)
        if place is not None:
            dev = [0.5, 0.9, 0.1, 0.3, 0.2] * steps
            training = replace(
                training,
                evaluate=lambda dev=dev, stream=stream: dev[stream.place // 2],
                checkpoint=place / "checkpoint.safetensors",
                log=place / "log.jsonl",
            )
        result.append(training)
    return result


def way(name: str) -> T5Backbone:
    """A backbone that goes one of the ways through the model."""
    model = build_tiny_model(**SMOOTH)
    if name == "sdpa":
        model.set_attn_implementation("sdpa")
    backbone = T5Backbone(model, build_tiny_tokenizer(), name)
    backbone.packs = name == "packed"
    if name in ("ordinary", "sdpa"):
        restore(backbone.model)
    return backbone


def copies(training: Training) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in training.method.tensors().items()}


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("name", ["padded", "packed", "ordinary", "sdpa"])
@smooth_optimisers()
def test_together_is_as_alone(name, dropout):
    backbone = way(name)
    alone = trainings(backbone, 12, dropout)
    starts = [copies(each) for each in alone]
    reports = [train(training) for training in alone]
    together = trainings(backbone, 12, dropout)
    joint = train_together(together)
    for one, other, start, report, joint_report in zip(alone, together, starts, reports, joint, strict=True):
        assert_same_moves(other.method.tensors(), one.method.tensors(), start, one.title)
        assert any(not torch.equal(tensor, start[n]) for n, tensor in other.method.tensors().items())
        assert (report.steps, report.best_step) == (joint_report.steps, joint_report.best_step)
    assert not backbone.model.training


def test_each_is_clipped_by_the_norm_of_its_own_gradient_and_moved_as_adamw_says():
    chosen = [training for training in trainings(way("padded"), 10, False) if training.options.optimiser == "adamw"]
    runs = [LiveTraining(training) for training in chosen]
    torch.manual_seed(0)
    for scale, run in zip((1e-3, 0.1, 1.0, 30.0, 1e3), runs, strict=True):
        run.set_rates()
        for parameter in run.parameters:
            parameter.grad = scale * torch.randn_like(parameter)
        if len(run.parameters) > 1:
            run.parameters[-1].grad = None  # as of a task that is absent
    expected = []
    for run in runs:
        gradients = [p.grad.double() for p in run.parameters if p.grad is not None]
        norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
        factor = min(1.0, run.training.options.clip / float(norm))
        moved = []
        for group in run.optimiser.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    moved.append(parameter.detach().clone())
                    continue
                # in the first step both corrected means are of one gradient alone
                gradient = parameter.grad * factor
                shrunk = parameter.detach() * (1 - group["lr"] * group["weight_decay"])
                moved.append(shrunk - group["lr"] * gradient / (gradient.abs() + 1e-8))
        expected.append((float(norm), moved))
    norms = {run: norm for run, (norm, _) in _look(runs, [], {}).items()}
    assert _update(norms) == runs
    for run, (norm, moved) in zip(runs, expected, strict=True):
        assert norms[run] == pytest.approx(norm, rel=1e-5)
        for parameter, tensor in zip(run.parameters, moved, strict=True):
            torch.testing.assert_close(parameter.detach(), tensor, rtol=1e-5, atol=1e-6)


@smooth_optimisers()
def test_a_run_drops_out_as_its_own_seed_says_in_any_company():
    """Not the mean over dropout, but the very masks: another seed gives something else by far."""
    backbone = way("padded")
    outcomes = []
    for company in ([1], [1, 4], [5, 1, 2]):
        chosen = [trainings(backbone, 10, True)[index] for index in company]
        start = copies(chosen[company.index(1)])
        train_together(chosen)
        outcomes.append(chosen[company.index(1)].method.tensors())
    for outcome in outcomes[1:]:
        assert_same_moves(outcome, outcomes[0], start, "mpt")
    other = replace(trainings(backbone, 10, True)[1], seed=99)
    train(other)
    moved, ours = (tensors["shared"] - start["shared"] for tensors in (outcomes[0], other.method.tensors()))
    assert (ours - moved).norm() > 0.1 * moved.norm()


class Killed(BaseException):
    pass


class KillAt:
    def __init__(self, step: int | None) -> None:
        self.at = step

    def begin(self, stage, total): ...
    def end(self, stage, summary): ...
    def message(self, text): ...
    def step(self, step, loss, speed):
        if step == self.at:
            raise Killed


class Speeds:
    def __init__(self) -> None:
        self.seen: list[float] = []

    def begin(self, stage, total): ...
    def end(self, stage, summary): ...
    def message(self, text): ...
    def step(self, step, loss, speed):
        self.seen.append(speed)


def test_the_speed_of_a_joint_training_is_that_of_all_its_runs_not_their_sum():
    chosen = [replace(training, steps=3) for training in trainings(way("padded"), 3, False)]
    progress = Speeds()
    speeds = [report.examples_per_second for report in train_together(chosen, progress)]
    assert len(progress.seen) == 3
    # All examples over all seconds lie between the slowest and the fastest.
    assert min(speeds) * 0.999 <= progress.seen[-1] <= max(speeds) * 1.001


@smooth_optimisers()
def test_each_selects_logs_and_goes_on_as_alone(tmp_path):
    backbone = way("padded")
    alone = trainings(backbone, 6, True, tmp_path / "alone")
    starts = [copies(each) for each in alone]
    for training in alone:
        train(training)
    with pytest.raises(Killed):
        train_together(trainings(backbone, 6, True, tmp_path / "joint"), KillAt(5))
    together = trainings(backbone, 6, True, tmp_path / "joint")
    # what has a checkpoint goes on, whatever the others do
    (tmp_path / "joint" / "attempt" / "checkpoint.safetensors").unlink()
    reports = train_together(together)
    for one, other, start, report in zip(alone, together, starts, reports, strict=True):
        assert_same_moves(other.method.tensors(), one.method.tensors(), start, one.title)
        assert report.best_step == (one.steps if one.options.select == "last" else 2)
        logs = [
            [
                json.loads(line)
                for line in (tmp_path / folder / one.title / "log.jsonl").read_text(encoding="utf-8").splitlines()
            ]
            for folder in ("alone", "joint")
        ]
        assert [line["step"] for line in logs[0]] == [line["step"] for line in logs[1]]
        for ours, theirs in zip(*logs, strict=True):
            assert ours.get("learning_rates") == theirs.get("learning_rates")
            assert ours.get("loss", 0) == pytest.approx(theirs.get("loss", 0), rel=SAME)


@smooth_optimisers()
def test_a_run_that_breaks_leaves_the_others_alone():
    backbone = way("padded")
    alone = [train_and_tensors(training) for training in trainings(backbone, 4, False)]
    together = trainings(backbone, 4, False)
    starts = [copies(each) for each in together]
    broken = together[2].method
    with torch.no_grad():
        broken.prompt.shared[0, 0] = float("nan")
    before = {name: tensor.clone() for name, tensor in broken.tensors().items()}
    reports = train_together(together)
    assert isinstance(reports[2], TrainingError)
    assert "not finite (terms: task) in mpt_group, step 1; nothing was updated" in str(reports[2])
    for name, tensor in broken.tensors().items():
        assert torch.equal(tensor, before[name]) or name == "shared"
    for index, expected in enumerate(alone):
        if index != 2:
            assert_same_moves(together[index].method.tensors(), expected, starts[index], together[index].title)


@pytest.mark.parametrize("killed", [None, 5])
def test_a_run_whose_dev_metric_gets_no_better_ends_early_and_leaves_the_others(tmp_path, killed):
    """Best at step 4, then two evaluations without anything better: it ends at step 8 of 20."""
    backbone = way("padded")

    def make() -> list[Training]:
        runs = trainings(backbone, 20, False, tmp_path)
        options = TrainingOptions(dropout=False, evaluate_every=2, patience=2, checkpoint_seconds=0.0001)
        dev = {1: 0.1, 2: 0.5, 3: 0.4, 4: 0.5}
        stream = runs[0].stream
        runs[0] = replace(runs[0], options=options, evaluate=lambda: dev[stream.place // 2])
        return runs

    if killed:
        with pytest.raises(Killed):
            train_together(make(), KillAt(killed))
    stopped, *others = make()
    report, *rest = train_together([stopped, *others])
    assert (report.steps, report.best_step, report.dev_value) == (8, 4, 0.5)
    assert [each.steps for each in rest] == [each.steps for each in others]
    assert stopped.stream.place == 8
    (again,) = train_together(make()[:1])
    assert (again.steps, again.best_step) == (8, 4)  # from its checkpoint, without another step


def test_patience_needs_something_to_wait_for():
    with pytest.raises(ConfigError, match="no better tensors are looked for"):
        TrainingOptions(patience=3)
    with pytest.raises(ConfigError, match="no better tensors are looked for"):
        TrainingOptions(patience=3, evaluate_every=5, select="last")
    assert TrainingOptions(patience=3, evaluate_each_epoch=True).in_steps(320).evaluate_every == 20


def test_the_loop_wants_the_time_between_evaluations_in_steps(tmp_path):
    run = trainings(way("padded"), 4, False, tmp_path)[0]
    with pytest.raises(ConfigError, match=r"give it options.in_steps\(number of examples\)"):
        replace(run, options=TrainingOptions(evaluate_each_epoch=True))


def train_and_tensors(training: Training) -> dict[str, torch.Tensor]:
    train(training)
    return training.method.tensors()


def test_what_cannot_train_together_is_refused(tiny_backbone):
    soft = method_of("prompt_tuning", tiny_backbone, 1, False)
    assert can_join([soft, method_of("dept", tiny_backbone, 2, False)])
    others: list[Method] = [
        FineTuning(tiny_backbone, dropout=False),
        SourceTraining(tiny_backbone, soft.prompt, None, DistillationOptions(kind="none"), dropout=False),
        method_of("mpt", tiny_backbone, 3, True),
        method_of("mpt", way("padded"), 3, False),
    ]
    for other in others:
        assert not can_join([soft, other])
        pair = [Training(each, Drawn(1, 2, 1, 5), TrainingOptions(), 1, 0) for each in (soft, other)]
        with pytest.raises(ValueError, match="cannot train together"):
            train_together(pair)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(2, 30), st.integers(1, 3)), min_size=2, max_size=30),
    st.sampled_from([None, 4, 12]),
    st.booleans(),
)
def test_bundles_hold_every_example_once_and_fit_into_memory(shapes, most, dropout):
    backbone = SHARED_BACKBONE
    runs = []
    for seed, (size, longest, parts) in enumerate(shapes):
        method = method_of("prompt_tuning", backbone, seed, dropout)
        options = TrainingOptions(max_micro_batch=most, dropout=dropout)
        runs.append(LiveTraining(Training(method, Drawn(seed, size, 1, longest, min(parts, size)), options, 1, seed)))
    sums = {run: _Sums(run) for run in runs}
    bundles = _bundles(sums)
    for run in runs:
        shares = [share for bundle in bundles for owner, share in bundle if owner is run]
        assert rows_of(share.batch for share in shares) == rows_of(sums[run].batches)
        if dropout:  # the masks of a micro-batch are drawn for all of it at once
            assert len(shares) == len(sums[run].batches)
            assert len({share.seed for share in shares}) == len(shares)
    for bundle in bundles:
        examples = sum(len(share.batch) for _, share in bundle)
        assert examples <= (most or CPU.joint_examples) or (dropout and len(bundle) == 1)


def test_long_examples_share_a_pass_with_few_others():
    """A model as wide as the study's would not have room for 128 sources of 1,000 tokens."""
    runs = []
    for seed in range(2):
        method = method_of("prompt_tuning", SHARED_BACKBONE, seed, False)
        runs.append(LiveTraining(Training(method, Drawn(seed, 30, 1, 1000), TrainingOptions(dropout=False), 1, seed)))
    bundles = list(_bundles({run: _Sums(run) for run in runs}))
    assert len(bundles) > 1
    for bundle in bundles:
        padded = sum(len(share.batch) for _, share in bundle) * max(s.batch.input_ids.shape[1] for _, s in bundle)
        assert padded <= CPU.joint_tokens


def rows_of(batches: Iterable[Batch]) -> list[tuple[list[int], list[int], int]]:
    """All examples without their padding, in an order of their own."""
    return sorted(
        (source[mask.bool()].tolist(), labels[labels != IGNORED].tolist(), task)
        for batch in batches
        for source, mask, labels, task in zip(
            batch.input_ids, batch.attention_mask, batch.labels, batch.task_ids.tolist(), strict=True
        )
    )


def test_examples_of_like_length_share_a_pass_whichever_run_they_belong_to():
    runs = []
    for seed in range(4):
        method = method_of("prompt_tuning", SHARED_BACKBONE, seed, False)
        runs.append(LiveTraining(Training(method, Drawn(seed, 64, 1, 200), TrainingOptions(dropout=False), 1, seed)))
    sums = {run: _Sums(run) for run in runs}
    bundles = [[share.batch for _, share in bundle] for bundle in _bundles(sums)]
    assert any(len(bundle) == len(runs) for bundle in bundles)
    tokens = sum(int(batch.attention_mask.sum()) for each in sums.values() for batch in each.batches)
    padded = sum(sum(map(len, bundle)) * max(b.input_ids.shape[1] for b in bundle) for bundle in bundles)
    apart = sum(batch.input_ids.numel() for each in sums.values() for batch in each.batches)
    # lengths are spread evenly from 1 to 200: half of a micro-batch is padding, of four such groups an eighth
    assert padded < tokens * 1.3 < apart


SHARED_BACKBONE = way("padded")
