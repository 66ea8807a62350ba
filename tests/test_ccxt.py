"""The long tail: exchanges without a module, through ccxt, recorded and judged against the emulator's truth.

And the other way round: ccxt is a client that we did not write, and reads of every emulated exchange what was traded.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ccxt
import msgspec
import pytest

from stream import exchanges, settings
from stream.clock import Clock
from stream.emulator.bar import Bar
from stream.emulator.faults import Faults
from stream.emulator.market import Market
from stream.emulator.server import Emulator
from stream.emulator.trades import trades
from stream.emulator.venues import VENUES
from stream.errors import RestError, SettingsError, SpoolFull, UnknownPair
from stream.exchanges import known_to_ccxt
from stream.lake import layout
from stream.lake.folder import FolderLake
from stream.long_tail import dialect
from stream.long_tail.feed import LongTail
from stream.long_tail.rest import CcxtRest, open_ccxt
from stream.recorder import Recorder
from stream.wire import MINUTE, Fetched, Misfit, from_milliseconds, milliseconds
from tasks.hour import rest_hour, silver_hour, stream_hour
from tasks.hour.context import Context
from tasks.tables import parquet
from tests.ccxt_doubles import StillClock, clients_in_memory, connected
from tests.emulated import END, FIRST, PAIRS, in_memory
from tests.recording import read, read_lake
from tests.sim.loop import LoopClock, run
from tests.sim.step import Stepping, in_step

HOUR = datetime(2025, 12, 1, 1, tzinfo=UTC)
FAULTS = Faults(
    seed=3,
    disconnects=0.02,
    lost_finals=0.03,
    late_finals=0.05,
    duplicates=0.1,
    reordering=0.05,
    silent=0.05,
    rate_limits=0.1,
    garbage=0.05,
)
TAIL = {"okxus": ["WALK-USD"], "gateeu": ["WALK-USD"], "kraken": ["WALK-USD", "DOGE-USD"]}
"""Two that have no module and speak OKX's and Gate's protocol; one whose module is taken away: it has no final flag."""
MISREAD = {"gate": "takes `v`, which is the quote volume on the stream and not over REST, for the volume"}
"""What ccxt, at the locked version, does wrong on the stream: delete a line when its test fails."""
NO_CLIENT: dict[str, str] = {}
"""Emulated exchanges that ccxt does not know, and why that is so."""
CONFIG = """\
[lake]
root = lake
compression = none
[stream]
recorder_id = tail
fsync_seconds = 60
[exchange_okxus]
ws_url = ws://127.0.0.1:1/us
rest_url = http://127.0.0.1:1/us
[exchange_gateeu]
ws_url = ws://127.0.0.1:1/eu
rest_url = http://127.0.0.1:1/eu
[exchange_kraken]
ws_url = ws://127.0.0.1:1/k
rest_url = http://127.0.0.1:1/k
[pairs]
"""


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Waits are scattered, the same way each time."""
    random.seed(FAULTS.seed)


# From the recorder to silver


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """Three exchanges of the long tail: 21 minutes recorded on virtual time, with faults, and the hour judged."""
    folder = tmp_path_factory.mktemp("tail")
    text = CONFIG + "".join(f"{exchange} = {json.dumps(symbols)}\n" for exchange, symbols in TAIL.items())
    clock = LoopClock(HOUR + timedelta(minutes=39, seconds=30))
    random.seed(FAULTS.seed)  # this comes before the tests
    with pytest.MonkeyPatch.context() as patch, clients_in_memory(clock):
        patch.delitem(exchanges.EXCHANGES, "kraken")
        patch.setitem(VENUES, "okxus", VENUES["okx"])
        patch.setitem(VENUES, "gateeu", VENUES["gate"])
        context = Context(msgspec.structs.replace(settings.parse(text, folder / "luigi.cfg"), clock=clock))
        context.lake = OneByOne(Path(context.settings.lake.root))
        run(rehearse(context))
    return context


class OneByOne(FolderLake):
    """In the thread that goes in step: no chance decides which pair is asked about first."""

    def each(self, function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """One after another."""
        return [function(item) for item in items]


async def rehearse(context: Context) -> None:
    """Records until the hour is over, then judges it."""
    stop, clock = asyncio.Event(), context.settings.clock
    async with Emulator(context.settings, FAULTS):
        recording = asyncio.create_task(Recorder(context.settings, background=Stepping).run(stop))
        await clock.sleep((HOUR + timedelta(minutes=61) - clock.now()).total_seconds())
        stop.set()
        assert await recording
        for exchange in TAIL:
            await in_step(judge, context, exchange)


def judge(context: Context, exchange: str) -> None:
    """What the tasks of the hour do for one exchange."""
    lake, symbols, clock = context.lake, context.symbols(exchange), context.settings.clock
    stream_hour.make(lake, exchange, symbols, HOUR)
    with context.rest(exchange) as client:
        assert rest_hour.make(lake, exchange, symbols, HOUR, client.candles, clock) == []
    silver_hour.make(lake, exchange, symbols, HOUR, keep_empty=True)


@pytest.mark.parametrize(("exchange", "symbol"), [(id_, symbol) for id_, symbols in TAIL.items() for symbol in symbols])
def test_no_candle_is_wrong(rehearsed: Context, exchange: str, symbol: str) -> None:
    """Every minute is the truth; from the stream where that can be, else from REST.

    Of Gate, ccxt misreads the stream: it never agrees with REST, so that none of it counts.
    """
    market = Market(exchange, seed=FAULTS.seed, silent=FAULTS.silent)
    table, facts = parquet.read(rehearsed.lake, layout.silver_key(exchange, symbol, HOUR))
    rows = table.to_pylist()
    assert (facts["missing"], len(rows)) == (0, 60)
    for row in rows:
        assert said(row) == truth(market.bar(symbol, row["interval_start"]))
        assert row["source"] != "empty" or row["volume"] == 0
    heard = Counter(row["source"] for row in rows if row["interval_start"] >= HOUR + 42 * MINUTE)
    assert heard["stream"] == 0 if exchange == "gateeu" else heard["stream"] > 9
    assert heard.total() == 18
    assert {row["source"] for row in rows if row["interval_start"] < HOUR + 38 * MINUTE} <= {"rest", "empty"}


def said(row: dict[str, Any]) -> tuple[float, ...]:
    """What ccxt says of a candle, and no more."""
    return tuple(row[name] for name in ("open", "high", "low", "close", "volume"))


def truth(bar: Bar | None) -> tuple[float, ...]:
    """The same of the emulator's."""
    assert bar is not None
    return tuple(map(float, (bar.open, bar.high, bar.low, bar.close, bar.volume)))


def test_the_lines_say_no_more_than_ccxt_does(rehearsed: Context) -> None:
    """No flag, no count, no vwap, no quote volume; the payload is ccxt's row, the connection is ours."""
    lines = [
        line for key, text in read_lake(Path(rehearsed.lake.root)).items() if "stream/" in key for line in read(text)
    ]
    candles = [line for line in lines if line["event_type"] in ("update", "snapshot")]
    assert {line["exchange"] for line in candles} == set(TAIL)
    for line in candles:
        start = milliseconds(datetime.fromisoformat(line["interval_start"]))
        assert json.loads(line["payload"]) == [start, *said(line)]
        for name in ("is_final", "trade_count", "vwap", "quote_volume", "event_ts"):
            assert line[name] is None
        assert line["conn"].startswith("tail/")
        assert line["native_symbol"] == line["symbol"].replace("-", "/")
    assert {line["status"] for line in lines if line["event_type"] == "status"} >= {
        "connected",
        "subscribed",
        "disconnected",
    }
    assert any(line["event_type"] == "snapshot" for line in candles)


def test_what_ccxt_stumbles_over_is_kept(rehearsed: Context) -> None:
    """The exchange's own text, with ccxt's words about it."""
    rejected = [
        line for key, text in read_lake(Path(rehearsed.lake.root)).items() if "rejected" in key for line in read(text)
    ]
    assert rejected
    assert all(line["reason"].startswith("ccxt: ") and line["message"] for line in rejected)


# ccxt as a witness: clients that we did not write, against every emulated exchange


def test_ccxt_knows_every_emulated_exchange() -> None:
    """What it does not know is named, with the reason: else nobody but us would have read that emulator."""
    assert set(VENUES) - ccxt_ids() == set(NO_CLIENT)


def ccxt_ids() -> frozenset[str]:
    """What can be had without loading it, and is the same."""
    found = known_to_ccxt()
    assert found == frozenset(ccxt.exchanges)
    return found


WITNESSED = [id_ for id_ in VENUES if id_ not in NO_CLIENT]


@pytest.mark.parametrize("id_", WITNESSED)
def test_ccxts_rest_client_reads_the_truth(id_: str) -> None:
    """Lists of pairs and five hours of candles, page by page; a minute without a row had no trades."""
    found = in_memory(END - timedelta(seconds=30))

    def ask() -> tuple[set[str], dict[str, Fetched]]:
        with open_ccxt(id_, found.exchanges[id_].rest_url, found.clock) as client:
            listed = {one.symbol for one in client.instruments() if one.trading}
            return listed, {symbol: client.candles(symbol, END - 5 * 60 * MINUTE, END - MINUTE) for symbol in PAIRS}

    async def scenario() -> None:
        async with Emulator(found) as emulator:
            listed, fetched = await in_step(ask)
            assert listed == set(PAIRS)
            for symbol, got in fetched.items():
                assert (got.covered_start, got.covered_end) == (END - 5 * 60 * MINUTE, END - MINUTE)
                rows = {candle.interval_start: candle for candle in got.candles}
                for place in range(5 * 60 - 1):
                    bar = emulator.truth(id_, symbol, END - (5 * 60 - place) * MINUTE)
                    assert bar is not None
                    if bar.start in rows:
                        one = rows[bar.start]
                        assert (one.open, one.high, one.low, one.close, one.volume) == truth(bar)
                    else:
                        assert bar.trade_count == 0

    with clients_in_memory(found.clock):
        run(scenario())


@pytest.mark.parametrize("id_", WITNESSED)
def test_ccxts_websocket_client_hears_the_truth(id_: str) -> None:
    """What it has of each whole minute is the candle; where there are no candles, the trades are all there.

    It misses no minute with trades of those that it heard from start to end.
    """
    found = in_memory(FIRST + timedelta(minutes=60, seconds=50))
    listened = [FIRST + place * MINUTE for place in range(61, 66)]

    async def scenario() -> None:
        async with Emulator(found) as emulator:
            exchange = await LongTail(id_, found.exchanges[id_], found.clock).open()
            try:
                hear = hear_candles if exchange.has["watchOHLCV"] else hear_trades
                heard = await asyncio.gather(*(hear(exchange, symbol.replace("-", "/")) for symbol in PAIRS))
            finally:
                await exchange.close()
            for symbol, minutes in zip(PAIRS, heard, strict=True):
                for minute in listened:
                    bar = emulator.truth(id_, symbol, minute)
                    assert bar is not None
                    assert milliseconds(minute) in minutes or not bar.trade_count
                for start in sorted(minutes)[1:-1]:
                    bar = emulator.truth(id_, symbol, from_milliseconds(start))
                    assert bar is not None
                    if id_ in MISREAD:
                        assert tuple(minutes[start][1:]) == (*truth(bar)[:4], float(bar.quote_volume))
                    elif hear is hear_candles:
                        assert tuple(minutes[start][1:]) == truth(bar)
                    else:
                        deals = [(str(one.trade_id), float(one.price), float(one.size)) for one in trades(bar)]
                        assert sorted(minutes[start]) == sorted(deals)

    with clients_in_memory(found.clock):
        run(scenario())


async def hear_candles(exchange: Any, native: str) -> dict[int, Any]:
    """Six minutes of candles, the latest state of each minute."""
    return await hear(exchange.watch_ohlcv, native, lambda rows: {row[0]: list(row) for row in rows}, "1m")


async def hear_trades(exchange: Any, native: str) -> dict[int, Any]:
    """Six minutes of trades, by their minutes."""
    minutes: dict[int, set[tuple[str, float, float]]] = {}

    def sort(deals: Any) -> dict[int, Any]:
        for one in deals:
            minute = minutes.setdefault(one["timestamp"] // 60_000 * 60_000, set())
            minute.add((one["id"], one["price"], one["amount"]))
        return minutes

    return await hear(exchange.watch_trades, native, sort)


async def hear(
    watch: Callable[..., Any], native: str, sort: Callable[[Any], dict[int, Any]], *more: str
) -> dict[int, Any]:
    """Watches for six minutes."""
    minutes: dict[int, Any] = {}
    try:
        async with asyncio.timeout(360):
            while True:
                minutes.update(sort(await watch(native, *more)))
    except TimeoutError:
        return minutes


# A connection that follows a script

MOMENT = milliseconds(datetime(2026, 11, 22, 6, 59, tzinfo=UTC))
"""The minute in whose middle a `LoopClock` begins."""


def row(place: int, volume: float = 1.0) -> list[Any]:
    """The candle of a minute, counted from `MOMENT`."""
    return [MOMENT + 60_000 * place, 10.0, 12.0, 9.0, 11.0, volume]


def test_each_change_is_one_line() -> None:
    """History is a snapshot, the rest are updates; what did not change is not written again."""

    async def go() -> None:
        async with connected(LoopClock(), "BTC-USDT", "ETH-USDT") as (exchange, journal, one, _):
            exchange.send("BTC/USDT", row(-1), row(0))
            exchange.send("BTC/USDT", row(-1), row(0))
            exchange.send("ETH/USDT", row(0))
            exchange.send("BTC/USDT", row(0, 2.0), row(1))
            found = [
                (line["symbol"], line["event_type"], line["volume"]) for line in journal.lines("update", "snapshot")
            ]
            assert found == [
                ("BTC-USDT", "snapshot", 1.0),
                ("BTC-USDT", "update", 1.0),
                ("ETH-USDT", "update", 1.0),
                ("BTC-USDT", "update", 2.0),
                ("BTC-USDT", "update", 1.0),
            ]
            assert [line["status"] for line in journal.lines("status")] == ["connected"] * 2 + ["subscribed"] * 2
            assert one.opened and one.intake.candles == 5

    run(go())


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ([MOMENT, 10.0, 12.0, 9.0, None, 1.0], "Expected `float`, got `null`"),
        ([MOMENT, 10.0, 12.0, 9.0, 13.0, 1.0], "cannot be one candle"),
        ([MOMENT, 10.0, 12.0, 9.0, 11.0, -1.0], "is not a quantity"),
        ([MOMENT + 1000, 10.0, 12.0, 9.0, 11.0, 1.0], "not on the minute"),
        ([MOMENT, 10.0], "length 6"),
        ([None, 10.0, 12.0, 9.0, 11.0, 1.0], "Expected `int`, got `null`"),
        ([MOMENT, float("nan"), 12.0, 9.0, 11.0, 1.0], "Expected `float`"),
    ],
)
def test_a_bad_row_is_kept_and_stops_nobody(bad: list[Any], says: str) -> None:
    """It is rejected with the reason, once; its pair begins anew, the other pairs go on."""

    async def go() -> None:
        async with connected(LoopClock(), "BTC-USDT", "ETH-USDT") as (exchange, journal, one, _):
            exchange.send("BTC/USDT", row(1))
            exchange.send("ETH/USDT", row(1))
            since = dict(one.intake.since)
            await asyncio.sleep(1)
            exchange.send("BTC/USDT", bad)
            exchange.send("ETH/USDT", row(2))
            (line,) = journal.lines("rejected")
            assert says in line["reason"] and "BTC/USDT" in line["message"]
            assert journal.lines("update")[-1]["symbol"] == "ETH-USDT"
            assert one.intake.since["BTC/USDT"] > since["BTC/USDT"]
            assert one.intake.since["ETH/USDT"] == since["ETH/USDT"]

    run(go())


def test_what_ccxt_cannot_handle_makes_all_pairs_begin_anew() -> None:
    """Whose last update it was is not known. ccxt's receiving goes on."""

    async def go() -> None:
        async with connected(LoopClock(), "BTC-USDT") as (exchange, journal, one, _):
            exchange.send("BTC/USDT", row(0))
            since = one.intake.since["BTC/USDT"]
            await asyncio.sleep(1)
            exchange.send_text('{"torn":')
            exchange.send("BTC/USDT", row(1))
            (line,) = journal.lines("rejected")
            assert line["message"] == '{"torn":' and line["reason"].startswith("ccxt: ValueError")
            assert one.intake.since["BTC/USDT"] > since
            assert len(journal.lines("update")) == 2

    run(go())


def test_alive_lines_need_pongs() -> None:
    """Where pings are not answered, nothing is proven; later pongs prove what went before, on the same line."""

    async def go(seconds: float, unanswered: int) -> tuple[list[str], list[str]]:
        async with connected(LoopClock(), "BTC-USDT") as (exchange, journal, _, _):
            client = exchange.client("wss://fake")
            client.deaf = True
            exchange.send("BTC/USDT", row(0))
            await asyncio.sleep(seconds)
            assert client.pings == unanswered
            client.deaf = False
            lines = await journal.wait_for("alive", 4)
        return [line["interval_start"][11:16] for line in lines], [line["recv_ts"][11:16] for line in lines]

    minutes = ["06:59", "07:00", "07:01", "07:02"]
    assert run(go(0, 0)) == (minutes, ["07:00", "07:01", "07:02", "07:03"])
    assert run(go(150, 2)) == (minutes, ["07:02", "07:02", "07:02", "07:03"])


def test_alive_lines_need_ccxt_to_agree_with_rest() -> None:
    """Until three candles were the same over REST, they are held back; then they are told of all minutes."""

    async def go(volume: float) -> tuple[list[Any], list[int]]:
        async with connected(LoopClock(), "BTC-USDT", trusted=False) as (exchange, journal, _, _):
            exchange.rest = [row(place, volume) for place in range(1, 5)]
            for place in range(8):
                exchange.send("BTC/USDT", row(place))
                await asyncio.sleep(60)
            return journal.lines("alive"), [(since - MOMENT) // 60_000 for since in exchange.compared]

    alive, compared = run(go(1.0))
    assert [(line["interval_start"][11:16], line["recv_ts"][11:16]) for line in alive] == [
        *((minute, "07:04") for minute in ("06:59", "07:00", "07:01", "07:02", "07:03")),
        *(("07:04", "07:05"), ("07:05", "07:06")),
    ]
    assert compared == [1, 2, 3]  # a minute after each candle's end, and no more once three agreed
    assert run(go(10.0)) == ([], [1] * 5)


def test_a_volume_that_went_back_is_a_doubt_until_it_is_there_again() -> None:
    """An update that was overtaken does no harm if another one follows; as the minute's last it is not believed."""

    async def go(*volumes: float) -> tuple[list[str], str]:
        async with connected(LoopClock(), "BTC-USDT") as (exchange, journal, _, _):
            exchange.send("BTC/USDT", row(0))
            for volume in volumes:
                exchange.send("BTC/USDT", row(0, volume))
            (first, *_) = await journal.wait_for("alive")
        lost = [line["detail"] for line in journal.lines("status") if line["status"] == "lost"]
        return lost, first["interval_start"]

    assert run(go(2.0, 1.5, 2.0)) == ([], "2026-11-22T06:59:00Z")
    assert run(go(2.0, 1.5)) == (["a minute's volume had been 2.0, then was less"], "2026-11-22T07:00:00Z")


def test_a_refused_pair_leaves_the_others_alone() -> None:
    """ccxt tells everybody that one of the requests was wrong: that is not the end of the line."""

    async def go() -> None:
        async with connected(LoopClock(), "BTC-USDT", "FOO-USDT") as (exchange, journal, _, running):
            exchange.client("wss://fake").reject(ccxt.BadSymbol("fake does not have FOO/USDT"))
            lines = await journal.wait_for("refused", 2)
            assert "BadSymbol" in lines[0]["detail"]
            exchange.send("BTC/USDT", row(0))
            assert journal.lines("update") and not running.done()
            exchange.client("wss://fake").reject(ccxt.NetworkError("closing code 1006"))
            assert "closing code 1006" in await running
            assert journal.lines("status")[-1]["status"] == "disconnected"

    run(go())


def test_a_pair_that_cannot_be_asked_for_ends_the_connection() -> None:
    """Some exchanges are asked for a token first: that the line failed is no refusal, and is tried again soon."""

    async def go() -> None:
        async with connected(LoopClock(), "BTC-USDT") as (exchange, _, one, running):
            exchange.refusals["BTC/USDT"] = ccxt.RequestTimeout("no token")
            await one._subscribe("BTC/USDT")
            assert await running == "BTC-USDT could not be asked for: RequestTimeout no token"

    run(go())


def test_a_full_disk_ends_the_connection_with_its_error() -> None:
    """As it does with a native one; ccxt's receiving does not see it."""

    async def go() -> None:
        async with connected(LoopClock(), "BTC-USDT") as (exchange, _, one, running):
            one._write = full
            exchange.send("BTC/USDT", row(0))
            with pytest.raises(SpoolFull):
                await running

    def full(_: bytes) -> None:
        raise SpoolFull("no room")

    run(go())


# REST


def rest(client: Any) -> CcxtRest:
    """Of such a ccxt client, on a clock that stands."""
    markets = {"BTC/USDT": {"symbol": "BTC/USDT", "base": "BTC", "quote": "USDT", "spot": True}}
    future = {"symbol": "BTC/USDT:USDT", "base": "BTC", "quote": "USDT", "spot": False}
    parts = {"has": {"fetchOHLCV": True}, "timeframes": {"1m": "1"}, "feature_value": lambda *_: 10}
    parts["load_markets"] = lambda: markets | {"BTC/USDT:USDT": future}
    return CcxtRest("fake", SimpleNamespace(**parts, **client), StillClock())


def test_rest_goes_on_behind_a_page_without_rows() -> None:
    """Some exchanges answer about so many minutes, silent or not: the rows on both sides are found all the same."""
    start, asked = from_milliseconds(MOMENT - 60 * 60_000), []

    def fetch_ohlcv(_: str, __: str, since: int, limit: int) -> list[list[Any]]:
        asked.append((since - MOMENT) // 60_000)
        rows = [row(place) for place in (-61, -60, -35, -25, 0)]
        return [one for one in rows if since <= one[0] < since + limit * 60_000]

    got = rest({"fetch_ohlcv": fetch_ohlcv}).candles("BTC-USDT", start, start + 30 * MINUTE)
    assert asked == [-61, -59, -49, -39, -34]
    assert [candle.interval_start for candle in got.candles] == [start, start + 25 * MINUTE]
    assert {candle.native_symbol for candle in got.candles} == {"BTC/USDT"}
    assert (got.covered_start, got.covered_end) == (start, start + 30 * MINUTE)
    assert (got.silence, got.previous_close) == ("no_trade_if_alive", 11.0)


@pytest.mark.parametrize(
    ("error", "kind", "says", "attempts"),
    [
        (
            ccxt.RateLimitExceeded("429 slow down"),
            RestError,
            "could not be read through ccxt: RateLimitExceeded 429",
            4,
        ),
        (ccxt.ExchangeNotAvailable("gone"), RestError, "check [exchange_fake] rest_url", 4),
        (ccxt.BadSymbol("what?"), UnknownPair, "does not list this pair, says ccxt: BadSymbol what?", 1),
        (ccxt.AuthenticationError("no key"), RestError, "refused, says ccxt: AuthenticationError no key", 1),
        (KeyError("data"), RestError, "ccxt does not understand what fake answered: KeyError", 1),
    ],
)
def test_rest_errors_are_sentences(error: Exception, kind: type[Exception], says: str, attempts: int) -> None:
    """What may pass is tried again, and then left alone for the run; nothing becomes "no data"."""
    calls = 0

    def fetch_ohlcv(*_: object) -> list[list[Any]]:
        nonlocal calls
        calls += 1
        raise error

    client, start = rest({"fetch_ohlcv": fetch_ohlcv}), from_milliseconds(MOMENT)
    for _ in range(2):
        with pytest.raises(kind) as raised:
            client.candles("BTC-USDT", start, start + MINUTE)
        assert says in str(raised.value)
    assert calls == (attempts if attempts > 1 else 2)


def test_a_row_that_is_no_candle_costs_itself() -> None:
    """It is handed on as what it is; further columns mean nothing."""
    first = MOMENT - 180_000
    rows = [[first, None, 1, 1, 1, 1], [first + 60_000, 1, 1, 1, 1, 1, "new"], [first + 120_000, 1, 1, 1, 1, 1]]
    start = from_milliseconds(first)
    fetched = rest({"fetch_ohlcv": lambda *_: rows}).candles("BTC-USDT", start, start + 2 * MINUTE)
    assert [one.interval_start for one in fetched.candles] == [start + MINUTE]
    assert [(one.native_symbol, one.minute) for one in fetched.odd if isinstance(one, Misfit)] == [("BTC/USDT", start)]


def test_rest_refuses_what_it_cannot_give() -> None:
    """A pair that is not listed, an exchange without 1-minute candles."""
    start = from_milliseconds(MOMENT)
    with pytest.raises(UnknownPair, match="does not list FOO-USDT"):
        rest({}).candles("FOO-USDT", start, start + MINUTE)
    client = rest({})
    client._client.timeframes = None
    with pytest.raises(RestError, match="has no 1-minute candles of this exchange over REST"):
        client.candles("BTC-USDT", start, start + MINUTE)


# Settings


def parsed(pairs: str, more: str = "") -> settings.Settings:
    """Settings with these pairs."""
    return settings.parse(f"[lake]\nroot = lake\n{more}\n[pairs]\n{pairs}", Path("luigi.cfg"))


def test_an_exchange_of_the_long_tail_is_a_line_in_pairs() -> None:
    """Its addresses are ccxt's; a section may replace them."""
    found = parsed('bitvavo = ["BTC-EUR"]')
    assert (found.exchanges["bitvavo"].ws_url, found.exchanges["bitvavo"].rest_url) == ("", "")
    found = parsed('bitvavo = ["BTC-EUR"]', "[exchange_bitvavo]\nrest_url = http://proxy/")
    assert (found.exchanges["bitvavo"].ws_url, found.exchanges["bitvavo"].rest_url) == ("", "http://proxy")
    with pytest.raises(SettingsError, match="must begin with http:// or https://"):
        parsed('bitvavo = ["BTC-EUR"]', "[exchange_bitvavo]\nrest_url = proxy")
    with pytest.raises(SettingsError, match=r"no section \[exchange_bitvavo\]"):
        parsed('binance = ["BTC-USDT"]', "[exchange_bitvavo]\nrest_url = http://proxy")


def test_an_exchange_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearest of ours and of ccxt's; without ccxt, how to get it."""
    with pytest.raises(SettingsError, match=r"no module for\. Did you mean bitvavo.* ccxt does not know it either"):
        parsed('bitvao = ["BTC-EUR"]')
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SettingsError) as raised:
        parsed('krakn = ["BTC-EUR"]')
    assert "Did you mean kraken" in str(raised.value)
    assert "is not installed: pip install 'kline-lakehouse[ccxt]'" in str(raised.value)


NOT_LOADED = """
import importlib.util, sys
from pathlib import Path
import stream.recorder, tasks
from stream import settings

find_spec = importlib.util.find_spec
for pairs, allowed in (('kraken = ["BTC-USD"]', None), ('bitvavo = ["BTC-EUR"]', find_spec)):
    importlib.util.find_spec = allowed
    settings.parse("[lake]\\nroot = lake\\n[pairs]\\n" + pairs, Path("luigi.cfg"))
assert not {"ccxt", "aiohttp"} & set(sys.modules)
"""


def test_nobody_pays_for_what_he_does_not_use() -> None:
    """Where all exchanges have a module, ccxt is not even looked for; and no settings, recorder or task load it."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", NOT_LOADED], check=True, cwd=Path(__file__).parent.parent)


def test_an_exchange_that_ccxt_does_not_stream(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line says that REST is all there is; a recorder with nothing else to do says so."""
    here = f"[stream]\nspool_dir = {tmp_path}\n[exchange_bitstamp]\nrest_url = http://127.0.0.1:9"
    found = msgspec.structs.replace(parsed('bitstamp = ["BTC-USD"]', here), clock=LoopClock())

    async def go() -> None:
        await Recorder(found).run(asyncio.Event())

    with clients_in_memory(found.clock), pytest.raises(SettingsError, match=r"recorded\. The messages above say why"):
        run(go())
    assert [record.message for record in caplog.records if "REST" in record.message][-1] == (
        "bitstamp: ccxt streams no 1-minute candles of it: nothing is recorded, its minutes come from REST"
    )


def test_addresses_are_replaced_and_paths_kept() -> None:
    """Of every kind, however deep; a kind without an address of ours keeps its own."""
    urls = {"api": {"rest": "https://{hostname}/v2", "ws": ["wss://a:443/ws?x=1"]}, "www": "https://b", "n": None}
    assert dialect.redirected(urls, "http://me:1/p", "ws://me:2") == {
        "api": {"rest": "http://me:1/p/v2", "ws": ["ws://me:2/ws?x=1"]},
        "www": "http://me:1/p",
        "n": None,
    }
    assert dialect.redirected("https://b/c", "", "ws://me") == "https://b/c"


def test_where_ccxt_keeps_its_candles() -> None:
    """Under the timeframe, under the only other word, or right under the pair; nowhere else."""
    rows = [row(0)]
    for kept in ({"1m": rows, "5m": []}, {"unknown": rows}, rows):
        assert dialect.cached({"BTC/USDT": kept}, "BTC/USDT") == rows
    assert dialect.cached({"BTC/USDT": {"5m": rows, "1h": rows}}, "BTC/USDT") == []
    assert dialect.cached({}, "BTC/USDT") == []


def test_only_lists_of_spot_pairs_are_read() -> None:
    """The lists of futures are on other hosts here and there; what is not understood is left alone."""
    for id_, types in (("binance", ["spot"]), ("htx", {"spot": True}), ("okxus", ["spot"])):
        client = getattr(ccxt, id_)()
        dialect.prepare(client, "", "", Clock())
        assert client.options["fetchMarkets"]["types"] == types
