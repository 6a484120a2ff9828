"""The pretended device refuses what CUDA refuses, and takes what CUDA takes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from pretended_device import pretended_cuda

REFUSED = {
    "a sum": lambda here, there: there + here,
    "a product": lambda here, there: here @ there.T,
    "a concatenation": lambda here, there: torch.cat([there, here]),
    "a loss": lambda here, there: F.cross_entropy(there, here.argmax(1)),
    "rows of an embedding": lambda here, there: F.embedding(torch.tensor([0]), there),
    "index_select": lambda here, there: there.index_select(0, torch.tensor([0])),
    "indices on the device": lambda here, there: here[there.argmax(1)],
    "values to write": lambda here, there: there.index_put_((torch.tensor([0, 1]),), here[:2]),
    "a sum written to the processor": lambda here, there: torch.tensor(0.0).add_(there.sum()),
    "a matrix product with a number": lambda here, there: torch.dot(there[0], torch.tensor(1.0).expand(2)),
    "a comparison": lambda here, there: torch.equal(here, there),
    "numpy": lambda here, there: there.numpy(),
    "a generator of the processor": lambda here, there: torch.rand(2, device="cuda", generator=torch.Generator()),
    "one that draws in place": lambda here, there: there.normal_(generator=torch.Generator()),
    "a state of the processor": lambda here, there: torch.cuda.set_rng_state(torch.get_rng_state()),
    "an unknown function": lambda here, there: torch.cuda.current_stream(),
}

TAKEN = {
    "a number": lambda here, there: there * torch.tensor(2.0),
    "a number before it": lambda here, there: torch.tensor(2.0) * there,
    "a mask of the processor": lambda here, there: there[here.abs().sum(1) > -1],
    "rows of the processor": lambda here, there: there[torch.tensor([0, 1])],
    "a copy to the device": lambda here, there: torch.zeros_like(there).copy_(here),
    "a copy from the device": lambda here, there: torch.zeros_like(here).copy_(there).to("cuda"),
    "a new tensor like it": lambda here, there: there.new_ones(2),
    "a new tensor by name": lambda here, there: torch.zeros(2, device=there.device),
    "a generator of the device": lambda here, there: torch.rand(2, device="cuda", generator=torch.Generator("cuda")),
    "the type of another": lambda here, there: here.to(there),
}


@pytest.fixture
def tensors():
    with pretended_cuda():
        here = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
        yield here, here.to("cuda")


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what, tensors):
    with pytest.raises((RuntimeError, TypeError, AssertionError)):
        REFUSED[what](*tensors)


@pytest.mark.parametrize("what", TAKEN)
def test_taken(what, tensors):
    result = TAKEN[what](*tensors)
    assert (result.device.type, result.is_cuda, result.is_cpu) == ("cuda", True, False)
    assert result.cpu().device.type == "cpu"
    assert result.to("cpu", torch.float64).dtype == torch.float64


def test_it_gives_numbers_to_python(tensors):
    here, there = tensors
    assert there.tolist() == here.tolist()
    assert (there.sum().item(), float(there[0, 0]), bool(there.any())) == (here.sum().item(), float(here[0, 0]), True)
    assert there.nonzero().tolist() == here.nonzero().tolist()


def test_a_module_that_is_moved_keeps_its_parameters_and_has_gradients_on_the_device(tensors):
    here, there = tensors
    module = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)])
    module[1].weight = module[0].weight
    before = list(module.parameters())
    module.to("cuda")
    assert all(one is other for one, other in zip(before, module.parameters(), strict=True))
    assert module[1].weight is module[0].weight
    loss = module[1](module[0](there)).square().sum()
    loss.backward()
    for parameter in module.parameters():
        assert isinstance(parameter, torch.nn.Parameter)
        assert parameter.device.type == parameter.grad.device.type == "cuda"
    first = module[0].weight.cpu().detach().clone()
    torch.optim.AdamW(module.parameters(), fused=True).step()
    assert not torch.equal(module[0].weight.cpu(), first)
    with pytest.raises(RuntimeError, match="at least two devices, cuda:0 and cpu"):
        module[0](here)


def test_gradients_go_through_transfers():
    with pretended_cuda():
        start = torch.ones(2, requires_grad=True)
        (start.to("cuda") * 3).cpu().square().sum().backward()
    assert start.grad.tolist() == [18, 18]


def test_its_random_numbers_are_its_own():
    with pretended_cuda():
        torch.manual_seed(3)
        outside = torch.get_rng_state()
        x = torch.ones(100, device="cuda")
        state = torch.cuda.get_rng_state()
        first = F.dropout(x).tolist()
        assert torch.equal(torch.get_rng_state(), outside)
        assert F.dropout(x).tolist() != first
        torch.cuda.set_rng_state(state)
        assert F.dropout(x).tolist() == first
        torch.manual_seed(3)
        assert F.dropout(x).tolist() == first
        assert torch.equal(torch.Generator("cuda").manual_seed(3).get_state(), state)


def test_nothing_is_left_behind():
    generator, functions = torch.Generator, dict(vars(torch.cuda))
    with pretended_cuda(bfloat16=True):
        assert torch.cuda.is_bf16_supported()
    assert torch.Generator is generator
    assert vars(torch.cuda) == functions
    with pytest.raises((AssertionError, RuntimeError)):
        torch.zeros(1, device="cuda")
