"""The Polars path against the reference implementation: the same verdicts, causes and candles for all evidence."""

from __future__ import annotations

import random
from datetime import datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stream.wire import MINUTE
from tasks.rules import choose
from tests import reference
from tests.evidence_rows import HOUR, alive, answered, at, candle, evidence, rest

SYMBOLS = ["BTC-USDT", "ETH-USDT", "NEW-EUR"]
"""Those that are judged. Nothing is ever known of NEW-EUR; what is known of OLD-EUR is nobody's business."""
Rows = list[dict[str, Any]]

_minutes = st.sampled_from([0, 1, 2, 3, 4, 59])
_symbols = st.sampled_from(["BTC-USDT", "BTC-USDT", "ETH-USDT", "OLD-EUR"])
_conns = st.sampled_from(["a/1", "a/2", "b/1"])
_recorded = st.integers(0, 65).map(lambda minute: at(minute, 19))
_answering = st.integers(0, 2).map(lambda second: at(65, second))
_numbers = {
    "close": st.sampled_from([100.0, 100.5, 101.0]),
    "volume": st.sampled_from([0.0, 1.0, 3.0]),
    "trade_count": st.sampled_from([None, 0, 1, 2, 3]),
    "quote_volume": st.sampled_from([None, 201.0, 302.7]),
    "vwap": st.sampled_from([None, 0.0, 100.7]),
}
_FLAT: dict[str, Any] = {
    "open": 100.5,
    "high": 100.5,
    "low": 100.5,
    "close": 100.5,
    "volume": 0.0,
    "vwap": None,
    "quote_volume": 0.0,
}


@st.composite
def _candles(draw: st.DrawFn, flags: list[bool | None]) -> dict[str, Any]:
    """A message about a minute: an update or a snapshot, early or late, flat or not."""
    minute, second = draw(_minutes), draw(st.sampled_from([10, 30, 70, 130]))
    given = draw(st.fixed_dictionaries(_numbers)) | (_FLAT if draw(st.integers(0, 3)) == 0 else {})
    heard = at(minute, second + draw(st.sampled_from([0, 0, 5])))
    event = draw(st.sampled_from([None, at(minute, second), at(minute, 10)]))
    given |= {"symbol": draw(_symbols), "conn": draw(_conns), "is_final": draw(st.sampled_from(flags))}
    given |= {"event_type": draw(st.sampled_from(["update", "update", "snapshot"]))}
    return candle(minute, **given, event_ts=event, ingestion_ts=heard)


@st.composite
def _built(draw: st.DrawFn) -> dict[str, Any]:
    """A candle that was built from trades: proven or not, flat where ids prove silence."""
    flat = draw(st.booleans())
    given = (_FLAT | {"trade_count": 0}) if flat else draw(st.fixed_dictionaries(_numbers)) | {"trade_count": 2}
    final = flat or draw(st.booleans())
    return candle(draw(_minutes), symbol=draw(_symbols), event_type="built", is_final=final, conn=None, **given)


@st.composite
def _alive(draw: st.DrawFn) -> dict[str, Any]:
    """An `alive` line, written in time or late; where `since` is later than its minute it takes an earlier one back."""
    minute = draw(_minutes)
    since = draw(st.sampled_from([at(-1), at(-1), at(0), at(1, 20), at(3, 40)]))
    written = max(since, at(minute, 65 + draw(st.sampled_from([0, 0, 40]))))
    return alive(minute, symbol=draw(_symbols), conn=draw(_conns), since=since, recv_ts=written)


@st.composite
def _said(draw: st.DrawFn) -> dict[str, Any]:
    """A `status` line: of the connection, or of the exchange about itself."""
    status = draw(st.sampled_from(["connected", "disconnected", "exchange", "exchange", "exchange"]))
    detail = draw(st.sampled_from(["online: ", "maintenance: soon back", "cancel_only: "]))
    line = alive(0, symbol=draw(_symbols), conn=draw(_conns), recv_ts=at(draw(st.integers(0, 5)), 17), since=None)
    return line | {"event_type": "status", "interval_start": None, "status": status, "detail": detail}


@st.composite
def _rejected(draw: st.DrawFn, recv_ts: st.SearchStrategy[datetime]) -> dict[str, Any]:
    """A `rejected` line: what came about a minute, or about nobody knows which, could not be a candle."""
    line = alive(0, symbol=draw(_symbols), conn=draw(_conns), recv_ts=draw(recv_ts), since=None)
    minute = draw(st.one_of(st.none(), _minutes.map(at)))
    return line | {"event_type": "status", "interval_start": minute, "status": "rejected", "detail": "of no kind"}


@st.composite
def _answers(draw: st.DrawFn) -> dict[str, Any]:
    """What REST answered: about all of it or a part, to its end or not, or that it no longer knows."""
    first, end = draw(st.sampled_from([(0, 60), (0, 60), (1, 4), (2, 60)]))
    given: dict[str, Any] = {
        "silence": draw(st.sampled_from(["no_data", "no_trade_if_alive", "no_trade"])),
        "symbol": draw(_symbols),
    }
    given |= {"previous_close": draw(st.sampled_from([None, 99.0, 99.5]))}
    given |= {"recv_ts": draw(_answering)}
    extent = draw(st.sampled_from(["whole", "whole", "part", "late", "nothing", "beyond"]))
    if extent in ("nothing", "beyond"):
        given |= {"covered_start": None, "covered_end": None, "beyond_history": extent == "beyond"}
    elif extent != "whole":
        given |= {"covered_end": at(3)} if extent == "part" else {"covered_start": at(2)}
    return answered(first, end, **given)


@st.composite
def _rest(draw: st.DrawFn) -> dict[str, Any]:
    """A REST row, flat or not; one that was read before the hour was over does not count."""
    given = draw(st.fixed_dictionaries(_numbers))
    given |= (_FLAT | {"trade_count": draw(st.sampled_from([None, 0]))}) if draw(st.integers(0, 2)) == 0 else {}
    return rest(draw(_minutes), symbol=draw(_symbols), ingestion_ts=at(draw(st.sampled_from([59, 61, 62]))), **given)


@st.composite
def worlds(draw: st.DrawFn) -> list[Rows]:
    """Stream candles, lines, REST rows and answers of an exchange that flags, or does not, or streams trades."""
    kind = draw(st.sampled_from(["flags", "no flags", "no flags", "both", "trades"]))
    flags: dict[str, list[bool | None]] = {
        "flags": [True, False],
        "no flags": [None],
        "both": [True, False, None, None],
    }
    message = _built() if kind == "trades" else _candles(flags[kind])
    return [
        draw(st.lists(message, max_size=14)),
        draw(st.lists(st.one_of(_alive(), _alive(), _said(), _rejected(_recorded)), max_size=12)),
        draw(st.lists(_rest(), max_size=6)),
        draw(st.lists(st.one_of(_answers(), _answers(), _answers(), _rejected(_answering)), max_size=4)),
    ]


def polars(world: list[Rows], *, keep_empty: bool) -> tuple[list[dict[str, Any]], list[tuple[Any, ...]]]:
    """The outcome of the pipeline's own code, as the reference gives its."""
    judged = choose.judge("kraken", SYMBOLS, HOUR, evidence(*world), keep_empty=keep_empty)
    candles = judged.candles.to_dicts()
    for row in candles:
        assert row.pop("exchange") == "kraken"
        assert row.pop("quote_asset") == row["symbol"].partition("-")[2]
        assert row.pop("interval_seconds") == 60
        assert row.pop("interval_end") == row["interval_start"] + MINUTE
    return candles, judged.verdicts.rows()


@given(worlds(), st.booleans(), st.randoms(use_true_random=False))
def test_polars_and_the_reference_agree(world: list[Rows], keep_empty: bool, order: random.Random) -> None:
    """All verdicts, causes and candles, column by column, whatever the order of the rows."""
    candles, verdicts = reference.judge(SYMBOLS, HOUR, world, keep_empty=keep_empty)
    for rows in world:
        order.shuffle(rows)
    found = polars(world, keep_empty=keep_empty)
    assert found[1] == verdicts
    assert found[0] == candles
