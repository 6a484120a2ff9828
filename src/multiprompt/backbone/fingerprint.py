"""Which model it is: digests of the weights, as a checkpoint stores them, and of the tokenizer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from multiprompt.backbone.checkpoint_files import stored_tensors
from multiprompt.errors import CheckpointError
from multiprompt.files import tensors_digest, write_text
from multiprompt.token_files import cache_folder

WORTH_REMEMBERING = 2**26
"""Bytes of weights from which on a digest is kept on disk; that of fewer takes a fraction of a second."""

_PASSING = ("version", "truncation", "padding")
"""What a Rust tokenizer writes out that belongs to its format or to the last call."""


@dataclass(frozen=True)
class _TokenizerState:
    """Digest of a tokenizer, and the number of tokens it had then: adding some makes it another one."""

    tokens: int
    digest: str


_TOKENIZERS: WeakKeyDictionary[Any, _TokenizerState] = WeakKeyDictionary()


def weights_digest(files: Sequence[Path]) -> str:
    """Digest of all tensors in the files of a checkpoint: names, types, shapes, every value.

    It depends neither on how the tensors are spread over files, nor on the precision that a model is loaded in. The
    digest of large files is remembered in the cache folder, by their paths, sizes and times.

    Raises:
        BackboneError: a file cannot be read.
    """
    status = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    if sum(size for _, size, _ in status) < WORTH_REMEMBERING:
        return tensors_digest(stored_tensors(files))
    memory = _memory(_sha256(status))
    known = None if memory is None else _remembered(memory)
    if known is not None:
        return known
    digest = tensors_digest(stored_tensors(files))
    if memory is not None:
        with suppress(CheckpointError):  # it is made again the next time
            write_text(memory, f"{digest}\n")
    return digest


def _memory(key: str) -> Path | None:
    try:
        return cache_folder() / "weights" / f"{key}.sha256"
    except CheckpointError:  # there is no home folder
        return None


def _remembered(path: Path) -> str | None:
    try:
        digest = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return digest if len(digest) == 64 and set(digest) <= set("0123456789abcdef") else None


def tokenizer_digest(tokenizer: Any) -> str | None:
    """Digest of a tokenizer's content; None if it has no Rust backend, which alone can be written out whole."""
    rust = getattr(tokenizer, "backend_tokenizer", None)
    if rust is None:
        return None
    state = _TOKENIZERS.get(tokenizer)
    if state is None or state.tokens != len(tokenizer):
        content = {key: value for key, value in json.loads(rust.to_str()).items() if key not in _PASSING}
        splits = bool(getattr(tokenizer, "split_special_tokens", False))
        state = _TokenizerState(len(tokenizer), _sha256([content, splits]))
        _TOKENIZERS[tokenizer] = state
    return state.digest


def model_digest(weights: str, tokenizer: Any) -> str:
    """Digest of a model and its tokenizer.

    Args:
        weights: digest of the weights.
        tokenizer: of one without a Rust backend, its words and their ids count.
    """
    return _sha256([weights, tokenizer_digest(tokenizer) or [type(tokenizer).__name__, tokenizer.get_vocab()]])


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
