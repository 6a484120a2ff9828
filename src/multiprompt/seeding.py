"""Random numbers that depend on names, not on what ran before.

Every stage draws from generators seeded by ``derive_seed(seed, stage, purpose, ...)``. So a stage gives the same
numbers whether it runs alone, after others, or is resumed, and no generator state has to be saved.
"""

from __future__ import annotations

import hashlib


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from a run's seed and the names of what it is for; stable over platforms and versions."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
