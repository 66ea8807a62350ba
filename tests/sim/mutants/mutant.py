"""What a mutant is."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """A change of a module's text, which must occur there once."""

    module: str
    rule: str
    """What is taken out."""
    old: str
    new: str
    world: str
    """Which of the fixed worlds notices it."""
