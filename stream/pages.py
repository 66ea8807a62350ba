"""Pages of REST candles: how a range is cut into requests, and what the rows that came say about the range. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from stream.wire import EPOCH, MINUTE, Candle, Fetched, Silence


def spans(start: datetime, end: datetime, minutes: int) -> Iterator[tuple[datetime, datetime]]:
    """`start..end` in pieces of at most so many minutes, oldest first; the ends are exclusive."""
    while start < end:
        following = min(start + minutes * MINUTE, end)
        yield start, following
        start = following


def learnt(
    rows: Iterable[Candle], start: datetime, end: datetime, *, now: datetime = EPOCH, silence: Silence
) -> Fetched:
    """What these rows, in any order and also from outside the range, say about `start <= interval_start < end`.

    A row that is flagged says itself whether it is finished. Of the others, `now` decides, the exchange's clock: a row
    whose minute is not over by then is unfinished, whatever place it has in the answer. An unfinished row is left out,
    but proves that nothing is missing before it.
    """
    by_start = {row.interval_start: row for row in rows}
    ordered = [by_start[moment] for moment in sorted(by_start)]
    if not ordered:
        return Fetched(silence=silence)
    closed = [row for row in ordered if _is_over(row, now)]
    before = [row for row in closed if row.interval_start < start]
    unfinished = [row.interval_start for row in ordered if not _is_over(row, now)]
    return Fetched(
        candles=[row for row in closed if start <= row.interval_start < end],
        covered_start=max(start, ordered[0].interval_start),
        covered_end=min(end, ordered[-1].interval_start + MINUTE, *unfinished),
        silence=silence,
        previous_close=before[-1].close if before else None,
    )


def _is_over(row: Candle, now: datetime) -> bool:
    return row.interval_start + MINUTE <= now if row.is_final is None else row.is_final
