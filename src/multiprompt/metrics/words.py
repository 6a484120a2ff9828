"""How the metrics of generated text cut it into words, and the counts of word sequences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from multiprompt.errors import DataError
from multiprompt.metrics.base import References

NGram = tuple[str, ...]

_SPACED = re.compile(r"([{-~\[-` -&(-+:-@/])")
_MARK_AFTER_OTHER = re.compile(r"([^0-9])([.,])")
_MARK_BEFORE_OTHER = re.compile(r"([.,])([^0-9])")
_DASH_AFTER_DIGIT = re.compile(r"([0-9])(-)")
_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))
_NOT_A_WORD = re.compile(r"(\W)")
_NOT_ALPHANUMERIC = re.compile(r"[^a-z0-9]+")

CACHED_TEXTS = 65536
"""Texts whose words are kept: references come back for every checkpoint that is scored."""


@lru_cache(CACHED_TEXTS)
def mteval_words(text: str) -> tuple[str, ...]:
    """Lower-cased words by the rule of mteval-v13a for Western languages.

    ASCII marks stand alone, except the apostrophe; a full stop or comma stays inside a number; a dash is set
    apart only after a digit. Four SGML entities are decoded first.
    """
    text = text.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, mark in _ENTITIES:
        text = text.replace(entity, mark)
    text = _SPACED.sub(r" \1 ", f" {text.lower()} ")
    text = _MARK_AFTER_OTHER.sub(r"\1 \2 ", text)
    text = _MARK_BEFORE_OTHER.sub(r" \1 \2", text)
    return tuple(_DASH_AFTER_DIGIT.sub(r"\1 \2 ", text).split())


def webnlg_words(text: str) -> list[str]:
    """Lower-cased words; every character that is not a letter, digit or underscore is a word of its own."""
    return _NOT_A_WORD.sub(r" \1 ", text.lower()).split()


@lru_cache(CACHED_TEXTS)
def rouge_words(text: str) -> tuple[str, ...]:
    """Lower-cased runs of ASCII letters and digits; everything else separates them."""
    return tuple(_NOT_ALPHANUMERIC.sub(" ", text.lower()).split())


def ngrams(words: Sequence[str], longest: int) -> Counter[NGram]:
    """How often each sequence of 1 to ``longest`` words occurs."""
    return Counter(
        tuple(words[start : start + length])
        for length in range(1, longest + 1)
        for start in range(len(words) - length + 1)
    )


def one_line(texts: Sequence[str]) -> list[str]:
    """Texts stripped, without line breaks."""
    return [" ".join(text.split()) for text in texts]


def stripped_references(references: References) -> list[list[str]]:
    """All references of each example, as ``one_line``.

    Raises:
        DataError: an example has no reference.
    """
    for position, texts in enumerate(references):
        if not texts:
            raise DataError(f"example {position} has no reference; expected at least one")
    return [one_line(texts) for texts in references]
