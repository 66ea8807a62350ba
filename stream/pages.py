"""Pages of REST candles: how a range is cut into requests, and what the rows that came say about the range. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from stream.wire import EPOCH, MINUTE, Candle, Fetched, Misfit, Odd, Silence

Row = Candle | Odd
"""What a page is made of."""


def spans(start: datetime, end: datetime, minutes: int) -> Iterator[tuple[datetime, datetime]]:
    """`start..end` in pieces of at most so many minutes, oldest first; the ends are exclusive."""
    while start < end:
        following = min(start + minutes * MINUTE, end)
        yield start, following
        start = following


def starts(rows: Sequence[Row]) -> list[datetime]:
    """The minutes that these rows are about, as far as that can be told."""
    candles = [row.interval_start for row in rows if isinstance(row, Candle)]
    return candles + [row.minute for row in rows if isinstance(row, Misfit) and row.minute is not None]


def learnt(rows: Iterable[Row], start: datetime, end: datetime, *, now: datetime = EPOCH, silence: Silence) -> Fetched:
    """What these rows, in any order and also from outside the range, say about `start <= interval_start < end`.

    A row that is flagged says itself whether it is finished. Of the others, `now` decides, the exchange's clock: a row
    whose minute is not over by then is unfinished, whatever place it has in the answer. An unfinished row is left out,
    but proves that nothing is missing before it. So does one that cannot be read.
    """
    given = list(rows)
    odd = [row for row in given if not isinstance(row, Candle)]
    by_start = {row.interval_start: row for row in given if isinstance(row, Candle)}
    ordered = [by_start[moment] for moment in sorted(by_start)]
    known = sorted(starts(given))
    if not known:
        return Fetched(odd=odd, silence=silence)
    closed = [row for row in ordered if _is_over(row, now)]
    before = [row for row in closed if row.interval_start < start]
    unfinished = [row.interval_start for row in ordered if not _is_over(row, now)]
    if known[-1] not in by_start and known[-1] + MINUTE > now:
        unfinished.append(known[-1])  # it may be
    return Fetched(
        candles=[row for row in closed if start <= row.interval_start < end],
        odd=odd,
        covered_start=max(start, known[0]),
        covered_end=min(end, known[-1] + MINUTE, *unfinished),
        silence=silence,
        previous_close=before[-1].close if before and not _doubt(given, before[-1], start) else None,
    )


def _is_over(row: Candle, now: datetime) -> bool:
    return row.interval_start + MINUTE <= now if row.is_final is None else row.is_final


def _doubt(rows: list[Row], before: Candle, start: datetime) -> bool:
    """Between this candle and `start` there is, or may be, one that could not be read."""
    unknown = any(isinstance(row, Misfit) and row.minute is None for row in rows)
    return unknown or any(before.interval_start < minute < start for minute in starts(rows))
