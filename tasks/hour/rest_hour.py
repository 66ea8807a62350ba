"""One exchange-hour of REST: asks for what the stream did not finish, keeps the answers as JSONL and Parquet."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import polars as pl

from stream import bronze, exchanges
from stream.clock import HOUR, Clock
from stream.errors import RestError
from stream.lake import Lake, Stored, layout
from stream.wire import MINUTE, Fetched, Misfit
from tasks.hour import evidence, stream_hour
from tasks.rules import choose, proof, trades
from tasks.rules.schemas import BRONZE, SESSIONS, TRADES
from tasks.tables import duck, parquet

Ask = Callable[[str, datetime, datetime], Fetched]
"""(symbol, start, end) → what REST knows of that range; RestError when it cannot be had."""

log = logging.getLogger(__name__)


def is_current(lake: Lake, exchange: str, symbols: Sequence[str], hour: datetime) -> bool:
    """The Parquet exists, was made from the answers that there are, after looking at the lines that there are."""
    facts = made(lake, exchange, hour)
    if facts is None:
        return False
    lines = evidence.fingerprints(evidence.recorded(lake, exchange, symbols, hour))
    answers = evidence.fingerprints(evidence.answered(lake, exchange, symbols, hour))
    return all(
        facts["stream"].get(symbol) == lines[symbol] and facts["evidence"].get(symbol) == answers[symbol]
        for symbol in symbols
    )


def made(lake: Lake, exchange: str, hour: datetime) -> dict[str, Any] | None:
    """What the footer of the Parquet says; None unless all that `make` writes is there. LakeError: it is damaged."""
    facts = parquet.facts_of_all(
        lake, [layout.bronze_key(exchange, hour, "rest"), layout.sessions_key(exchange, hour, "rest")]
    )
    if facts and facts.get("trades") and parquet.facts(lake, layout.trades_key(exchange, hour, "rest")) is None:
        return None
    return facts


def make(
    lake: Lake, exchange: str, symbols: Sequence[str], hour: datetime, ask: Ask, clock: Clock, *, again: bool = False
) -> list[str]:
    """Asks and writes; returns a sentence per pair that could not be asked about.

    What was answered before is not asked again, unless `again`: then minutes that are still missing are.
    """
    stream, _ = stream_hour.finished(lake, exchange, hour)
    objects = evidence.answered(lake, exchange, symbols, hour)
    known = _parsed(lake, exchange, hour, objects)
    finished = pl.concat([stream, known.candles]) if again else stream
    gaps = choose.unfinished(symbols, hour, finished, exchanges.together(exchange))
    asked = _asked(known.answers) if not again else {}

    def fetch(gap: tuple[str, datetime, datetime]) -> str | None:
        symbol, first, last = gap
        return _fetch(lake, exchange, symbol, hour, (first, last + MINUTE), objects[symbol], ask, clock)

    wanted = [gap for gap in gaps.iter_rows() if not _covers(asked.get(gap[0], []), gap[1], gap[2])]
    failures = [failure for failure in lake.each(fetch, wanted) if failure]
    if failures:
        log.warning(
            "%s, hour %s: REST did not answer about %d of %d pairs: %s",
            exchange,
            f"{hour:%Y-%m-%dT%H}",
            len(failures),
            len(wanted),
            failures[0],
        )
    if wanted:
        objects = evidence.answered(lake, exchange, symbols, hour)
        known = _parsed(lake, exchange, hour, objects)
    facts = {
        "stream": evidence.fingerprints(evidence.recorded(lake, exchange, symbols, hour)),
        "evidence": evidence.fingerprints(objects),
        "trades": len(known.trades),
    }
    sessions, candles = known.answers.to_arrow().cast(SESSIONS), known.candles.to_arrow().cast(BRONZE)
    lake.put(layout.sessions_key(exchange, hour, "rest"), parquet.encode(sessions, facts))
    if not known.trades.is_empty():
        found = known.trades.to_arrow().cast(TRADES)
        lake.put(layout.trades_key(exchange, hour, "rest"), parquet.encode(found, facts))
    lake.put(layout.bronze_key(exchange, hour, "rest"), parquet.encode(candles, facts))
    return failures


def _fetch(
    lake: Lake,
    exchange: str,
    symbol: str,
    hour: datetime,
    span: tuple[datetime, datetime],
    earlier: list[Stored],
    ask: Ask,
    clock: Clock,
) -> str | None:
    """One pair: ask, and keep what was answered as one object. The sentence when it could not be asked."""
    try:
        fetched = ask(symbol, *span)
    except RestError as error:
        return f"{exchange} {symbol}: {error}"
    recv_ts = clock.now()
    odd = [one for one in fetched.odd if isinstance(one, Misfit)]
    if odd:
        _keep(lake, exchange, symbol, hour, odd, recv_ts)
    data = _encode(exchange, symbol, span, fetched, odd, recv_ts)
    number = len(earlier) + 1
    while not lake.create(layout.rest_key(exchange, symbol, hour, number), data):
        number += 1  # another worker was first; its answer is evidence as well as ours
    return None


def _keep(lake: Lake, exchange: str, symbol: str, hour: datetime, odd: Sequence[Misfit], recv_ts: datetime) -> None:
    """What could not be read, as it came. What comes again is kept once: the object has the name of what it holds."""
    data = b"".join(
        bronze.encode(
            bronze.RejectedLine(
                exchange=exchange, symbol=symbol, recv_ts=recv_ts, conn=None, reason=one.reason, message=one.payload
            )
        )
        for one in odd
    )
    name = hashlib.blake2b("\n".join(one.payload for one in odd).encode(), digest_size=8).hexdigest()
    lake.create(layout.rejected_key(exchange, hour, f"{symbol}-rest-{name}.jsonl"), data)
    log.warning(
        "%s %s, hour %s: %d of REST's rows could not be read and are kept in bronze/rejected: %s",
        exchange,
        symbol,
        f"{hour:%Y-%m-%dT%H}",
        len(odd),
        odd[0].reason,
    )


def _encode(
    exchange: str,
    symbol: str,
    span: tuple[datetime, datetime],
    fetched: Fetched,
    odd: Sequence[Misfit],
    recv_ts: datetime,
) -> bytes:
    """The lines of an answer."""
    start, end = span
    rejected = _rejected(fetched, odd, span)
    lines: list[bronze.Line] = [
        bronze.candle_line(exchange, symbol, candle, recv_ts, None) for candle in fetched.candles
    ]
    lines += [bronze.trade_line(exchange, symbol, trade, recv_ts, None) for trade in fetched.trades]
    lines += [
        bronze.StatusLine(
            exchange=exchange,
            symbol=symbol,
            native_symbol="",
            recv_ts=recv_ts,
            interval_start=minute,
            interval_end=minute + MINUTE,
            conn=None,
            status="rejected",
            detail=reason,
        )
        for minute, reason in sorted(rejected.items())
    ]
    lines.append(
        bronze.StatusLine(
            exchange=exchange,
            symbol=symbol,
            native_symbol="",
            recv_ts=recv_ts,
            conn=None,
            status="answered",
            detail=f"{len(fetched.candles)} candles, {len(fetched.trades)} trades",
            asked_start=start,
            asked_end=end,
            covered_start=fetched.covered_start,
            covered_end=fetched.covered_end,
            silence=fetched.silence,
            previous_close=None if fetched.previous_close is None else bronze.number(fetched.previous_close),
            beyond_history=fetched.beyond_history,
        )
    )
    return b"".join(map(bronze.encode, lines))


def _rejected(fetched: Fetched, odd: Sequence[Misfit], span: tuple[datetime, datetime]) -> dict[datetime, str]:
    """The minutes of the span that something unreadable came about, or may have come about; and what was wrong."""
    start, end = span
    found = {one.minute: one.reason for one in odd if one.minute is not None and start <= one.minute < end}
    for one in odd:
        if one.minute is None:
            known = {candle.interval_start for candle in fetched.candles}
            minutes = [start + n * MINUTE for n in range((end - start) // MINUTE)]
            found |= {minute: one.reason for minute in minutes if minute not in known and minute not in found}
    return found


def _asked(answers: pl.DataFrame) -> dict[str, list[tuple[datetime, datetime]]]:
    asked: dict[str, list[tuple[datetime, datetime]]] = {}
    spans = answers.filter(pl.col("status") == "answered").select("symbol", "asked_start", "asked_end")
    for symbol, start, end in spans.iter_rows():
        asked.setdefault(symbol, []).append((start, end))
    return asked


def _covers(spans: list[tuple[datetime, datetime]], first: datetime, last: datetime) -> bool:
    return any(start <= first and last < end for start, end in spans)


class _Parsed(NamedTuple):
    """What the REST answers of an hour say."""

    candles: pl.DataFrame
    """Schema BRONZE; built here where trades were sent and prove the minute."""
    answers: pl.DataFrame
    """The `answered` and `rejected` lines, schema SESSIONS."""
    trades: pl.DataFrame
    """Those of the hour, schema TRADES."""


def _parsed(lake: Lake, exchange: str, hour: datetime, objects: dict[str, list[Stored]]) -> _Parsed:
    keys = [one.key for found in objects.values() for one in found]
    if not keys:
        return _Parsed(*(parquet.frame(schema.empty_table()) for schema in (BRONZE, SESSIONS, TRADES)))
    with lake.local(keys) as paths:
        lines = parquet.frame(duck.read_answers(paths))
    sent = lines.filter(pl.col("event_type") == "snapshot")
    deals = lines.filter(pl.col("event_type") == "trade").select(TRADES.names)
    answers = lines.filter(pl.col("event_type") == "status").rename({"ingestion_ts": "recv_ts"}).select(SESSIONS.names)
    read = proof.read_whole(choose.expected(list(objects), hour), answers).with_columns(conn=pl.lit(None, pl.String))
    built = trades.candles(deals, read, consecutive_ids=exchanges.consecutive_ids(exchange)).filter("is_final")
    candles = pl.concat([sent.select(BRONZE.names), built.select(BRONZE.names)])
    first = ["symbol", "interval_start", "ingestion_ts"]
    return _Parsed(
        candles.sort(*first, *(name for name in BRONZE.names if name not in first)),  # a tie has no order
        answers,
        deals.filter(pl.col("interval_start").is_between(hour, hour + HOUR, closed="left")).sort(
            "symbol", "event_ts", "trade_id", "ingestion_ts", "price", "size"
        ),
    )
