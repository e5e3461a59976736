"""Seeds of all random draws in probe, derived so that no draw depends on an earlier one."""

from __future__ import annotations

import hashlib


def derive_seed(*parts: int | str) -> int:
    """Derive a 63-bit seed, for example from the seed of a search, a trial number and a purpose. Equal parts give equal seeds
    on every machine: they are hashed with SHA-256, because Python's `hash` of a string differs between processes."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
