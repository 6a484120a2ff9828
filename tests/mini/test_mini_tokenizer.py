"""The shipped tokenizer: one piece for each word of the little world, no ``<unk>``, no loss on ASCII text."""

from __future__ import annotations

import random
import string
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from transformers import AutoTokenizer

import multiprompt
from multiprompt.mini import TASKS, generate
from multiprompt.mini.world import vocabulary_texts
from skills import SKILLS, make_example

FOLDER = Path(multiprompt.__file__).parent / "backbone" / "embedded"
PRINTABLE = string.ascii_letters + string.digits + string.punctuation + " "


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(FOLDER)


def as_read(text: str) -> str:
    """Lower case, runs of white space as one space: what the tokenizer keeps of a text."""
    return " ".join(text.lower().split())


def test_special_tokens_have_the_ids_of_t5(tokenizer) -> None:
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert tokenizer("").input_ids == [1]
    assert tokenizer("tom is in the kitchen.").input_ids[-1] == 1
    ids = tokenizer.convert_tokens_to_ids([f"<extra_id_{i}>" for i in range(20)])
    assert len(set(ids)) == 20
    assert min(ids) > 2
    assert tokenizer("<extra_id_3> kitchen").input_ids[0] == ids[3]


def test_every_word_of_the_world_is_one_piece(tokenizer) -> None:
    words = {word for text in vocabulary_texts() for word in text.split()}
    assert len(words) > 300
    for word in words:
        assert tokenizer.tokenize(word) == [f"▁{word}"]


def test_labels_are_one_piece(tokenizer) -> None:
    assert all(len(tokenizer(label).input_ids) == 2 for label in string.digits)


@pytest.mark.parametrize("text", ["3.8", "u . s .", "tom, anna", "@placeholder", "who's there? (nobody!)", "a_b^c|d~e"])
def test_text_comes_back(tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text


@given(st.text(alphabet=PRINTABLE, max_size=60))
def test_any_ascii_text_comes_back_without_unk(tokenizer, text: str) -> None:
    assume(not any(token in text for token in tokenizer.all_special_tokens))
    ids = tokenizer(text).input_ids
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == as_read(text)


def test_everything_generated_comes_back(tokenizer) -> None:
    rng = random.Random(0)
    texts = [make_example(rng, skill, natural_rate=0.5).body for skill in SKILLS for _ in range(20)]
    texts = [text for text in texts if "<extra_id" not in text]
    texts += [str(value) for task in TASKS for row in generate(task, "train", 20) for value in row.values()]
    for text, ids in zip(texts, tokenizer(texts).input_ids, strict=True):
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == as_read(text)
