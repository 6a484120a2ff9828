"""Texts to ids: what the tokenizer itself gives, whatever its state, in chunks or not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import SHARED, build_tiny_tokenizer
from multiprompt.backbone import TextCoder, load_coder
from multiprompt.data import tokenise
from multiprompt.data.tokenise import CHUNK
from multiprompt.examples import TextExample

T5_TOKENIZER = SHARED / "t5-tokenizer"


class WithoutRust:
    """A tokenizer that can only be called."""

    def __init__(self, tokenizer) -> None:
        self.tokenizer = tokenizer

    def __call__(self, texts, **options):
        return self.tokenizer(texts, **options)


def tokenizers() -> list:
    names = ["tiny", "without rust", "embedded"]
    missing = pytest.mark.skipif(not T5_TOKENIZER.is_dir(), reason=f"no real T5 vocabulary in {T5_TOKENIZER}")
    return [*names, pytest.param("t5", marks=missing)]


@pytest.fixture(scope="module", params=tokenizers())
def tokenizer(request):
    match request.param:
        case "tiny":
            return build_tiny_tokenizer()
        case "without rust":
            return WithoutRust(build_tiny_tokenizer())
        case "t5":
            return load_coder(str(T5_TOKENIZER)).tokenizer
    return load_coder().tokenizer


def one_by_one(tokenizer, texts: list[str], limit: int) -> list[list[int]]:
    """Every text by itself through the tokenizer's own call, then cut so that the end stays."""
    all_ids = [tokenizer([text], truncation=False, verbose=False)["input_ids"][0] for text in texts]
    return [ids if len(ids) <= limit else ids[: limit - 1] + ids[-1:] for ids in all_ids]


def ids_of(tokens) -> list[list[int]]:
    return [tokens.sources[i].tolist() for i in range(len(tokens))]


@given(texts=st.lists(st.text(max_size=40), min_size=1, max_size=12), limit=st.integers(2, 12))
@settings(max_examples=25)
def test_ids_are_those_of_the_tokenizer(tokenizer, texts, limit):
    texts = [text.encode("utf-8", "ignore").decode() for text in texts]  # lone surrogates are no text
    examples = [TextExample(text, "1", ("1",), "train:0") for text in texts]
    assert ids_of(tokenise(examples, TextCoder(tokenizer), limit, 4)) == one_by_one(tokenizer, texts, limit)


def test_chunks_make_no_difference(tokenizer):
    # More texts than two chunks, some of them equal, some cut.
    texts = [f"text {i % 300} " + "word " * (i % 13) for i in range(2 * CHUNK + 7)]
    examples = [TextExample(text, str(i % 3), (str(i % 3),), f"train:{i}") for i, text in enumerate(texts)]
    tokens = tokenise(examples, TextCoder(tokenizer), 9, 4)
    assert ids_of(tokens) == one_by_one(tokenizer, texts, 9)
    assert [tokens.targets[i].tolist() for i in range(len(tokens))] == one_by_one(
        tokenizer, [example.target for example in examples], 4
    )
    whole = [len(ids) for ids in one_by_one(tokenizer, texts, 10**6)]
    assert tokens.truncated_sources == sum(length > 9 for length in whole)
    assert tokens.sources.lengths.tolist() == [min(length, 9) for length in whole]


def test_what_the_tokenizer_was_used_for_before_makes_no_difference():
    # transformers leaves the truncation and padding of the last call in the Rust tokenizer.
    tokenizer = build_tiny_tokenizer()
    examples = [TextExample(text, "1", ("1",), "train:0") for text in ("abcdefgh", "ab")]
    expected = ids_of(tokenise(examples, TextCoder(tokenizer), 20, 4))
    tokenizer(["abcdefgh", "ab"], truncation=True, max_length=3, padding="max_length")
    assert ids_of(tokenise(examples, TextCoder(tokenizer), 20, 4)) == expected
