"""Candles from trades: what is called whole is the truth, whatever was lost, doubled, late or never listened to."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.exchanges import kraken
from stream.live.intake import Intake
from stream.wire import MINUTE, Exchange, Record, Response, Sequence, Subscribed, Trade, TradeRules
from tasks.rules import choose, proof, trades
from tasks.rules.schemas import BRONZE, SESSIONS, TRADES
from tasks.tables import parquet
from tests.evidence_rows import HOUR, answered, at, evidence, sessions

MINUTES = 12
"""How much of the hour the generated worlds fill."""
PAYLOADS = Path(__file__).parent / "payloads"
Said = list[tuple[datetime, Record]]


def deal(number: int, moment: datetime, price: float = 100.0, size: float = 1.0) -> Trade:
    """One trade of A-B."""
    return Trade(
        native_symbol="A-B", event_ts=moment, trade_id=number, price=price, size=size, side="buy", payload=str(number)
    )


def recorded(name: str, said: Said, closed: datetime, *, acknowledged: datetime) -> list[dict[str, Any]]:
    """The lines that a connection writes about what an exchange says, with the `alive` lines of its minutes."""
    records: list[Record] = []
    exchange = SimpleNamespace(
        ID="test",
        TRADES=TradeRules(streamed=True, consecutive_ids=True),
        subscribe=lambda *_: "",
        parse_message=lambda _: records,
    )
    intake = Intake(exchange=cast("Exchange", exchange), symbols={"A-B": "A-B"}, name=name, tally=Counter())
    intake.ask(["A-B"], acknowledged)
    text, proven = b"", at(0) - MINUTE
    events: Said = [(acknowledged, Subscribed(native_symbol="A-B", request_id=None)), *said]
    for moment, record in sorted(events, key=lambda event: event[0]):
        while proven + MINUTE + timedelta(seconds=5) <= moment:
            text += intake.alive(proven, proven + MINUTE, proven + MINUTE + timedelta(seconds=5))
            proven += MINUTE
        records[:] = [record]
        text += intake.take(b"", moment)
    while proven + MINUTE + timedelta(seconds=5) <= closed:
        text += intake.alive(proven, proven + MINUTE, proven + MINUTE + timedelta(seconds=5))
        proven += MINUTE
    return [json.loads(line) for line in text.splitlines()]


def frames(lines: list[dict[str, Any]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Lines → schemas TRADES and SESSIONS."""

    def moment(line: dict[str, Any], name: str) -> datetime | None:
        return datetime.fromisoformat(line[name]) if line.get(name) else None

    rows: dict[str, list[dict[str, Any]]] = {"trade": [], "alive": []}
    for line in lines:
        times = {name: moment(line, name) for name in ("event_ts", "interval_start", "recv_ts", "since")}
        given = {**line, **times, "source": "stream", "ingestion_ts": times["recv_ts"]}
        rows.setdefault(line["event_type"], []).append(given)
    deals = [{name: row.get(name) for name in TRADES.names} for row in rows["trade"]]
    alive = [{name: row.get(name) for name in SESSIONS.names} for row in rows["alive"]]
    return parquet.frame(pa.Table.from_pylist(deals, schema=TRADES)), sessions(alive)


def build(lines: list[dict[str, Any]]) -> dict[datetime, dict[str, Any]]:
    """Minute → the candle that the hourly run builds."""
    deals, heard = frames(lines)
    minutes = choose.expected(["A-B"], HOUR)
    built = trades.candles(deals, proof.heard(minutes, heard), consecutive_ids=True)
    assert set(built.columns) == set(BRONZE.names)
    assert built.select("symbol", "interval_start").is_unique().all()
    return {row["interval_start"]: row for row in built.to_dicts()}


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Trade], list[dict[str, Any]], bool]:
    """All trades that were made; the lines of up to three connections about them; whether nothing can be missing."""
    made: list[Trade] = []
    for minute in range(MINUTES):
        offsets = draw(st.lists(st.floats(0, 59.9), max_size=3))
        for offset in sorted(offsets):
            price, size = draw(st.sampled_from([99.5, 100.0, 101.25])), draw(st.sampled_from([0.1, 0.2, 0.7]))
            made.append(deal(1000 + len(made), at(minute, round(offset, 3)), price, size))
    lines: list[dict[str, Any]] = []
    count = draw(st.integers(1, 3))
    whole = draw(st.booleans())
    for number in range(count):
        begin = draw(st.floats(-90, 60 * MINUTES)) if not whole else -90.0
        end = draw(st.floats(begin, 60 * MINUTES + 30)) if not whole else 60.0 * MINUTES + 30
        opened, closed = at(0, begin), at(0, end)
        live = [one for one in made if opened <= one.event_ts <= closed]
        before = [one for one in made if one.event_ts < opened][-draw(st.integers(1, 4)) :]
        lost: set[int | None] = set()
        # A trade with none on one side of it, of all that a connection had, is not lost here: no id would tell.
        between = live[:-1] if before else live[1:-1]
        if not whole and between:
            lost = set(draw(st.lists(st.sampled_from([one.trade_id for one in between]), max_size=2)))
        said: Said = [(opened + timedelta(milliseconds=1), one) for one in before]
        for one in live:
            if one.trade_id not in lost:
                # One that overtakes another looks like a hole until the other comes: safe, but not proven.
                delay = timedelta(milliseconds=1 if whole else draw(st.sampled_from([1, 40, 1500])))
                said += [(one.event_ts + delay, one)] * draw(st.sampled_from([1, 1, 2]))
        lines += recorded(f"rec/{number}", said, closed, acknowledged=opened)
    return made, draw(st.permutations(lines)), whole


@given(worlds())
def test_what_is_called_whole_is_the_truth(world: tuple[list[Trade], list[dict[str, Any]], bool]) -> None:
    """A finished candle has all trades of its minute; a flat one had none; and with nothing lost, all are finished."""
    made, lines, whole = world
    by_minute: dict[datetime, list[Trade]] = {at(minute): [] for minute in range(MINUTES)}
    for one in made:
        by_minute[one.event_ts.replace(second=0, microsecond=0)].append(one)
    built = build(lines)
    for minute, row in built.items():
        if row["is_final"]:
            truth = by_minute[minute]
            assert row["trade_count"] == len(truth)
            if truth:
                prices = [one.price for one in truth]
                assert (row["open"], row["close"]) == (prices[0], prices[-1])
                assert (row["high"], row["low"]) == (max(prices), min(prices))
                assert row["volume"] == pytest.approx(sum(one.size for one in truth))
                assert row["vwap"] * row["volume"] == pytest.approx(row["quote_volume"])
            else:
                before = [one for one in made if one.event_ts < minute]
                assert row["open"] == row["high"] == row["low"] == row["close"] == before[-1].price
                assert (row["volume"], row["vwap"]) == (0, None)
    if whole:
        assert {minute for minute, row in built.items() if row["trade_count"]} == {
            minute for minute, truth in by_minute.items() if truth
        }
        assert all(row["is_final"] for row in built.values())


@given(st.lists(st.decimals("0.00000001", "9999999.99999999", places=8), min_size=1, max_size=40))
def test_sizes_add_up_to_the_last_digit(sizes: list[Decimal]) -> None:
    """The volume is the float nearest to the decimal sum, as a parser of the exchange's own sum would read it."""
    said: Said = [(at(1, n), deal(n, at(1, n), size=float(size))) for n, size in enumerate(sizes)]
    built = build(recorded("rec/1", said, at(3), acknowledged=at(-2)))
    assert built[at(1)]["volume"] == float(sum(sizes))


@given(worlds(), st.randoms())
def test_the_order_and_number_of_lines_do_not_matter(
    world: tuple[list[Trade], list[dict[str, Any]], bool], chance: Any
) -> None:
    """Any order, and every line twice, give the same candles, reception times included."""
    _, lines, _ = world
    turned = [*lines, *lines]
    chance.shuffle(turned)
    assert build(turned) == build(lines)


def test_a_hole_in_the_ids_makes_its_minutes_unproven() -> None:
    """Between the trades around the hole nobody knows which minute the lost one was in."""
    said: Said = [(one.event_ts, one) for one in (deal(1, at(1, 5)), deal(2, at(2, 5)), deal(4, at(4, 5)))]
    said += [(one.event_ts, one) for one in (deal(5, at(5, 5)), deal(6, at(6, 5)))]
    built = build(recorded("rec/1", said, at(8), acknowledged=at(-2)))
    assert {row["interval_start"].minute: row["is_final"] for row in built.values()} == {
        1: True,
        2: False,
        4: False,
        5: True,
        6: True,
    }


def test_a_lost_message_number_begins_all_pairs_anew() -> None:
    """What was lost may have been a trade: the minute in which it was noticed is not proven by listening."""
    said: Said = [(at(1, 5), deal(1, at(1, 5))), (at(2, 1), Sequence(number=7)), (at(2, 30), Sequence(number=9))]
    said += [(at(3, 5), Sequence(number=10))]
    lines = recorded("rec/1", said, at(8), acknowledged=at(-2))
    (lost, *_) = [line for line in lines if line.get("status") == "lost"]
    assert "message 9 came behind message 7" in lost["detail"]
    _, heard = frames(lines)
    minutes = proof.heard(choose.expected(["A-B"], HOUR), heard)["interval_start"].dt.minute().to_list()
    assert sorted(minutes) == [0, 1, 3, 4, 5, 6]


def test_a_hole_over_the_hour_s_end_takes_back_what_was_said_of_the_hour_before() -> None:
    """The hour of the trade before the hole is told too: its last minutes were called alive too soon."""
    early = deal(1, at(58, 30))
    said: Said = [(early.event_ts, early), (at(62, 10), deal(3, at(62, 10)))]
    lines = recorded("rec/1", said, at(64), acknowledged=at(-2))
    late = [line for line in lines if line["event_type"] == "alive" and line["since"] > line["interval_end"]]
    minutes = [datetime.fromisoformat(line["interval_start"]) for line in late]
    assert minutes == [at(58), at(59), at(60), at(61)]
    hour = [
        line for line in lines if HOUR <= datetime.fromisoformat(line["interval_start"] or line["recv_ts"]) < at(60)
    ]
    assert not build(hour)[at(58)]["is_final"]


def test_silence_between_consecutive_ids_needs_no_listener_and_no_rest() -> None:
    """Three trades numbered one by one prove the minutes between them, whoever read them, and however."""
    lines = recorded("rec/1", [(at(9), deal(n, at(3 * n, 7))) for n in (1, 2, 3)], at(8), acknowledged=at(9))
    deals, heard = frames(lines)
    built = trades.candles(deals, proof.heard(choose.expected(["A-B"], HOUR), heard), consecutive_ids=True)
    world = evidence()._replace(stream=built.filter("is_final").select(BRONZE.names))
    judged = choose.judge("test", ["A-B"], HOUR, world).verdicts.filter(pl.col("verdict") != "missing")
    assert dict(judged.select(pl.col("interval_start").dt.minute(), "verdict").iter_rows()) == {
        4: "empty",
        5: "empty",
        6: "stream",
        7: "empty",
        8: "empty",
    }


def test_unproven_trades_still_say_that_somebody_traded() -> None:
    """A minute with a trade is never called empty, although its candle is not finished."""
    lines = recorded("rec/1", [(at(3, 30), deal(5, at(3, 30)))], at(4), acknowledged=at(3, 10))
    deals, heard = frames(lines)
    built = trades.candles(deals, proof.heard(choose.expected(["A-B"], HOUR), heard), consecutive_ids=True)
    assert built["is_final"].to_list() == [False]
    read = evidence(answers=[answered(symbol="A-B", silence="no_trade", previous_close=99.0)])
    world = read._replace(
        stream=built.filter("is_final").select(BRONZE.names), seen=choose.seen(built.select(BRONZE.names))
    )
    verdicts = dict(choose.judge("test", ["A-B"], HOUR, world).verdicts.select("interval_start", "verdict").iter_rows())
    assert verdicts[at(3)] == "missing"
    assert verdicts[at(2)] == "empty"


def test_krakens_trades_give_krakens_candles() -> None:
    """A recorded page of trades, built here, equals the recorded candles: prices, volume and count of each minute."""
    answer = Response(
        status=200,
        body=(PAYLOADS / "kraken/rest/trades.json").read_bytes(),
        server_time=None,
        recv_ts=datetime.fromisoformat("2025-11-12T00:00:00Z"),
    )
    rows = json.loads((PAYLOADS / "kraken/rest/candles_of_trades.json").read_text())
    start = datetime.fromisoformat("2025-11-10T17:24:00Z")
    dialogue = kraken.fetch_candles("BTC-USDT", start, start + len(rows) * MINUTE)
    next(dialogue)
    body = b'{"error":[],"result":{"XBTUSDT":[[1762905600,"1","1","1","1","1","1",1]],"last":1762905600}}'
    dialogue.send(Response(status=200, body=body, server_time=None, recv_ts=answer.recv_ts))
    with pytest.raises(StopIteration) as done:
        dialogue.send(answer)
    found: list[Trade] = done.value.value.trades
    table = pa.Table.from_pylist(
        [
            {
                "exchange": "kraken",
                "symbol": "BTC-USDT",
                "trade_id": one.trade_id,
                "price": one.price,
                "size": one.size,
                "side": one.side,
                "event_ts": one.event_ts,
                "interval_start": one.event_ts.replace(second=0, microsecond=0),
                "source": "rest",
                "ingestion_ts": answer.recv_ts,
                "conn": None,
            }
            for one in found
        ],
        schema=TRADES,
    )
    heard = choose.expected(["BTC-USDT"], HOUR).clear().with_columns(conn=pl.lit(None, pl.String))
    built = {
        int(row["interval_start"].timestamp()): row
        for row in trades.candles(parquet.frame(table), heard, consecutive_ids=True).to_dicts()
    }
    traded = [row for row in rows if row[7] and row[0] in built]
    assert len(traded) > 10
    for opened, o, h, low, c, vwap, volume, count in traded[1:-1]:
        row = built[opened]
        assert (row["open"], row["high"], row["low"], row["close"]) == tuple(map(float, (o, h, low, c)))
        assert (row["volume"], row["trade_count"]) == (float(volume), count)
        assert row["vwap"] == pytest.approx(float(vwap), abs=0.1)  # Kraken cuts it at the tick
    silent = [row[0] for row in rows[1:-1] if not row[7]]
    assert silent
    assert all(built[opened]["is_final"] and built[opened]["volume"] == 0 for opened in silent if opened in built)
