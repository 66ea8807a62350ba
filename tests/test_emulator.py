"""The emulator against the parsers that it must not know: what it sends is what they read, and it is the truth."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from datetime import datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from stream.emulator.bar import MINUTE, Bar
from stream.emulator.faults import Emission, Faults, distort
from stream.emulator.market import LISTED, Market
from stream.emulator.server import Emulator
from stream.emulator.trades import trades, updates
from stream.emulator.venue import Session
from stream.emulator.venues.binance import Binance
from stream.emulator.venues.kraken import Kraken
from stream.errors import MessageError, SettingsError
from stream.exchanges import binance, kraken
from stream.settings import parse
from stream.wire import Notice, Refused, Response, Subscribed
from tests.emulated import END, FIRST, PAIRS, candles_of, equals, fetch, in_memory, listen
from tests.sim.loop import run

minutes = st.integers(0, 8_000_000).map(lambda count: LISTED + count * MINUTE)
symbols = st.sampled_from(["BTC-USD", "ETH-USDT", "XYZ-USDT", "ADA-BTC", "DOGE-EUR"])


@hypothesis_settings(max_examples=150)
@given(symbols, minutes)
def test_walk_is_consistent_and_pure(symbol: str, minute: datetime) -> None:
    """Any minute of a walk is a possible candle, continues the one before, and is the same in a market born later."""
    market = Market("kraken", seed=3)
    bar, before = market.bar(symbol, minute), market.bar(symbol, minute - MINUTE)
    assert bar is not None
    assert bar == Market("kraken", seed=3).bar(symbol, minute)
    assert 0 < bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high
    if bar.trade_count:
        assert bar.low <= bar.vwap <= bar.high
        rounding = Decimal("0.00000001") / bar.volume
        assert bar.low - rounding <= bar.quote_volume / bar.volume <= bar.high + rounding
    else:
        assert bar.volume == bar.quote_volume == 0
        assert bar.high == bar.low
    if before is not None:
        assert abs(bar.open - before.close) <= before.close * Decimal("0.01")
        assert bar.trade_count or bar.close == before.close


@hypothesis_settings(max_examples=150)
@given(symbols, minutes)
def test_trades_and_updates_make_up_the_bar(symbol: str, minute: datetime) -> None:
    """The trades add up to the bar, the updates only grow, and the last update is the bar itself."""
    bar = Market("binance").bar(symbol, minute)
    assert bar is not None
    check_growth(bar)


def check_growth(bar: Bar) -> None:
    """What must hold between a bar, its trades and its updates."""
    deals, states = trades(bar), updates(bar)
    assert len(deals) == bar.trade_count
    if not deals:
        assert states == ()
        return
    prices = [deal.price for deal in deals]
    assert (prices[0], max(prices), min(prices), prices[-1]) == (bar.open, bar.high, bar.low, bar.close)
    assert sum(deal.size for deal in deals) == bar.volume
    vwap = sum(deal.size * deal.price for deal in deals) / bar.volume
    assert vwap.quantize(bar.open) == pytest.approx(bar.vwap.quantize(bar.open), abs=Decimal(1).scaleb(-1))
    assert len({deal.moment for deal in deals}) == len(deals)
    assert bar.start < deals[0].moment <= deals[-1].moment < bar.start + MINUTE
    assert states[-1][1] == bar
    assert (states[0][1].open, states[0][1].close, states[0][1].trade_count) == (bar.open, bar.open, 1)
    for (earlier, small), (later, large) in itertools.pairwise(states):
        assert 0 < earlier < later < 60
        assert small.volume < large.volume
        assert small.trade_count < large.trade_count
        assert (small.high, large.low) <= (large.high, small.low)
        assert small.quote_volume <= large.quote_volume


def test_real_candles_are_whole() -> None:
    """720 real minutes each, without trades in 215 of Kraken's, and nothing before or after them."""
    for exchange, silent in (("binance", 0), ("kraken", 215)):
        market = Market(exchange)
        assert market.span("BTC-USDT") == (FIRST, END)
        assert market.bar("BTC-USDT", FIRST - MINUTE) is None
        assert market.bar("BTC-USDT", END) is None
        bars = [market.bar("BTC-USDT", FIRST + place * MINUTE) for place in range(720)]
        assert sum(bar is not None and bar.trade_count == 0 for bar in bars) == silent
        for bar in bars[:: 1 if exchange == "kraken" else 60]:
            assert bar is not None
            check_growth(bar)


def test_trades_are_numbered_one_by_one() -> None:
    """Over silent minutes, hours and midnight, in a walk and in real candles: an id left out is a trade left out."""
    midnight = datetime(2025, 11, 11, tzinfo=FIRST.tzinfo)
    for market, symbol, start in (
        (Market("coinbase", silent=0.3), "ETH-USD", midnight - 180 * MINUTE),
        (Market("coinbase", silent=1.0), "ETH-USD", midnight - 180 * MINUTE),
        (Market("kraken"), "BTC-USDT", FIRST),
    ):
        bars = [market.bar(symbol, start + place * MINUTE) for place in range(360)]
        ids = [deal.trade_id for bar in bars if bar for deal in trades(bar)]
        assert ids == list(range(ids[0], ids[0] + len(ids)))
        assert len(ids) > 100


def test_silent_share_grows_on_demand() -> None:
    """A few percent of a walk's minutes are silent, and as many more as the fault asks for."""
    for silent, low, high in ((0.0, 1, 60), (0.5, 430, 630), (1.0, 999, 1000)):
        market = Market("kraken", silent=silent)
        bars = [market.bar("ETH-USDT", FIRST + place * MINUTE) for place in range(1000)]
        assert low <= sum(bar is not None and bar.trade_count == 0 for bar in bars) <= high


def test_binance_protocol() -> None:
    """Acknowledgements, the list of subscriptions and errors are Binance's, for both kinds of address."""
    venue = Binance("binance", Market("binance"), ("BTC-USDT",))
    session = Session(1, "/stream", FIRST)
    assert venue.welcome(session) == []
    reply = venue.reply(session, binance.subscribe(["BTCUSDT", "NOSUCH"], 1), FIRST)
    assert reply == ['{"result":null,"id":1}']
    assert list(session.channels) == ["btcusdt@kline_1m", "nosuch@kline_1m"]
    assert venue.reply(session, binance.unsubscribe(["NOSUCH"], 2), FIRST) == ['{"result":null,"id":2}']
    listed = venue.reply(session, '{"method":"LIST_SUBSCRIPTIONS","id":3}', FIRST)
    assert listed == ['{"result":["btcusdt@kline_1m"],"id":3}']
    for text, code in (("{", 3), ("[]", 2), ('{"method":"X","id":4}', 2), ('{"method":"SUBSCRIBE","params":1}', 2)):
        (error,) = venue.reply(session, text, FIRST)
        assert json.loads(error)["code"] == code
        assert isinstance(binance.parse_message(error)[0], Refused)
    for target, wrapped in (("/ws/btcusdt@kline_1m", False), ("/stream?streams=btcusdt@kline_1m/b@kline_1m", True)):
        named = Session(2, target, FIRST)
        venue.welcome(named)
        assert venue.serves(target)
        assert "btcusdt@kline_1m" in named.channels
        assert venue.framed(named, "BTC-USDT", "{}").startswith('{"stream":') is wrapped
    assert not venue.serves("/elsewhere")


def test_kraken_protocol() -> None:
    """One acknowledgement or refusal per symbol, a snapshot of traded minutes, and the other verbs."""
    venue = Kraken("kraken", Market("kraken"), ("BTC-USDT", "DOGE-USD"))
    session = Session(1, "/v2", FIRST)
    assert kraken.parse_message(venue.welcome(session)[0]) == [Notice(system="online", detail="status channel: online")]
    now = FIRST + timedelta(minutes=30, seconds=59.95)
    said = venue.reply(session, kraken.subscribe(["BTC/USDT", "XBT/USDT", "BTC/USDT"], 5), now)
    records = [record for text in said for record in kraken.parse_message(text)]
    assert records[0] == Subscribed(native_symbol="BTC/USDT", request_id=5)
    reasons = [record.reason for record in records if isinstance(record, Refused)]
    assert reasons == ["Currency pair not supported XBT/USDT", "Already subscribed"]
    snapshot = list(candles_of(records, "BTC/USDT"))
    assert len(snapshot) == 10
    assert all(candle.event_type == "snapshot" for candle in snapshot)
    assert all(equals(candle, venue.market.bar("BTC-USDT", candle.interval_start)) for candle in snapshot)
    assert '"volume":0' not in said[1].replace('"volume":0.', "")
    (pong,) = venue.reply(session, '{"method":"ping","req_id":8}', now)
    assert (json.loads(pong)["method"], json.loads(pong)["req_id"]) == ("pong", 8)
    assert kraken.parse_message(venue.reply(session, kraken.unsubscribe(["BTC/USDT"], 9), now)[0]) == []
    assert session.channels == {}
    for text in ("{", "[]", '{"method":"dance"}', '{"method":"subscribe","params":{"channel":"book"}}'):
        assert isinstance(kraken.parse_message(venue.reply(session, text, now)[0])[0], Refused)


def test_kraken_trades_rebuild_the_minutes() -> None:
    """What OHLC no longer reaches is rebuilt from Trades, page by page, to the same candles."""
    settings = in_memory(END)
    start = END - timedelta(hours=30)

    async def scenario() -> None:
        async with Emulator(settings) as emulator:
            got = await fetch(settings, kraken, "ETH-USDT", start, start + 120 * MINUTE)
            assert len(got.trades) > 1000
            by_minute = defaultdict(list)
            for trade in got.trades:
                by_minute[trade.event_ts.replace(second=0, microsecond=0)].append(trade)
            for place in range(120):
                bar = emulator.truth("kraken", "ETH-USDT", start + place * MINUTE)
                assert bar is not None
                found = by_minute.get(bar.start, [])
                assert len(found) == bar.trade_count
                if found:
                    prices = [trade.price for trade in found]
                    assert (prices[0], max(prices), min(prices), prices[-1]) == tuple(
                        map(float, (bar.open, bar.high, bar.low, bar.close))
                    )
                    assert sum(trade.size for trade in found) == pytest.approx(float(bar.volume), rel=1e-12)

    run(scenario())


def test_rest_manners() -> None:
    """Lists, clocks, open candles, limits and refusals are the exchanges' own."""
    settings = in_memory(END - 60 * MINUTE + timedelta(seconds=30))
    start = str(int((END - 63 * MINUTE).timestamp()))

    async def scenario() -> None:
        async with Emulator(settings, listed={"kraken": ["DOGE-USD"]}), httpx.AsyncClient() as client:
            at_binance, at_kraken = (settings.exchanges[exchange].rest_url for exchange in ("binance", "kraken"))
            listed = binance.parse_instruments((await client.get(f"{at_binance}/api/v3/exchangeInfo")).content)
            assert [one.symbol for one in listed] == PAIRS
            assert all(one.trading for one in listed)
            listed = kraken.parse_instruments((await client.get(f"{at_kraken}/0/public/AssetPairs")).content)
            assert [one.symbol for one in listed] == [*PAIRS, "DOGE-USD"]
            time = await client.get(f"{at_binance}/api/v3/time")
            assert abs(parsedate_to_datetime(time.headers["Date"]) - settings.clock.now()) < timedelta(seconds=1)
            assert int(time.headers["X-MBX-USED-WEIGHT-1M"]) == 21
            query = {"symbol": "BTCUSDT", "interval": "1m", "startTime": f"{start}000"}
            rows = (await client.get(f"{at_binance}/api/v3/klines", params=query)).json()
            assert [len(rows), len(rows[0])] == [4, 12]  # three finished, one open
            rows = (await client.get(f"{at_binance}/api/v3/klines", params=query | {"endTime": f"{start}000"})).json()
            assert [row[0] for row in rows] == [int(start) * 1000]
            early = query | {"endTime": str(int(FIRST.timestamp() - 60) * 1000), "startTime": "0"}
            assert (await client.get(f"{at_binance}/api/v3/klines", params=early)).json() == []
            refused = await client.get(f"{at_binance}/api/v3/klines", params=query | {"symbol": "NOSUCH"})
            assert (refused.status_code, refused.json()["code"]) == (400, -1121)
            body = (await client.get(f"{at_kraken}/0/public/OHLC", params={"pair": "BTCUSDT", "since": start})).json()
            assert [row[0] - int(start) for row in body["result"]["XBTUSDT"]] == [60, 120, 180]  # since is exclusive
            assert body["result"]["last"] == int(start) + 120
            late = {"pair": "XBTUSDT", "since": str(int(start) + 10_000)}
            body = (await client.get(f"{at_kraken}/0/public/OHLC", params=late)).json()
            assert len(body["result"]["XBTUSDT"]) == 1  # the open candle, always
            body = (await client.get(f"{at_kraken}/0/public/OHLC", params={"pair": "NOSUCH"})).json()
            assert body == {"error": ["EQuery:Unknown asset pair"]}
            for name in ("Time", "SystemStatus"):
                assert (await client.get(f"{at_kraken}/0/public/{name}")).json()["error"] == []

    run(scenario())


def test_rate_limits_are_understood() -> None:
    """A refused request is `wait` to both modules; Binance says how long."""
    settings = in_memory(END)

    async def scenario() -> None:
        async with Emulator(settings, Faults(rate_limits=1)), httpx.AsyncClient() as client:
            for module in (binance, kraken):
                request = module.instruments_request()
                got = await client.get(settings.exchanges[module.ID].rest_url + request.path)
                response = Response(status=got.status_code, body=got.content, server_time=None, recv_ts=END)
                refusal = module.refusal(response)
                assert refusal is not None
                assert refusal.kind == "wait"
                assert ("Retry-After" in got.headers) is (module is binance)

    run(scenario())


def test_faults_replay_and_stay_detectable() -> None:
    """The same seed distorts alike, another one otherwise; without a flag a lost final takes the connection along."""
    planned = [Emission(at, at, "push") for at in (0.5, 20.0, 40.0)] + [Emission(59.9, 59.9, "push", closing=True)]
    wild = {"lost_finals": 0.3, "late_finals": 0.5, "duplicates": 0.3, "reordering": 0.3, "garbage": 0.3}
    one, again, other = Faults(seed=1, **wild), Faults(seed=1, **wild), Faults(seed=2, **wild)
    names = [("kraken", "BTC-USDT", FIRST + place * MINUTE) for place in range(300)]
    runs = [[distort(faults, name, planned, "none") for name in names] for faults in (one, again, other)]
    assert runs[0] == runs[1] != runs[2]
    assert all(distort(Faults(), name, planned, "none") == planned for name in names)
    for sent in runs[0]:
        closing = [emission for emission in sent if emission.closing]
        cuts = [emission for emission in sent if emission.kind == "cut"]
        assert bool(closing) != bool(cuts)
        assert all(emission.sent < 60 for emission in cuts)
        assert all(emission.sent < 63 for emission in closing)
    late = [distort(Faults(late_finals=1), name, planned, "flag")[-1].sent for name in names]
    assert all(63 <= sent <= 80 for sent in late)
    with pytest.raises(SettingsError, match="disconnects = 2 is a probability"):
        Faults(disconnects=2)


def test_addresses_must_be_here() -> None:
    """An address of the real exchange, or one that is in use, is refused with what to write instead."""
    text = '[lake]\nroot = x\n[pairs]\nbinance = ["BTC-USDT"]\n'
    with pytest.raises(SettingsError, match=r"Write ws_url = ws://127.0.0.1:<port> in \[exchange_binance\]"):
        Emulator(parse(text, Path("luigi.cfg")))
    with pytest.raises(SettingsError, match="nothing to emulate"):
        Emulator(parse("[lake]\nroot = x\n", Path("luigi.cfg")))
    settings = in_memory(FIRST)

    async def scenario() -> None:
        async with Emulator(settings):
            with pytest.raises(SettingsError, match="could not be opened"):
                async with Emulator(settings):
                    pass

    run(scenario())


def test_cut_connections_and_garbage() -> None:
    """A cut ends the connection without a goodbye; garbage is what no parser reads; other finals never come."""
    settings = in_memory(FIRST)

    async def scenario() -> None:
        async with Emulator(settings, Faults(disconnects=1)):
            for module in (binance, kraken):
                with pytest.raises(ConnectionClosed):
                    await listen(settings, module, [module.native_symbol("ETH-USDT")], 1200)
        async with Emulator(settings, Faults(garbage=1)):
            with pytest.raises(MessageError):
                await listen(settings, binance, ["ETHUSDT"], 1200)
        async with Emulator(settings, Faults(lost_finals=1)):
            with pytest.raises(ConnectionClosed):
                await listen(settings, kraken, ["ETH/USDT"], 1200)
            candles = list(candles_of(await listen(settings, binance, ["ETHUSDT"], 240), "ETHUSDT"))
            assert candles
            assert not any(candle.is_final for candle in candles)

    run(scenario())
