"""The fault suite: `make faults`. What is interrupted at the worst moment, how often, and what came of it.

One file per boundary (`SUITES`); each yields an `Outcome` per fault. The truth is the emulator's market, which knows
nothing of what was sent to whom. Not part of `make test`.
"""

SUITES = ("crash", "disk", "exchange", "rest")
"""Modules of this package with a function `run(seed: int, effort: float, folder: Path) -> Iterator[Outcome]`."""
