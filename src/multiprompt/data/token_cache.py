"""Tokenised examples on disk, found by what they were made from: texts, task version, tokenizer, limits.

An entry is never wrong, only missing: whatever changes what tokenising gives changes the name of the file.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from multiprompt.backbone.texts import TextCoder
from multiprompt.data.tokenise import Ragged, TokenisedExamples, tokenise
from multiprompt.errors import CheckpointError, DataError
from multiprompt.examples import TextExample
from multiprompt.tasks import Task
from multiprompt.token_files import CACHE_VARIABLE, ENDING, open_token_file, token_folder, write_token_file

FORMAT = 2
"""Raised when the same inputs would give other tokens, or other arrays."""

WORTH_CACHING = 500_000
"""Source characters from which on tokens are cached; fewer are tokenised in a fraction of a second."""

_HASHED_AT_ONCE = 4096

_logger = logging.getLogger("multiprompt.data")


_told: set[Path] = set()


def tokenise_cached(examples: Sequence[TextExample], task: Task, split: str, coder: TextCoder) -> TokenisedExamples:
    """Tokens of a task's examples as ``tokenise`` gives them, from the cache or into it.

    What comes from the cache is memory-mapped: processes share it, and only what is read takes memory. Small data is
    tokenised again each time, and so is what a tokenizer without a Rust backend reads, whose content cannot be told.
    A damaged entry is made again, with a line in the log; where the cache cannot be written, one line says so.

    Args:
        examples: at least one.
        task: gives the limits.
        split: "train", "dev" or "test"; for the list of what is cached.
        coder: of the backbone.

    Raises:
        DataError: there is no example.
    """
    large = sum(len(example.source) for example in examples) >= WORTH_CACHING
    content = coder.digest() if large else None
    if content is None:
        return _tokenise(examples, task, coder)
    key = _key(examples, task, content)
    try:
        path = token_folder() / f"{key}{ENDING}"
    except CheckpointError as error:
        _tell_once(Path(), str(error))
        return _tokenise(examples, task, coder)
    stored = _look_up(path, len(examples), coder.ids)
    if stored is not None:
        return stored
    tokens = _tokenise(examples, task, coder)
    try:
        _store(path, tokens, task, split)
    except CheckpointError as error:
        reason = error.__cause__ or error
        _tell_once(path.parent, f"cannot write to {path.parent} ({reason}); set {CACHE_VARIABLE} to another folder")
        return tokens
    # From now on the tokens are in the file; those in memory can go.
    return _look_up(path, len(examples), coder.ids) or tokens


def _tokenise(examples: Sequence[TextExample], task: Task, coder: TextCoder) -> TokenisedExamples:
    return tokenise(examples, coder, task.max_source_length, task.max_target_length)


def _key(examples: Sequence[TextExample], task: Task, coder: str) -> str:
    """Digest of all that the tokens depend on."""
    limits = (task.max_source_length, task.max_target_length)
    facts = [FORMAT, task.name, task.version, coder, version("tokenizers"), *limits, len(examples)]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for start in range(0, len(examples), _HASHED_AT_ONCE):
        chunk = examples[start : start + _HASHED_AT_ONCE]
        for texts in ([e.source for e in chunk], [e.target for e in chunk]):
            # With the lengths in front, no two lists of texts look the same when they are joined.
            digest.update(np.fromiter(map(len, texts), dtype="<i8", count=len(texts)).tobytes())
            digest.update("".join(texts).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _look_up(path: Path, examples: int, ids: int) -> TokenisedExamples | None:
    """The tokens in a file; None if it is not there, cannot be read, or is damaged."""
    try:
        arrays, facts = open_token_file(path)
        tokens = TokenisedExamples(
            Ragged(arrays["source_values"], arrays["source_offsets"]),
            Ragged(arrays["target_values"], arrays["target_offsets"]),
            facts["truncated_sources"],
            facts["truncated_targets"],
        )
        for sequences in (tokens.sources, tokens.targets):
            _check(path, sequences, examples, ids)
    except (DataError, KeyError, ValueError) as error:  # a file of this name that holds something else
        _logger.warning("cached tokens are made again: %s", error)
        return None
    except OSError:
        return None
    return tokens


def _check(path: Path, sequences: Ragged, examples: int, ids: int) -> None:
    """Offsets and ids must be usable: a wrong one would show tokens of other examples, or none of the vocabulary."""
    offsets = sequences.offsets
    whole = len(offsets) == examples + 1 and offsets[0] == 0 and offsets[-1] == len(sequences.values)
    if not whole or (sequences.lengths < 0).any():
        raise DataError(f"the offsets in {path} are damaged")
    if len(sequences.values) and not 0 <= int(sequences.values.min()) <= int(sequences.values.max()) < ids:
        raise DataError(f"{path} holds ids that the tokenizer does not have")


def _store(path: Path, tokens: TokenisedExamples, task: Task, split: str) -> None:
    arrays = {
        "source_values": _narrow(tokens.sources.values),
        "source_offsets": tokens.sources.offsets,
        "target_values": _narrow(tokens.targets.values),
        "target_offsets": tokens.targets.offsets,
    }
    facts = {
        "task": task.name,
        "split": split,
        "examples": len(tokens),
        "truncated_sources": tokens.truncated_sources,
        "truncated_targets": tokens.truncated_targets,
    }
    write_token_file(path, arrays, facts)


def _narrow(ids: np.ndarray) -> np.ndarray:
    """In 16 bits where all ids fit: half the file, and half the pages that batches touch."""
    return ids.astype(np.uint16) if ids.max(initial=0) < 2**16 else ids


def _tell_once(folder: Path, reason: str) -> None:
    if folder not in _told:
        _told.add(folder)
        _logger.warning("tokens are not cached: %s", reason)
