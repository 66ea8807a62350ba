"""One suite for every emulated exchange, held against the parser that it must not know: what it sends is the truth."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import ModuleType
from typing import cast

import httpx
import pytest

from stream.emulator.market import Market
from stream.emulator.server import Emulator
from stream.emulator.trades import trades
from stream.emulator.venue import Session
from stream.emulator.venues import VENUES
from stream.exchanges import EXCHANGES
from stream.wire import MINUTE, Candle, Trade
from tests.emulated import END, FIRST, PAIRS, candles_of, equals, fetch, in_memory, listen
from tests.recording import Journal, connection, like
from tests.sim.loop import run


def test_every_exchange_is_emulated() -> None:
    """What cannot be rehearsed cannot be trusted."""
    assert set(VENUES) == set(EXCHANGES)


def streams_trades(id_: str) -> bool:
    """Whether the exchange's stream has trades in the place of candles."""
    rules = EXCHANGES[id_].TRADES
    return rules is not None and rules.streamed


@pytest.mark.parametrize("id_", EXCHANGES)
def test_every_message_parses(id_: str) -> None:
    """Each message of faultless minutes is read by the exchange's parser, and a minute's messages are the truth."""
    module, market = EXCHANGES[id_], Market(id_)
    venue = VENUES[id_](id_, market, tuple(PAIRS))
    session = Session(1, "/stream", FIRST)
    for symbol in PAIRS:
        for place in range(40):
            bar = market.bar(symbol, FIRST + place * MINUTE)
            assert bar is not None
            planned = venue.planned(bar)
            assert [emission.closing for emission in planned] == [False] * (len(planned) - 1) + [True] * bool(planned)
            assert planned or not bar.trade_count
            heard: list[Candle | Trade] = []
            for emission in planned:
                text = venue.framed(session, symbol, venue.message(symbol, emission))
                records = [one for one in module.parse_message(text) if isinstance(one, Candle | Trade)]
                assert records
                assert all(one.native_symbol == module.native_symbol(symbol) for one in records)
                if not streams_trades(id_):
                    (candle,) = records
                    assert isinstance(candle, Candle)
                    assert candle.is_final in (emission.closing, None)
                    if candle.event_ts is not None:
                        said = candle.event_ts - bar.start - timedelta(seconds=emission.stamped)
                        assert abs(said) < timedelta(seconds=0.002)
                heard += records
            if streams_trades(id_):
                found = {one.trade_id: (one.event_ts, one.price, one.size) for one in heard if isinstance(one, Trade)}
                true = {one.trade_id: (one.moment, float(one.price), float(one.size)) for one in trades(bar)}
                assert found == true
            elif planned:
                assert isinstance(heard[-1], Candle)
                assert equals(heard[-1], bar)


@pytest.mark.parametrize("id_", EXCHANGES)
def test_rest_equals_truth(id_: str) -> None:
    """The module's own dialogue reads hours minute by minute; a minute without a row had no trades."""
    settings = in_memory(END - timedelta(seconds=30))

    async def scenario() -> None:
        async with Emulator(settings) as emulator:
            for symbol in PAIRS:
                got = await fetch(settings, EXCHANGES[id_], symbol, FIRST, END - MINUTE)
                found = {candle.interval_start: candle for candle in got.candles}
                assert len(found) == len(got.candles)
                assert (got.covered_start, got.covered_end) == (FIRST, END - MINUTE)
                for place in range(719):
                    bar = emulator.truth(id_, symbol, FIRST + place * MINUTE)
                    assert bar is not None
                    if bar.start in found:
                        assert equals(found[bar.start], bar)
                    else:
                        assert not bar.trade_count
                        assert got.silence != "no_data"

    run(scenario())


@pytest.mark.parametrize("id_", EXCHANGES)
def test_instruments_are_listed(id_: str) -> None:
    """The list of pairs names those that are served, open for trading, as the stream spells them."""
    settings = in_memory(FIRST)
    module = EXCHANGES[id_]

    async def scenario() -> None:
        async with Emulator(settings), httpx.AsyncClient() as client:
            request = module.instruments_request()
            got = await client.get(settings.exchanges[id_].rest_url + request.path, params=request.query)
            listed = module.parse_instruments(got.content)
            assert [one.symbol for one in listed] == PAIRS
            assert all(one.trading and one.native_symbol == module.native_symbol(one.symbol) for one in listed)

    run(scenario())


@pytest.mark.parametrize("id_", EXCHANGES)
def test_end_to_end(id_: str) -> None:
    """Six minutes: what a recorder hears of each finished minute is the truth, and in order."""
    settings, module = in_memory(FIRST + timedelta(seconds=50)), EXCHANGES[id_]

    async def scenario() -> None:
        async with Emulator(settings) as emulator:
            records = await listen(settings, module, [module.native_symbol(symbol) for symbol in PAIRS], 360)
            for symbol in PAIRS:
                native = module.native_symbol(symbol)
                if streams_trades(id_):
                    deals = [one for one in records if isinstance(one, Trade) and one.native_symbol == native]
                    ids = [one.trade_id for one in deals]
                    assert len(deals) > 10
                    assert ids == sorted(ids, key=lambda one: one or 0)
                    minutes = sorted({one.event_ts.replace(second=0, microsecond=0) for one in deals})[1:-1]
                    for minute in minutes:
                        bar = emulator.truth(id_, symbol, minute)
                        count = len({one.trade_id for one in deals if minute <= one.event_ts < minute + MINUTE})
                        assert bar is not None
                        assert count == bar.trade_count
                    continue
                candles = list(candles_of(records, native))
                last = {candle.interval_start: candle for candle in candles}
                assert [one.interval_start for one in candles] == sorted(one.interval_start for one in candles)
                whole = sorted(last)[:-1]
                assert len(whole) >= 2
                assert all(equals(last[minute], emulator.truth(id_, symbol, minute)) for minute in whole)
                if module.FLAGS_FINAL:
                    assert all(last[minute].is_final for minute in whole[1:])

    run(scenario())


@pytest.mark.parametrize("id_", EXCHANGES)
def test_a_pair_that_is_not_listed_takes_no_other_down(id_: str) -> None:
    """Refused, refused in company, or acknowledged and then silent: it is said of that pair, and the others live."""
    settings, module = in_memory(FIRST), like(cast("ModuleType", EXCHANGES[id_]), stale=240.0)

    async def scenario() -> None:
        journal, url = Journal(), settings.exchanges[id_].ws_url.removeprefix("ws://")
        async with Emulator(settings):
            running = asyncio.create_task(
                connection(module, url, journal, settings.clock, "ETH-USDT", "NOSUCH-USDT").run()
            )
            await journal.wait_for({"refused", "stale"})
            before = len(journal.lines("update", "trade"))
            # A refusal of a whole request that names one pair: the others are asked for again when patience is over.
            await journal.wait_for({"update", "trade"}, before + 10)
            alive = [line["symbol"] for line in await journal.wait_for("alive")]
            running.cancel()
            await asyncio.wait({running})
        told = {line["symbol"] for line in journal.lines("status") if line["status"] == "refused"}
        told |= {line["symbol"] for line in journal.lines("status") if line["status"] == "stale"} - {"ETH-USDT"}
        assert told == {"NOSUCH-USDT"}
        assert {line["symbol"] for line in journal.lines("update", "trade", "snapshot")} == {"ETH-USDT"}
        assert "ETH-USDT" in alive

    run(scenario())
