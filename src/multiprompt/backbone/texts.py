"""How texts become the tokens that a model reads and writes, and how tokens become answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Int
from torch import Tensor

from multiprompt.backbone.fingerprint import tokenizer_digest


@dataclass(frozen=True, eq=False)
class TextCoder:
    """The tokens of sources and targets, by a tokenizer.

    Attributes:
        tokenizer: a transformers tokenizer, whose call ends a text with its end-of-sequence token.
        source_ends: whether a source ends with that token, too. A model that reads source and target as one sequence
            wants it behind the target alone.
    """

    tokenizer: Any
    source_ends: bool = True

    @property
    def pad_id(self) -> int:
        """The token that fills up a batch."""
        return int(self.tokenizer.pad_token_id)

    @property
    def end_id(self) -> int:
        """The token that ends a sequence."""
        return int(self.tokenizer.eos_token_id)

    @property
    def unknown_id(self) -> int | None:
        """The token for what the vocabulary lacks; None where it lacks nothing."""
        token: int | None = self.tokenizer.unk_token_id
        return token

    @property
    def ids(self) -> int:
        """Every id is below this number."""
        return max(self.tokenizer.get_vocab().values()) + 1

    def digest(self) -> str | None:
        """Digest of all that the tokens of a text depend on; None if the tokenizer cannot be written out."""
        tokenizer = tokenizer_digest(self.tokenizer)
        return tokenizer if tokenizer is None or self.source_ends else f"{tokenizer} without end"

    def source_ids(self, texts: list[str]) -> list[list[int]]:
        """The tokens of whole sources, without a limit."""
        return self._ids(texts, self.source_ends)

    def target_ids(self, texts: list[str]) -> list[list[int]]:
        """The tokens of whole targets, without a limit."""
        return self._ids(texts, True)

    def cut_source(self, ids: list[int], limit: int) -> list[int]:
        """The first tokens of a source that is longer than ``limit`` tokens, and its end."""
        return [*ids[: limit - 1], ids[-1]] if self.source_ends else ids[:limit]

    def cut_target(self, ids: list[int], limit: int) -> list[int]:
        """The first tokens of a target that is longer than ``limit`` tokens, and its end."""
        return [*ids[: limit - 1], ids[-1]]

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The tokens as a person can read them."""
        pieces: list[str] = self.tokenizer.convert_ids_to_tokens(list(ids))
        return pieces

    def words(self, text: str) -> list[int]:
        """The tokens of a text and nothing else."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def answers(self, ids: Int[Tensor, "B T"]) -> list[tuple[str, bool]]:
        """The texts of generated tokens, and whether each came to its end."""
        texts = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        ended = (ids == self.end_id).any(dim=1).tolist()
        return [(text.strip(), end) for text, end in zip(texts, ended, strict=True)]

    def _ids(self, texts: list[str], ends: bool) -> list[list[int]]:
        """What calling the tokenizer gives, on the shortest way."""
        options = {"add_special_tokens": True, "verbose": False, "return_attention_mask": False}
        rust = getattr(self.tokenizer, "backend_tokenizer", None)
        if rust is None:
            ids: list[list[int]] = self.tokenizer(texts, truncation=False, **options)["input_ids"]
        else:
            # A call leaves the settings of the Rust tokenizer (no truncation, no padding) as it needs them.
            self.tokenizer([""], truncation=False, **options)
            ids = [each.ids for each in rust.encode_batch_fast(texts, add_special_tokens=True)]
        return ids if ends else [each[:-1] if each and each[-1] == self.end_id else each for each in ids]
