"""Trained numbers on T5-base, which the study prints; the model has shapes but no weights here."""

from __future__ import annotations

import pytest
import torch

from multiprompt.backbone import T5Backbone
from multiprompt.methods.adapters import Adapters
from multiprompt.methods.attempt import Attention, MixedPrompts
from multiprompt.methods.bitfit import Biases
from multiprompt.methods.dept import ShortPrompt, matrix_rank
from multiprompt.methods.hyperdecoder import HyperDecoder
from multiprompt.methods.hyperformer import HyperFormer

BOTH = ("self_attention", "feed_forward")


@pytest.fixture(scope="module")
def t5_base():
    from transformers import T5Config, T5ForConditionalGeneration

    sizes = {"d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12, "vocab_size": 32_128}
    with torch.device("meta"):
        return T5Backbone(T5ForConditionalGeneration(T5Config(**sizes)), None, "t5-base")


def numbers(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_adapters(t5_base):
    generator = torch.Generator()
    assert numbers(Adapters(t5_base, 24, 1, BOTH, generator)) == 1_855_104
    assert numbers(Adapters(t5_base, 24, 1, BOTH[:1], generator)) == 951_360
    # a group of two: adapters twice, norms once
    assert numbers(Adapters(t5_base, 24, 2, BOTH, generator)) == 2 * 1_807_488 + 47_616


def test_bitfit(t5_base):
    assert numbers(Biases(t5_base)) == 280_960


def test_attempt():
    attention, prompt = Attention(768, 100, torch.Generator()), torch.zeros(100, 768)
    assert numbers(MixedPrompts([prompt], attention)) == 231_936
    assert numbers(MixedPrompts([prompt] * 8, attention)) / 8 == 96_192


def test_hyperformer(t5_base):
    # printed: 638K for each of eight tasks, 0.29 % of the model
    count = numbers(HyperFormer(t5_base, 24, 64, 128, 8, torch.Generator()))
    assert count == 2 * 2_581_464 + 62 * 768 + 8 * 64
    assert count / 8 == 651_382
    assert count / 8 / 222_903_552 == pytest.approx(0.0029, abs=0.00005)
    # a task alone has all of it for itself
    assert numbers(HyperFormer(t5_base, 24, 64, 128, 1, torch.Generator())) == 5_210_608


def test_hyperdecoder(t5_base):
    # printed: 1.8M for each of eight tasks
    assert numbers(HyperDecoder(t5_base, 64, 10, 128, torch.Generator())) == 12_888_376 + 1_189_632


def test_dept_has_hardly_more_numbers_than_a_prompt():
    short = ShortPrompt(torch.zeros(40, 768), 256, matrix_rank(100, 40, 768, 256), torch.Generator())
    assert numbers(short) == 40 * 768 + 45 * (256 + 768) <= 76_800
