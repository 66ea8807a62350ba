"""What came of a fault: the counts, the table, and what must be zero."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tests.truth import Silver


@dataclass
class Outcome:
    """One row of the table. None: the fault cannot touch it."""

    boundary: str
    """The suite's word for where it happened, such as `recorder`."""
    fault: str
    """What happened, in the words of the table."""
    tried: int = 0
    acknowledged: int | None = None
    """Lines that the spool had taken, as its caller saw it."""
    lost: int | None = None
    """Those of them that are not in the lake, byte for byte."""
    duplicates: int | None = None
    """Candles that silver has more than once."""
    unfinished: int | None = None
    """Candles of silver that are the truth of an earlier moment of their minute."""
    wrong: int | None = None
    """Candles of silver that are no truth at all."""
    missing: int | None = None
    """Minutes without a candle that the fault did not make irrecoverable."""
    half_hours: int | None = None
    """What a reader saw that was neither the old hour nor the new one."""
    note: str = ""
    """For who reads a failure: the first thing that was wrong."""

    def add(self, silver: Silver) -> None:
        """Counts what was found in silver."""
        self.duplicates = (self.duplicates or 0) + silver.duplicates
        self.unfinished = (self.unfinished or 0) + silver.unfinished
        self.wrong = (self.wrong or 0) + silver.wrong
        self.missing = (self.missing or 0) + silver.missing
        self.note = self.note or "; ".join(silver.notes[:3])

    @property
    def failed(self) -> bool:
        """Something that must be zero is not, or nothing was tried."""
        return not self.tried or any(getattr(self, name) for name in ZERO)


ZERO = ("lost", "duplicates", "unfinished", "wrong", "missing", "half_hours")
_COLUMNS = ("tried", "acknowledged", *ZERO)


def table(outcomes: Iterable[Outcome]) -> str:
    """The outcomes as a Markdown table with a sum."""
    rows = list(outcomes)
    heads = ("boundary", "fault", "tried", "lines acknowledged", *(name.replace("_", " ") for name in ZERO))
    lines = ["| " + " | ".join(heads) + " |", "|---|---|" + "---:|" * len(_COLUMNS)]
    lines += [f"| {row.boundary} | {row.fault} | {' | '.join(_cell(row, name) for name in _COLUMNS)} |" for row in rows]
    sums = (f"**{sum(getattr(row, name) or 0 for row in rows):,}**" for name in _COLUMNS)
    return "\n".join([*lines, f"| | **all** | {' | '.join(sums)} |"])


def _cell(row: Outcome, name: str) -> str:
    value = getattr(row, name)
    return "" if value is None else f"{value:,}"
