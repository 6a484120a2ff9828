"""What holds for all layers that are put into the backbone: they come out again, whatever happens inside."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
import torch

from conftest import build_tiny_model, random_batch
from multiprompt.backbone import T5Backbone
from multiprompt.methods import PromptTuning
from multiprompt.methods.adapters import Adapters
from multiprompt.methods.attempt import Attempt, Attention, MixedPrompts
from multiprompt.methods.bitfit import Biases
from multiprompt.methods.dept import Dept, ShortPrompt
from multiprompt.methods.hyperdecoder import HyperDecoder
from multiprompt.methods.hyperformer import HyperFormer
from multiprompt.methods.inserted import Inserted, InsertedMethod, add_beside, change_output
from multiprompt.prompts import SoftPrompt

PLACES = ("self_attention", "feed_forward")
LAYERS: dict[str, Callable[[Any, torch.Generator], Inserted]] = {
    "adapters": lambda backbone, generator: Adapters(backbone, 4, 1, PLACES, generator),
    "bitfit": lambda backbone, generator: Biases(backbone),
    "hyperformer": lambda backbone, generator: HyperFormer(backbone, 4, 6, 8, 1, generator),
    "hyperdecoder": lambda backbone, generator: HyperDecoder(backbone, 4, 3, 8, generator),
}
each_kind = pytest.mark.parametrize("kind", LAYERS)


def method_of(kind: str, backbone: T5Backbone) -> InsertedMethod:
    layers = LAYERS[kind](backbone, torch.Generator().manual_seed(1))
    return InsertedMethod(backbone, layers, 1e-2, dropout=True)


class State:
    """The modules, parameters, hooks and forward passes of a backbone."""

    def __init__(self, backbone: T5Backbone) -> None:
        model = backbone.model
        self.parameters = {name: id(parameter) for name, parameter in model.named_parameters()}
        self.hooks = [name for name, module in model.named_modules() if module._forward_hooks]
        self.passes = [name for name, module in model.named_modules() if "forward" in vars(module)]
        self.rest = (backbone.packs, backbone.pads, model.training)

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other)


@each_kind
def test_an_error_inside_leaves_nothing_behind(tiny_backbone, kind):
    before, batch = State(tiny_backbone), random_batch(num_tasks=1)
    logits = tiny_backbone.forward(batch, None).logits
    method = method_of(kind, tiny_backbone)

    def interrupted() -> None:
        with method, tiny_backbone.dropout(True):
            assert State(tiny_backbone) != before
            tiny_backbone.forward(batch, None)
            raise KeyboardInterrupt

    for _ in range(2):  # the block can be entered again
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert State(tiny_backbone) == before
    assert torch.equal(tiny_backbone.forward(batch, None).logits, logits)


@each_kind
def test_layers_that_cannot_all_be_put_in_are_taken_out(tiny_backbone, kind, monkeypatch):
    before, method = State(tiny_backbone), method_of(kind, tiny_backbone)
    attach = type(method.inserted).attach

    def half(self: Inserted, model: Any, stack: ExitStack) -> None:
        attach(self, model, stack)
        raise RuntimeError("half way")

    monkeypatch.setattr(type(method.inserted), "attach", half)
    with pytest.raises(RuntimeError, match="half way"), method:
        pass
    assert State(tiny_backbone) == before


def test_layers_of_another_model_do_not_fit(tiny_backbone):
    deeper = build_tiny_model(num_layers=3)
    layers = Adapters(T5Backbone(deeper, None, "deeper"), 4, 1, PLACES, torch.Generator())
    before = State(tiny_backbone)
    with pytest.raises(ValueError), InsertedMethod(tiny_backbone, layers, 1e-2, dropout=False):
        pass
    assert State(tiny_backbone) == before


def test_sites_are_listed_encoder_first():
    backbone = T5Backbone(build_tiny_model(num_layers=1, num_decoder_layers=2), None, "tiny")
    found = [(site.stack, site.block, site.place) for site in backbone.sites(PLACES)]
    blocks = (("encoder", 0), ("decoder", 0), ("decoder", 1))
    assert found == [(stack, block, place) for stack, block in blocks for place in PLACES]


def test_behind_and_beside():
    module = torch.nn.Linear(1, 1, bias=False)
    module.weight.data.fill_(3.0)
    x = torch.tensor([[2.0]])
    with ExitStack() as stack, torch.no_grad():
        change_output(stack, module, lambda output: output + 1)
        assert module(x).item() == 7
    with ExitStack() as stack, torch.no_grad():
        add_beside(stack, module, lambda states: 10 * states)
        assert module(x).item() == 26
    assert module(x).item() == 6


@pytest.fixture
def half_precision(tiny_backbone) -> T5Backbone:
    return T5Backbone(build_tiny_model().to(torch.bfloat16), tiny_backbone.tokenizer, "tiny bf16")


def check_training_in_half_precision(method, batch):
    method.losses(batch)[0].sums.sum().backward()
    for group in method.parameter_groups():
        for parameter in group.parameters:
            assert parameter.dtype == torch.float32
            assert parameter.grad.isfinite().all()
    assert method.generate(batch, 3).shape[0] == len(batch)


@each_kind
def test_states_of_half_precision_go_through_trained_layers_of_full_precision(half_precision, kind):
    seen = set()
    with method_of(kind, half_precision) as method, ExitStack() as stack:
        for block in (*half_precision.model.encoder.block, *half_precision.model.decoder.block):
            hook = block.register_forward_hook(lambda _, __, output: seen.add(output[0].dtype))
            stack.callback(hook.remove)
        check_training_in_half_precision(method, random_batch(num_tasks=1))
    assert seen == {torch.bfloat16}


def test_prompts_of_full_precision_stand_before_states_of_half_precision(half_precision):
    generator, batch = torch.Generator().manual_seed(0), random_batch(num_tasks=1)
    rows = torch.randn(4, 3, 16, generator=generator)
    check_training_in_half_precision(PromptTuning(half_precision, SoftPrompt([rows[0]])), batch)
    short = ShortPrompt(rows[0], 9, 2, generator)
    check_training_in_half_precision(Dept(half_precision, short, 0.3, 5e-4, dropout=True), batch)
    mixed = MixedPrompts([rows[0]], Attention(16, 4, generator))
    check_training_in_half_precision(Attempt(half_precision, mixed, rows[1:], 0.3, 0.1, None, dropout=True), batch)
