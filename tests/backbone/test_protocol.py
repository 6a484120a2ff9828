"""The protocol of backbones is enough: a family that has nothing of T5 runs through the ordinary code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import multiprompt as mp
from backbone.tiny_causal import TinyCausal, build_causal_model
from conftest import build_tiny_tokenizer, random_batch
from multiprompt.backbone import Backbone, Inputs, T5Backbone, loading
from multiprompt.backbone.loading import Family
from multiprompt.batch import Batch
from multiprompt.evaluation.results import read_results
from multiprompt.forecast import estimate_run
from multiprompt.methods import SourceTraining, TaskMethod
from multiprompt.reports import write_report
from multiprompt.runs import open_run, run_experiment
from multiprompt.training.log import JsonLog
from recipes.small import small_experiment
from rounding import assert_same

TASKS = ("mini-sst2", "mini-rte")
METHODS = (
    *("mpt", "prompt_tuning", "spot", "attempt", "dept", "decomposed_prompt_tuning"),
    *("fine_tuning", "adapters", "bitfit", "hyperformer", "lora", "ia3"),
)


@pytest.fixture(params=["t5", "causal"])
def backbone(request, tiny_backbone) -> Backbone:
    if request.param == "t5":
        return tiny_backbone
    return TinyCausal(build_causal_model(), build_tiny_tokenizer(), "tiny causal")


def prompts(batch: Batch, length: int, width: int = 16) -> torch.Tensor:
    return torch.randn(len(batch), length, width, generator=torch.Generator().manual_seed(length))


def several() -> list[Inputs]:
    """Examples of three trainings, whose prompts differ in length."""
    batches = [random_batch(seed=seed, batch_size=3, num_tasks=1) for seed in (1, 2, 3)]
    return [Inputs(batch, prompts(batch, length)) for batch, length in zip(batches, (2, 5, 3), strict=True)]


def test_examples_come_out_of_a_joint_pass_as_alone(backbone):
    inputs, together = several(), backbone.forward_together(several(), "last")
    start = 0
    for each in inputs:
        alone, size = backbone.forward(each.batch, each.prompts, "last"), len(each.batch)
        chosen = (together.example_ids >= start) & (together.example_ids < start + size)
        assert_same(together.logits[chosen], alone.logits)
        assert torch.equal(together.labels[chosen], alone.labels)
        for name, states in alone.states.items():
            joint = together.states[name]
            assert_same(
                joint.values[0][start : start + size][joint.mask[start : start + size]], states.values[0][states.mask]
            )
            counts = backbone.state_counts(each.batch, each.prompt_length)[name]
            assert states.mask.sum(1).tolist() == counts.tolist()
        start += size


def test_sums_over_mixed_inputs_are_those_of_each(backbone):
    inputs = several()
    answers = [[40, 1], [41, 42, 1], [43]]
    together = backbone.rank(inputs, answers)
    assert_same(together, torch.cat([backbone.rank([each], answers) for each in inputs]))
    # every score is the log-probability of the answer's tokens in a pass that is given the answer as its target
    one = inputs[0]
    for column, answer in enumerate(answers):
        labels = torch.tensor([answer]).expand(len(one.batch), -1)
        output = backbone.forward(replace(one.batch, labels=labels), one.prompts)
        expected = -F.cross_entropy(output.logits, output.labels, reduction="none").view(len(one.batch), -1).sum(1)
        assert_same(together[: len(one.batch), column], expected)


@pytest.mark.parametrize("beams", [1, 3])
def test_answers_to_mixed_inputs_are_those_to_each(backbone, beams):
    inputs = several()

    def texts(ids: torch.Tensor) -> list[str]:
        return [text for text, _ in backbone.coder.answers(ids)]

    alone = [text for each in inputs for text in texts(backbone.generate([each], 5, beams))]
    assert texts(backbone.generate(inputs, 5, beams)) == alone
    assert len(set(alone)) > 1
    with backbone.answers_of(4):
        ids = backbone.generate(inputs, 6)
        assert (ids[:, -6:-3] != backbone.coder.end_id).all()


def test_only_the_target_ends_where_one_sequence_holds_both(backbone):
    task = mp.load_task("mini-rte", backbone, mp.DataOptions(max_train=4, max_dev=4, max_test=4, max_source_length=20))
    ends = [task.train.sources[row][-1] == backbone.coder.end_id for row in range(4)]
    assert ends == [isinstance(backbone, T5Backbone)] * 4
    assert all(task.train.targets[row][-1] == backbone.coder.end_id for row in range(4))
    assert task.train.sources.lengths.max() <= 20


def test_layers_and_weights_can_be_changed_and_come_back(backbone):
    batch = random_batch(num_tasks=1)
    before = backbone.forward(batch, None).logits
    stacks = backbone.shape.stacks
    sites = backbone.sites(["self_attention", "feed_forward"])
    assert [(s.stack, s.block, s.place) for s in sites] == [
        (stack.name, block, place)
        for stack in stacks
        for block in range(stack.blocks)
        for place in ("self_attention", "feed_forward")
    ]
    assert len(backbone.norms()) == backbone.shape.norms
    assert (
        len(backbone.outputs())
        == sum(1 for module in backbone.model.modules() if isinstance(module, torch.nn.Linear))
        + backbone.shape.norms
        - backbone.shape.last_norms
    )
    with backbone.ordinary_passes():
        handle = sites[-1].module.register_forward_hook(lambda module, given, output: torch.zeros_like(output))
        assert not torch.equal(backbone.forward(batch, None).logits, before)
        handle.remove()
    with backbone.unfrozen():
        for weight in backbone.weights().values():
            weight.data.add_(0.1)
        assert not torch.equal(backbone.forward(batch, None).logits, before)
    assert_same(backbone.forward(batch, None).logits, before)
    assert not any(weight.requires_grad for weight in backbone.weights().values())


def test_distillation_compares_the_states_of_every_stack(backbone):
    batch = random_batch(num_tasks=2)
    teachers = torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(5))
    student = mp.DecomposedPrompt(torch.randn(3, 16), [(torch.ones(3, 1), torch.ones(1, 16))] * 2)
    method = SourceTraining(backbone, student, teachers, mp.DistillationOptions(), dropout=False)
    terms = {term.name: term for term in method.losses(batch)}
    names = [f"{stack.name} states" for stack in backbone.shape.stacks]
    assert list(terms) == ["task", "logits", *names]
    ours = backbone.forward(batch, method.prompts(batch), "last").states
    theirs = backbone.forward(batch, teachers[batch.task_ids], "last").states
    for stack, name in zip(backbone.shape.stacks, names, strict=True):
        pair, mask = (ours[stack.name].values[0], theirs[stack.name].values[0]), ours[stack.name].mask
        expected = F.mse_loss(pair[0][mask], pair[1][mask])
        assert (terms[name].sums.sum() / terms[name].counts.sum()).item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.fixture
def causal_folder(tmp_path: Path, monkeypatch) -> Path:
    """A saved model of the second family, which ``load_backbone`` knows."""
    from transformers import AutoModelForCausalLM

    folder = tmp_path / "tiny-causal"
    build_causal_model().save_pretrained(folder)
    build_tiny_tokenizer().save_pretrained(folder)

    def load(checkpoint, dtype, attention):
        return AutoModelForCausalLM.from_pretrained(checkpoint.path, dtype=dtype, attn_implementation=attention)

    family = Family(("llama",), TinyCausal, load, AutoModelForCausalLM.from_config)
    monkeypatch.setattr(loading, "FAMILIES", (*loading.FAMILIES, family))
    return folder


def test_a_whole_experiment_runs_on_the_second_family(causal_folder, tmp_path):
    methods = {name: {} for name in METHODS} | {"spot": {"early_steps": 2}}
    experiment = small_experiment(
        causal_folder,
        source={"tasks": list(TASKS), "training": {"steps": 3, "batch_size": 4, "log_every": 1}},
        targets={"tasks": ["mini-qqp"], "methods": methods, "training": {"steps": 2, "batch_size": 4}},
    )
    folder = tmp_path / "run"
    before = estimate_run(experiment, folder, seconds=0.01)
    assert before.seconds(left=True) > 0
    run_experiment(experiment, folder)
    scores = read_results(folder / "results.json")[1]
    assert {score.method for score in scores if score.task == "mini-qqp"} == set(METHODS)
    kept, _ = JsonLog(folder / "seed-1/source/log.jsonl").cut(10**6)
    assert list(kept[0]["terms"]) == ["task", "logits", "layers states"]
    assert all(value > 0 for value in kept[0]["terms"].values())
    again = open_run(folder).evaluate()
    assert [score.value for score in again] == [score.value for score in scores]
    assert len(open_run(folder).answer("mini-qqp", ["a text", "another one"], method="mpt")) == 2
    write_report([folder], folder / "report.html")
    assert "mini-qqp" in (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("method", ["mpt", "adapters"])
def test_answers_of_any_method_are_ranked(backbone, method):
    data = mp.DataOptions(max_train=12, max_dev=4, max_test=9, max_source_length=24)
    task = mp.load_task("mini-rte", backbone, data)
    source = (
        mp.SoftPrompt([torch.randn(3, 16, generator=torch.Generator().manual_seed(1))]) if method == "mpt" else None
    )
    training = mp.TrainingOptions(steps=2, batch_size=4)
    adapted = mp.adapt(backbone, task, method, source=source, training=training)
    ranked = adapted.evaluate(ranked=True)
    assert ranked.invalid == 0
    labels, trained = task.task.labels, adapted.method
    assert isinstance(trained, TaskMethod)
    with trained:
        trained.load(dict(adapted.tensors))
        for row, answer in enumerate(ranked.predictions):
            sums = []
            for label in labels:
                ids = torch.tensor([backbone.coder.target_ids([label])[0]])
                source_ids = torch.from_numpy(np.array(task.test.sources[row], dtype=np.int64))[None]
                batch = Batch(source_ids, torch.ones_like(source_ids), ids, torch.zeros(1, dtype=torch.long))
                with torch.no_grad(), backbone.dropout(False):
                    if hasattr(trained, "inserted"):
                        trained.inserted.batch = batch
                    output = backbone.forward(batch, trained.prompts(batch))
                sums.append(-F.cross_entropy(output.logits, output.labels, reduction="sum").item())
            if abs(sums[0] - sums[1]) > 1e-4:
                assert answer == labels[int(np.argmax(sums))]
