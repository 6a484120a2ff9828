"""How two computations of the same thing are compared, so that the processor does not decide.

Processors add up products in different orders, and so do different ways through a model and different cuts of a batch.
Each of these sums is rounded by 6e-8 of its terms. Six rules follow.

* Losses, logits, states and gradients are compared by ``assert_same`` and ``assert_same_gradients``.
* Gradients are compared on ``SMOOTH`` models, or where ``far_from_kinks`` holds: rounding can take the input of a relu
  from one side of zero to the other, and with it a whole path of the gradient.
* Trained tensors are compared after steps of ``smooth_optimisers``, by ``assert_same_moves``: AdamW divides a gradient
  by its own size, so a weight whose gradient is zero but for rounding goes the whole rate up or down.
* Answers are compared where ``assert_clear`` holds: no rounding changes which token is the best one.
* Findings are compared where the training that they are about leaves no doubt.
* Bitwise equality is asked for only where the same operations run on tensors of the same shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor

from multiprompt.backbone import T5Backbone
from multiprompt.methods import ParameterGroup
from multiprompt.options import TrainingOptions
from multiprompt.training.optimiser import build_optimiser

Answers = TypeVar("Answers", Tensor, list[str])
"""Token ids, or texts."""

SMOOTH = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
"""Changes to a T5 configuration, as in T5 v1.1: no activation has a kink."""

SAME = 1e-4
"""Most by which two computations may differ, relative to the norm of what they compute.

Over instruction sets, threads, and orders of summation drawn at random, the largest difference was 1.8e-5 in a gated
model of width 256, whose random weights make scores of attention far apart, and 1.2e-5 in one of width 16. An error of
one per cent is a hundred times what is allowed.
"""

FLOOR = 1e-6
"""Most rounding of a gradient that is zero, or small, by cancellation: relative to the norm of all gradients."""

STORED = 1e-6
"""Most rounding of a trained tensor itself, which is stored anew in every step, relative to its norm."""


def assert_same(ours: Tensor, theirs: Tensor, what: str = "") -> None:
    """The difference is rounding, relative to the norm of the tensor."""
    assert ours.shape == theirs.shape
    _assert_small(ours, theirs, SAME * _norm(theirs), what)


def assert_same_gradients(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> None:
    """Two computations of the gradient of one loss for the same tensors, before any optimiser."""
    scale = _norm(torch.stack([each.double().norm() for each in theirs]))
    for number, (own, other) in enumerate(zip(ours, theirs, strict=True)):
        _assert_small(own, other, SAME * _norm(other) + FLOOR * scale, f"gradient {number}")


def assert_same_moves(
    ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], start: Mapping[str, Tensor], where: str = ""
) -> None:
    """Two trainings with ``smooth_optimisers`` have moved the same tensors from the same start to the same place."""
    assert ours.keys() == theirs.keys() == start.keys()
    for name, tensor in theirs.items():
        most = SAME * _norm(tensor - start[name]) + STORED * _norm(tensor)
        _assert_small(ours[name], tensor, most, f"{where} {name}")


def _norm(tensor: Tensor) -> float:
    return float(tensor.detach().double().norm())


def _assert_small(ours: Tensor, theirs: Tensor, most: float, what: str) -> None:
    difference = _norm(ours.double() - theirs.double())
    assert difference <= most, f"{what}: differs by {difference:.3g}; rounding explains {most:.3g}"


@contextmanager
def smooth_optimisers() -> Iterator[None]:
    """Inside the ``with`` block trainings move a tensor in proportion to its gradient.

    AdamW and Adafactor divide a gradient by its size plus an epsilon. Here the epsilon is far above the size: all else
    that they do is theirs, but rounding stays as small in the trained tensors as it is in the gradients.
    """

    def smooth(groups: list[ParameterGroup], options: TrainingOptions) -> torch.optim.Optimizer:
        optimiser = build_optimiser(groups, options)
        for group in optimiser.param_groups:
            group["eps"] = 1.0 if options.optimiser == "adamw" else (1.0, group["eps"][1])
        return optimiser

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("multiprompt.training.active.build_optimiser", smooth)
        yield


@contextmanager
def far_from_kinks(model: Any) -> Iterator[None]:
    """Inside the ``with`` block no input of a relu is as near to zero as rounding could take it from the other side.

    Only the passes of transformers' own code are watched.
    """

    def watch(_: Any, __: Any, inputs: Tensor) -> None:
        assert float(inputs.detach().abs().min()) > 2e-6, "the case lies on a kink: choose another seed"

    layers = [module for name, module in model.named_modules() if name.endswith("DenseReluDense.wi")]
    handles = [layer.register_forward_hook(watch) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def assert_clear(backbone: T5Backbone, answers: Callable[[], Answers]) -> Answers:
    """Answers of a model, which do not change when its logits do by a hundred times what rounding does to them."""

    def plain(given: Answers) -> list[Any]:
        return given.tolist() if isinstance(given, Tensor) else given

    expected = answers()
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)

        def shake(_: Any, __: Any, logits: Tensor, generator: torch.Generator = generator) -> Tensor:
            return logits + 1e-4 * logits.detach().std() * torch.randn(logits.shape, generator=generator)

        handle = backbone.model.lm_head.register_forward_hook(shake)
        try:
            assert plain(answers()) == plain(expected), "the case is too close to call: choose another seed"
        finally:
            handle.remove()
    return expected
