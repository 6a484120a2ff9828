"""The shipped models: complete, small, plain T5, and able to do what their documentation says."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, T5ForConditionalGeneration

import multiprompt
from multiprompt.backbone.published import SHIPPED
from rounding import assert_same
from skills import make_example


@pytest.fixture(scope="module", params=SHIPPED)
def folder(request) -> Path:
    return Path(multiprompt.__file__).parent / "backbone" / request.param


@pytest.fixture(scope="module")
def model(folder: Path) -> T5ForConditionalGeneration:
    return T5ForConditionalGeneration.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def tokenizer(folder: Path):
    return AutoTokenizer.from_pretrained(folder)


def test_both_have_one_tokenizer() -> None:
    texts = {
        (path / "tokenizer.json").read_text(encoding="utf-8")
        for path in (Path(multiprompt.__file__).parent / "backbone").glob("embedded*")
    }
    assert len(SHIPPED) == 2
    assert len(texts) == 1


def test_folder_is_complete_and_small(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "MODEL_CARD.md",
        "pretraining_log.jsonl",
    } <= names
    assert sum(path.stat().st_size for path in folder.iterdir()) < 12_000_000


def test_configuration_is_plain_t5(folder: Path, model: T5ForConditionalGeneration, tokenizer) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["model_type"] == "t5"
    assert config["dropout_rate"] == 0.0
    assert config["pad_token_id"] == config["decoder_start_token_id"] == 0
    assert model.lm_head.weight.data_ptr() == model.shared.weight.data_ptr()
    assert model.dtype == torch.float32
    assert model.config.vocab_size >= len(tokenizer)
    assert model.config.vocab_size % 64 == 0


def test_attention_implementations_agree(folder: Path, model: T5ForConditionalGeneration, tokenizer) -> None:
    eager = T5ForConditionalGeneration.from_pretrained(folder, attn_implementation="eager").eval()
    batch = tokenizer(["text: what a lovely film.", "a b"], padding=True, return_tensors="pt")
    start = torch.zeros(2, 2, dtype=torch.long)
    with torch.no_grad():
        ours = model(**batch, decoder_input_ids=start).logits
        theirs = eager(**batch, decoder_input_ids=start).logits
    assert_same(ours, theirs)


# Floors are four standard deviations of 120 answers, or more, below the mean of eleven draws for the smaller model.
@pytest.mark.parametrize(
    ("skill", "style", "at_least"),
    [
        ("qa", None, 0.8),
        ("sentiment", "natural", 0.9),
        ("yes_no", "digit", 0.8),
        ("nli", "natural", 0.75),
        ("paraphrase", "natural", 0.75),
        ("answerable", "digit", 0.75),
    ],
)
def test_skills_are_there_by_generation(
    model: T5ForConditionalGeneration, tokenizer, skill: str, style: str | None, at_least: float
) -> None:
    rng = random.Random(f"shipped {skill}")
    examples = [make_example(rng, skill, style=style) for _ in range(120)]
    batch = tokenizer([example.source for example in examples], padding=True, return_tensors="pt")
    with torch.no_grad():
        generated = model.generate(**batch, max_new_tokens=4, do_sample=False)
    answers = tokenizer.batch_decode(generated, skip_special_tokens=True)
    right = sum(answer == example.target for answer, example in zip(answers, examples, strict=True))
    assert right / len(examples) >= at_least
