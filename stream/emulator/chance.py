"""Chance that replays: a number that depends on nothing but the seed and the words it is asked for."""

from __future__ import annotations

from hashlib import blake2b


def chance(seed: int, *words: object) -> float:
    """A number in [0, 1), the same in every process and in whatever order it is asked for."""
    digest = blake2b("/".join(map(str, (seed, *words))).encode(), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / (1 << 53)
