"""Every random draw in probe starts from a seed derived here, so that no draw depends on what ran before it."""

from __future__ import annotations

import hashlib


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from a search seed, a trial number, a purpose: equal parts give equal seeds on every machine.

    SHA-256 of the parts rather than Python's `hash`, which differs from process to process for strings.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
