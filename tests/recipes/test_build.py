"""What holds for every method that adapts to target tasks, on a random backbone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from conftest import Again, build_tiny_model, random_batch, run_on, step_of
from multiprompt.backbone import T5Backbone
from multiprompt.batch import Batch
from multiprompt.errors import CheckpointError
from multiprompt.methods import Method, StoredMethod, can_join
from multiprompt.options import (
    AdapterOptions,
    AttemptOptions,
    BitFitOptions,
    DecomposedPromptTuningOptions,
    DeptOptions,
    FineTuningOptions,
    HyperDecoderOptions,
    HyperFormerOptions,
    Ia3Options,
    LoraOptions,
    MptOptions,
    PrefixTuningOptions,
    PromptOptions,
    PromptTuningOptions,
    SpotOptions,
    TrainingOptions,
)
from multiprompt.plan import GROUPED, JOINED
from multiprompt.prompts import DecomposedPrompt, SoftPrompt, StoredPrompt, save_prompt, start_task_factors
from multiprompt.recipes.build import Start, build_method
from rounding import assert_clear, assert_same, assert_same_gradients

LENGTH, WIDTH = 5, 16
GROUP = ("one", "two", "three")
OPTIONS = {
    "mpt": MptOptions(0.1, 0.05),
    "prompt_tuning": PromptTuningOptions(0.1),
    "fine_tuning": FineTuningOptions(1e-3),
    "spot": SpotOptions(0.1, start="sst2"),
    "attempt": AttemptOptions(0.1, 0.05, bottleneck=4, temperature=1.0),
    "adapters": AdapterOptions(1e-2, reduction=4),
    "bitfit": BitFitOptions(1e-2),
    "hyperformer": HyperFormerOptions(1e-2, reduction=4, embedding=6, hidden=8),
    "hyperdecoder": HyperDecoderOptions(1e-2, bottleneck=4, layer_embedding=3, hidden=8),
    "dept": DeptOptions(0.1, 0.05),
    "decomposed_prompt_tuning": DecomposedPromptTuningOptions(0.1, rank=4),
    "lora": LoraOptions(1e-2, rank=2),
    "ia3": Ia3Options(1e-1),
    "prefix_tuning": PrefixTuningOptions(0.1),
}
NOTHING_DRAWN = ("mpt", "fine_tuning", "spot", "bitfit", "ia3")
"""Methods that start from what is there, or from zeros and ones."""


def start_of(name: str, backbone: T5Backbone, tasks: tuple[str, ...] = ("one",), **changes) -> Start:
    generator = torch.Generator().manual_seed(3)
    width = backbone.width

    def rows() -> torch.Tensor:
        return torch.randn(LENGTH, width, generator=generator)

    factors = [start_task_factors(LENGTH, width, 1, "near_one", generator) for _ in range(2)]
    earlier = {f"teacher-{task}": SoftPrompt([rows()]) for task in ("sst2", "mnli", "qnli")}
    start = Start(
        backbone=backbone,
        tasks=tasks,
        options=OPTIONS[name],
        training=TrainingOptions(dropout=False),
        prompt=PromptOptions(length=LENGTH),
        earlier=earlier | {"source": DecomposedPrompt(rows(), factors)},
        seed=1,
        stage="target",
        max_source_length=9,
    )
    return replace(start, **changes)


def batch_of(tasks: int, seed: int = 0) -> Batch:
    return random_batch(seed, num_tasks=tasks)


def take_step(method: Method, batches: list[Batch]):
    return step_of(run_on(method, Again(batches), clip=1e9))


def cut(batch: Batch, parts: int) -> list[Batch]:
    rows = torch.arange(len(batch)).chunk(parts)
    return [Batch(batch.input_ids[r], batch.attention_mask[r], batch.labels[r], batch.task_ids[r]) for r in rows]


def groups_of(name: str) -> list[tuple[str, ...]]:
    return [("one",), GROUP] if name in GROUPED else [("one",)]


CASES = [(name, tasks) for name in OPTIONS for tasks in groups_of(name)]
each_case = pytest.mark.parametrize(("name", "tasks"), CASES, ids=[f"{n}-{len(t)}" for n, t in CASES])


@pytest.fixture(params=[{}, {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}], ids=["v1.0", "v1.1"])
def backbone(request, tiny_backbone) -> T5Backbone:
    tiny = T5Backbone(build_tiny_model(**request.param), tiny_backbone.tokenizer, "tiny")
    tiny.packs = True
    return tiny


@each_case
def test_steps_move_the_declared_tensors_and_the_backbone_comes_out_as_it_went_in(backbone, name, tasks):
    model = backbone.model
    weights = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    modules = dict(model.named_modules())
    batch, prompts = batch_of(1), torch.randn(6, 4, WIDTH)
    logits = backbone.forward(batch, prompts).logits
    with build_method(name, start_of(name, backbone, tasks)) as method:
        before = {key: tensor.clone() for key, tensor in method.tensors().items()}
        declared = sum(p.numel() for group in method.parameter_groups() for p in group.parameters)
        assert declared == sum(tensor.numel() for tensor in before.values())
        # a factor that starts at zero holds back the gradient of the other one for a step
        for seed in (1, 2):
            take_step(method, [batch_of(len(tasks), seed)])
        unmoved = [key for key, tensor in method.tensors().items() if torch.equal(tensor, before[key])]
        assert unmoved == []
        if name != "fine_tuning":
            inside = model.named_parameters(remove_duplicate=False)
            frozen = {key.replace(".base_layer", ""): tensor for key, tensor in inside}
            assert all(torch.equal(frozen[key], weights[key]) for key in weights if "norm" not in key)
    assert model.state_dict().keys() == weights.keys()
    assert all(torch.equal(tensor, weights[key]) for key, tensor in model.state_dict().items())
    assert dict(model.named_modules()) == modules, "the very same modules"
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(backbone.forward(batch, prompts).logits, logits)


@each_case
def test_first_values_depend_on_the_seed_alone(tiny_backbone, name, tasks):
    def first_values(seed: int) -> dict[str, torch.Tensor]:
        with build_method(name, start_of(name, tiny_backbone, tasks, seed=seed)) as method:
            return {key: tensor.clone() for key, tensor in method.tensors().items()}

    torch.manual_seed(0)
    expected = first_values(1)
    torch.manual_seed(5)
    again = first_values(1)
    assert again.keys() == expected.keys()
    assert all(torch.equal(again[key], expected[key]) for key in expected)
    other = first_values(2)
    drawn = not all(torch.equal(other[key], expected[key]) for key in expected)
    assert drawn == (name not in NOTHING_DRAWN)


@each_case
def test_what_is_stored_and_loaded_gives_the_same_losses_and_answers(tiny_backbone, name, tasks):
    batch = batch_of(len(tasks))
    with build_method(name, start_of(name, tiny_backbone, tasks)) as method:
        take_step(method, [batch])
        stored = {key: tensor.clone() for key, tensor in method.tensors().items()}
        expected = method.losses(batch)[0].sums.detach(), method.generate(batch, 4)
    with build_method(name, start_of(name, tiny_backbone, tasks, seed=2)) as other:
        other.load(stored)
        assert torch.equal(other.losses(batch)[0].sums.detach(), expected[0])
        assert torch.equal(other.generate(batch, 4), expected[1])


@each_case
@pytest.mark.parametrize("parts", [2, 6])
def test_the_gradient_does_not_depend_on_micro_batches(smooth_backbone, name, tasks, parts):
    gradients = []
    for number in (1, parts):
        with build_method(name, start_of(name, smooth_backbone, tasks)) as method:
            take_step(method, cut(batch_of(len(tasks)), number))
            gradients.append([p.grad for group in method.parameter_groups() for p in group.parameters])
    whole, split = gradients
    assert_same_gradients(split, whole)


@each_case
def test_a_batch_can_be_learned_by_heart(tiny_backbone, name, tasks):
    # A frozen random model cannot say everything: ask for answers that other trained tensors do bring out of it.
    batch = random_batch(batch_size=3, num_tasks=len(tasks), max_target=1)
    with build_method(name, start_of(name, tiny_backbone, tasks)) as method:

        def answers() -> torch.Tensor:
            return method.generate(batch, 1)[:, 1:]

        start = {key: tensor.clone() for key, tensor in method.tensors().items()}
        first, generator = answers(), torch.Generator().manual_seed(8)
        for _ in range(50):
            method.load({key: t + torch.randn(t.shape, generator=generator) for key, t in start.items()})
            wanted = answers()
            if not torch.equal(wanted, first):
                break
        assert not torch.equal(wanted, first)
        method.load(start)
        batch = replace(batch, labels=wanted)
        run = run_on(method, Again([batch]))
        for _ in range(300):
            step_of(run)
            if torch.equal(answers(), wanted):
                break
        assert torch.equal(answers(), wanted)


@pytest.mark.parametrize("name", list(OPTIONS))
def test_the_plan_knows_which_methods_can_join(tiny_backbone, name):
    assert can_join([build_method(name, start_of(name, tiny_backbone))]) == (name in JOINED)


@pytest.mark.parametrize("name", GROUPED)
def test_a_group_of_which_one_task_is_seen_trains_as_that_task_alone(tiny_backbone, name):
    batches = [batch_of(1, seed) for seed in (1, 2)]
    with build_method(name, start_of(name, tiny_backbone)) as method:
        start = {key: tensor.clone() for key, tensor in method.tensors().items()}
        for batch in batches:
            take_step(method, [batch])
        alone = {key: tensor.clone() for key, tensor in method.tensors().items()}
    with build_method(name, start_of(name, tiny_backbone, GROUP)) as method:
        before = {key: tensor.clone() for key, tensor in (method.tensors() | start).items()}
        method.load(before)
        for batch in batches:
            take_step(method, [batch])
        for key, tensor in method.tensors().items():
            assert torch.equal(tensor, alone.get(key, before[key])), key


@pytest.mark.parametrize("name", [name for name in OPTIONS if name in GROUPED])
def test_an_example_of_a_mixed_batch_is_the_example_alone(tiny_backbone, name):
    batch = batch_of(3)
    with build_method(name, start_of(name, tiny_backbone, GROUP)) as method:
        take_step(method, [batch])  # so that the tasks differ
        together = method.losses(batch)[0].sums
        answers = assert_clear(tiny_backbone, lambda: method.generate(batch, 3))
        for row, alone in enumerate(cut(batch, len(batch))):
            assert_same(method.losses(alone)[0].sums[0], together[row])
            one = method.generate(alone, 3)[0]
            assert torch.equal(one, answers[row, : len(one)])


def test_first_weights_that_do_not_fit_leave_the_backbone_as_it_was(tiny_backbone):
    model = tiny_backbone.model
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    wrong = {name: tensor + 1 for name, tensor in before.items()}
    last = list(wrong)[-1]
    wrong[last] = wrong[last][:1]
    learned = {"source-multitask_fine_tuning": StoredMethod("multitask_fine_tuning", wrong, ("sst2",))}
    with pytest.raises(CheckpointError, match=f"{last}.* of the model has shape"):
        build_method("fine_tuning", start_of("fine_tuning", tiny_backbone, earlier=learned)).__enter__()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.named_parameters())
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_layers_need_all_that_they_start_from(tiny_backbone):
    with build_method("adapters", start_of("adapters", tiny_backbone)) as method:
        tensors = {name: tensor for name, tensor in method.tensors().items() if name != "norms.3"}
    learned = {"source-multitask_adapters": StoredMethod("multitask_adapters", tensors, ("sst2",))}
    with pytest.raises(CheckpointError, match="do not fit the inserted layers: missing .'norms.3'"):
        build_method("adapters", start_of("adapters", tiny_backbone, earlier=learned))


@pytest.mark.parametrize("name", ["prompt_tuning", "dept"])
def test_new_prompts_start_from_a_stored_one_if_they_shall(tiny_backbone, tmp_path, name):
    rows = torch.randn(LENGTH, WIDTH, generator=torch.Generator().manual_seed(4))
    save_prompt(tmp_path / "prompt.safetensors", StoredPrompt(SoftPrompt([rows]), ("one",), "tiny"))
    options = PromptOptions(length=LENGTH, start="saved", path=str(tmp_path / "prompt.safetensors"))
    method = build_method(name, start_of(name, tiny_backbone, prompt=options))
    prompt = method.prompts(batch_of(1))[0]
    assert len(prompt) == method.prompt_length == (LENGTH if name == "prompt_tuning" else 2)
    assert torch.equal(prompt, rows[: len(prompt)])


@pytest.mark.parametrize("name", [name for name in OPTIONS if name in GROUPED])
def test_gradients_of_a_mixed_batch_are_the_same_bit_by_bit_on_several_threads(tiny_backbone, name):
    # large enough for torch to share the sums of a gradient out to threads
    backbone = T5Backbone(build_tiny_model(d_model=256), tiny_backbone.tokenizer, "wide")
    batch = random_batch(batch_size=48)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        gradients = []
        for _ in range(4):
            with build_method(name, start_of(name, backbone, GROUP)) as method:
                method.losses(batch)[0].sums.sum().backward()
                gradients.append([p.grad for group in method.parameter_groups() for p in group.parameters])
    finally:
        torch.set_num_threads(before)
    for again in gradients[1:]:
        assert all(torch.equal(ours, first) for ours, first in zip(again, gradients[0], strict=True))
