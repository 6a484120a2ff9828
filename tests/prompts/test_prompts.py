"""Prompts against loops written out, against peft, and the laws that hold for any values."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from multiprompt.errors import CheckpointError
from multiprompt.prompts import (
    DecomposedPrompt,
    Prompt,
    SharedPrompt,
    SoftPrompt,
    StoredPrompt,
    compose,
    load_prompt,
    normal_rows,
    save_plain_prompt,
    save_prompt,
    start_task_factors,
    text_rows,
    uniform_rows,
    vocabulary_rows,
)

sizes = st.integers(1, 5)


@given(tasks=sizes, length=sizes, width=sizes, rank=sizes, seed=st.integers(0, 1000))
def test_compose_is_the_loop(tasks, length, width, rank, seed):
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(length, width, generator=generator)
    u = torch.randn(tasks, length, rank, generator=generator)
    v = torch.randn(tasks, rank, width, generator=generator)
    prompts = compose(shared, u, v)
    for k in range(tasks):
        for i in range(length):
            for j in range(width):
                matrix = sum(u[k, i, r] * v[k, r, j] for r in range(rank))
                assert_close(prompts[k, i, j], shared[i, j] * matrix, rtol=1e-4, atol=1e-5)
    permuted = torch.randperm(tasks, generator=generator)
    assert_close(compose(shared, u[permuted], v[permuted]), prompts[permuted])


def test_the_embedding_of_peft_gives_the_same_prompts():
    peft = pytest.importorskip("peft")
    from peft.tuners.multitask_prompt_tuning import MultitaskPromptEmbedding

    tasks, length, width, rank = 4, 6, 8, 2
    config = peft.MultitaskPromptTuningConfig(
        task_type="SEQ_2_SEQ_LM",
        num_tasks=tasks,
        num_ranks=rank,
        num_virtual_tokens=length,
        num_transformer_submodules=1,
        token_dim=width,
        prompt_tuning_init="RANDOM",
    )
    theirs = MultitaskPromptEmbedding(config, torch.nn.Embedding(10, width))
    prompt = DecomposedPrompt(
        theirs.embedding.weight,
        list(zip(theirs.prefix_task_cols, theirs.prefix_task_rows, strict=True)),
    )
    task_ids = torch.tensor([2, 0, 2, 3, 1])
    indices = torch.arange(length).expand(len(task_ids), -1)
    assert_close(prompt(task_ids), theirs(indices, task_ids))


def test_start_of_ones_is_the_shared_prompt_for_any_rank():
    shared = torch.randn(7, 5)
    for rank in (1, 3):
        factors = [start_task_factors(7, 5, rank, "ones", torch.Generator().manual_seed(k)) for k in range(2)]
        prompt = DecomposedPrompt(shared, factors)
        assert_close(prompt.all_tasks(), shared.expand(2, -1, -1))
        assert prompt.factor_scales() == pytest.approx([1.0, 1.0])


def test_every_rank_gets_a_gradient_of_its_own():
    # Equal or zero factors in all further ranks would stay so for ever.
    u, v = start_task_factors(4, 6, 3, "ones", torch.Generator().manual_seed(0))
    prompt = DecomposedPrompt(torch.randn(4, 6), [(u, v)])
    prompt.all_tasks().square().sum().backward()
    gradient = prompt.u[0].grad
    assert gradient.abs().sum(0).gt(0).all()
    assert not torch.allclose(gradient[:, 1], gradient[:, 2])


def test_peft_start_is_small_and_near_one_is_near_one():
    generator = torch.Generator().manual_seed(0)
    u, v = start_task_factors(100, 768, 1, "peft", generator)
    # Product of two N(0, 0.02^2): standard deviation 4e-4.
    assert (u @ v).std().item() == pytest.approx(4e-4, rel=0.2)
    u, v = start_task_factors(100, 768, 1, "near_one", generator, spread=0.1)
    assert (u @ v).mean().item() == pytest.approx(1, abs=0.05)
    with pytest.raises(ValueError, match="unknown start"):
        start_task_factors(1, 1, 1, "twos")


@pytest.mark.parametrize("kind", ["soft", "shared", "decomposed"])
def test_each_example_gets_the_prompt_of_its_task(kind):
    generator = torch.Generator().manual_seed(3)
    shared = torch.randn(4, 6, generator=generator)
    starts = [torch.randn(4, 6, generator=generator) for _ in range(3)]
    factors = [start_task_factors(4, 6, 1, "near_one", generator) for _ in range(3)]
    prompt = {
        "soft": SoftPrompt(starts),
        "shared": SharedPrompt(shared, 3),
        "decomposed": DecomposedPrompt(shared, factors),
    }[kind]
    task_ids = torch.tensor([2, 0, 2, 2])
    chosen = prompt(task_ids)
    for row, task in zip(chosen, task_ids.tolist(), strict=True):
        assert_close(row, prompt.all_tasks()[task])
    with pytest.raises(IndexError, match="asks for task 3"):
        prompt(torch.tensor([0, 3]))


def test_a_task_that_is_absent_has_no_gradient():
    generator = torch.Generator().manual_seed(3)
    factors = [start_task_factors(4, 6, 1, "ones", generator) for _ in range(3)]
    prompt = DecomposedPrompt(torch.randn(4, 6), factors)
    prompt(torch.tensor([0, 2])).sum().backward()
    assert [u.grad is None for u in prompt.u] == [False, True, False]
    assert [v.grad is None for v in prompt.v] == [False, True, False]


def test_the_mean_of_the_factors_is_taken_apart():
    u = [torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [-2.0]])]
    v = [torch.tensor([[1.0, 1.0]]), torch.tensor([[5.0, 3.0]])]
    mean_u, mean_v = DecomposedPrompt(torch.ones(2, 2), list(zip(u, v, strict=True))).mean_factors()
    assert_close(mean_u, torch.tensor([[2.0], [0.0]]))
    assert_close(mean_v, torch.tensor([[3.0, 2.0]]))


def test_vocabulary_rows_are_distinct_rows():
    embedding = torch.stack([torch.arange(5000.0), torch.zeros(5000)], 1)
    rows = vocabulary_rows(embedding, 100, torch.Generator().manual_seed(0))
    assert len(set(rows[:, 0].tolist())) == 100
    assert vocabulary_rows(embedding, 5000)[:, 0].sort().values.tolist() == list(range(5000))
    with pytest.raises(ValueError, match="5001 rows"):
        vocabulary_rows(embedding, 5001)


def test_other_starts():
    generator = torch.Generator().manual_seed(0)
    assert normal_rows(200, 50, generator=generator).std().item() == pytest.approx(1, abs=0.05)
    uniform = uniform_rows(200, 50, generator=generator)
    assert uniform.abs().max() <= 0.5
    embedding = torch.arange(10.0)[:, None]
    assert text_rows(embedding, [4, 7], 5)[:, 0].tolist() == [4, 7, 4, 7, 4]
    with pytest.raises(ValueError, match="no token"):
        text_rows(embedding, [], 5)


def test_prompts_are_fp32_copies():
    start = torch.ones(2, 3, dtype=torch.bfloat16)
    prompt = SoftPrompt([start])
    with torch.no_grad():
        prompt.prompts[0].add_(1)
    assert prompt.prompts[0].dtype == torch.float32
    assert start.float().sum() == 6
    with pytest.raises(ValueError, match="one shape"):
        SoftPrompt([torch.ones(2, 3), torch.ones(3, 3)])


def test_the_gradient_of_a_mixed_batch_is_the_same_bit_by_bit_on_several_threads():
    # 48 x 100 x 96 numbers are enough for torch to share their sum out to threads
    tasks = torch.arange(48) % 6
    prompt = SoftPrompt([normal_rows(100, 96, generator=torch.Generator().manual_seed(task)) for task in range(6)])
    weights = torch.randn(48, 100, 96, generator=torch.Generator().manual_seed(9))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        gradients = []
        for _ in range(20):
            prompt.zero_grad(set_to_none=True)
            (prompt(tasks) * weights).sum().backward()
            gradients.append(torch.stack([parameter.grad for parameter in prompt.parameters()]))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(gradient, gradients[0]) for gradient in gradients)


def test_a_prompt_of_ones_own_is_saved_as_plain_matrices(tmp_path):
    class Zeros(Prompt):
        num_tasks, length, width = 1, 2, 3

        def collapse(self, tasks):
            return torch.zeros(len(tasks), 2, 3)

    stored = StoredPrompt(Zeros(), ("mine",), "some model")
    with pytest.raises(CheckpointError, match="a Zeros is no prompt of the package.* save_plain_prompt writes"):
        save_prompt(tmp_path / "prompt.safetensors", stored)
    save_plain_prompt(tmp_path / "prompt.safetensors", stored)
    assert_close(load_prompt(tmp_path / "prompt.safetensors").prompt.all_tasks(), torch.zeros(1, 2, 3))
