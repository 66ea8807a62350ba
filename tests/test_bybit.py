"""What only Bybit does: a category that is never left out, windows, pings that earn the pushes, refusals of batches."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta

import msgspec
import pytest

from stream.emulator.market import Market
from stream.emulator.server import Emulator
from stream.emulator.venue import Session
from stream.emulator.venues.bybit import Bybit
from stream.errors import MessageError
from stream.exchanges import bybit
from stream.wire import MINUTE, Candle, Exchange, Fetched, Misfit, Pong, Refused, Request, Response, Subscribed
from tests.emulated import FIRST, in_memory
from tests.recording import Journal, connection, like, payload
from tests.sim.loop import run

NOW = FIRST + timedelta(days=1)


def ask_emulator(start: datetime, end: datetime, now: datetime = NOW) -> tuple[list[Request], Fetched]:
    """The dialogue about BTC-USDT with the emulated exchange, without a socket."""
    venue = Bybit("bybit", Market("bybit"), ("BTC-USDT",))
    dialogue = bybit.fetch_candles("BTC-USDT", start, end)
    asked = [next(dialogue)]
    try:
        while True:
            body = venue.get(asked[-1].path, asked[-1].query, now).text()
            asked.append(dialogue.send(Response(status=200, body=body, server_time=None, recv_ts=NOW)))
    except StopIteration as done:
        return asked, done.value


def test_every_request_names_the_category() -> None:
    """Without it the answers are about the perpetual."""
    asked, _ = ask_emulator(FIRST, FIRST + 2500 * MINUTE)
    assert all(one.query["category"] == "spot" for one in (*asked, bybit.instruments_request()))
    assert bybit.stream_url(bybit.WS_URL) == "wss://stream.bybit.com/v5/public/spot"


def test_windows_lose_and_double_nothing() -> None:
    """No window is larger than an answer, and at the seams no row is lost or doubled."""
    start, end = NOW - 2500 * MINUTE, NOW - 60 * MINUTE
    asked, fetched = ask_emulator(start, end)
    assert len(asked) == 3
    assert all(int(one.query["end"]) - int(one.query["start"]) < 1000 * 60_000 for one in asked)
    assert [one.interval_start for one in fetched.candles] == [start + n * MINUTE for n in range(2440)]
    assert (fetched.covered_start, fetched.covered_end) == (start, end)
    assert fetched.previous_close is not None


def test_the_future_is_not_asked_for_and_the_open_candle_is_left_out() -> None:
    """The clock is the one in the body: the window that holds the present is the last."""
    asked, fetched = ask_emulator(NOW - 10 * MINUTE, NOW + 5000 * MINUTE, NOW + timedelta(seconds=30))
    assert len(asked) == 1
    assert fetched.candles[-1].interval_start == NOW - MINUTE
    assert fetched.covered_end == NOW


def test_rows_of_another_market_are_none() -> None:
    """The symbol is the same on the perpetual's side: an answer from there must not pass."""
    body = payload("bybit/rest/candles.json").replace('"spot"', '"linear"').encode()
    dialogue = bybit.fetch_candles("BTC-USDT", FIRST, FIRST + MINUTE)
    next(dialogue)
    with pytest.raises(MessageError, match="linear BTCUSDT"):
        dialogue.send(Response(status=200, body=body, server_time=None, recv_ts=NOW))


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (('"kline.1.', '"kline.5.'), "kline.5.BTCUSDT"),
        (('"snapshot"', '"delta"'), "delta"),
        (('"ts":1772444520003,', ""), "ts=None"),
    ],
)
def test_what_is_no_whole_minute_is_refused(change: tuple[str, str], names: str) -> None:
    """Other topics, parts of candles."""
    with pytest.raises(MessageError, match=names):
        bybit.parse_message(payload("bybit/ws/candle_final.json").replace(*change))


def test_another_interval_costs_its_candle() -> None:
    """It is kept, with what it is about."""
    (misfit,) = bybit.parse_message(payload("bybit/ws/candle_final.json").replace('"interval":"1"', '"interval":"5"'))
    assert isinstance(misfit, Misfit) and "interval was '5'" in misfit.reason
    assert misfit.native_symbol == "BTCUSDT" and misfit.minute is not None


def test_the_boundary_message_has_two_candles() -> None:
    """The one that closes and the one that begins; on the wire both are snapshots."""
    ended, begun = bybit.parse_message(payload("bybit/ws/candle_boundary.json"))
    assert isinstance(ended, Candle) and isinstance(begun, Candle)
    assert (ended.is_final, begun.is_final, ended.event_type) == (True, False, "update")
    assert begun.interval_start - ended.interval_start == MINUTE


def test_answers_are_about_requests() -> None:
    """A refusal never names a pair, an acknowledgement without its number is none, a pong has two shapes."""
    for name in ("pong_spot", "pong_other"):
        assert bybit.parse_message(payload(f"bybit/ws/{name}.json")) == [Pong()]
    (refused,) = bybit.parse_message(payload("bybit/ws/refused_request.json"))
    assert isinstance(refused, Refused)
    assert (refused.native_symbol, refused.request_id) == (None, 1)
    (already,) = bybit.parse_message(payload("bybit/ws/ack_already_subscribed.json"))
    assert already == Subscribed(native_symbol="BTCUSDT", request_id=3)
    with pytest.raises(MessageError, match="unknown kind"):
        bybit.parse_message(payload("bybit/ws/ack_subscribe.json").replace('"1"', '""'))


def test_the_exchange_s_refusals_are_whole() -> None:
    """The emulated exchange takes ten topics, all of them or none, and each only once."""
    venue, session = Bybit("bybit", Market("bybit"), ("BTC-USDT", "ETH-USDT")), Session(1, "/v5/public/spot", FIRST)
    for natives in (["BTCUSDT", "NOSUCH"], ["BTCUSDT"] * 11):
        (answer,) = venue.reply(session, bybit.subscribe(natives, 1), FIRST)
        assert isinstance(bybit.parse_message(answer)[0], Refused)
        assert not session.channels
    for number, natives in ((2, ["BTCUSDT"]), (3, ["ETHUSDT", "BTCUSDT"])):
        (answer,) = venue.reply(session, bybit.subscribe(natives, number), FIRST)
        assert isinstance(bybit.parse_message(answer)[0], Subscribed)
        assert list(session.channels) == ["kline.1.BTCUSDT"]
    (answer,) = venue.reply(session, bybit.unsubscribe(["BTCUSDT"], 4), FIRST)
    assert bybit.parse_message(answer) == [] and not session.channels
    for text in ("{", "[]", '{"op":"nope"}'):
        assert isinstance(bybit.parse_message(venue.reply(session, text, FIRST)[0])[0], Refused)


def test_a_full_connection_is_not_too_long() -> None:
    """Its topics, all with names much longer than any, stay within the exchange's 21,000 characters."""
    natives = ["X" * 30] * bybit.STREAM.pairs_per_connection
    assert len(json.dumps(json.loads(bybit.subscribe(natives, 1))["args"], separators=(",", ":"))) <= 21_000


@pytest.mark.parametrize("pings", [True, False], ids=["pinging", "silent"])
def test_pushes_go_on_for_those_who_ping(pings: bool) -> None:
    """Subscribed alike; but after a minute without a word of the client there are no candles any more."""
    settings = in_memory(FIRST)
    exchange: Exchange = like(bybit) if pings else like(bybit, keepalive=None)

    async def go() -> list[int]:
        counts = []
        async with Emulator(settings):
            journal, url = Journal(), settings.exchanges["bybit"].ws_url.removeprefix("ws://")
            one = connection(exchange, url, journal, settings.clock, "BTC-USDT")
            living = asyncio.create_task(one.run())
            await journal.wait_for("update")
            for wait in (180, 84):
                await asyncio.sleep(wait)
                counts.append(one.intake.candles)
            assert not living.done()
            living.cancel()
            await asyncio.wait({living})
            assert one.intake.tally["rejected"] == 0
        return counts

    before, after = run(go())
    assert before > 1
    assert (after > before) == pings


def test_one_unknown_pair_costs_the_others_nothing() -> None:
    """The request is refused whole, its pairs are asked for alone: the good ones live, the bad one is told of."""
    settings = in_memory(FIRST)

    async def go() -> list[dict[str, object]]:
        async with Emulator(settings):
            journal, url = Journal(), settings.exchanges["bybit"].ws_url.removeprefix("ws://")
            pairs = ("BTC-USDT", "NOSUCH-USDT", "ETH-USDT")
            one = connection(bybit, url, journal, settings.clock, *pairs)
            living = asyncio.create_task(one.run())
            await one.ready.wait()
            await journal.wait_for("alive", 2)
            assert set(one.intake.since) == {"BTCUSDT", "ETHUSDT"}
            living.cancel()
            await asyncio.wait({living})
        return journal.lines("status", "alive")

    lines = run(go())
    refused = [line for line in lines if line.get("status") == "refused"]
    assert [line["symbol"] for line in refused] == ["NOSUCH-USDT"]
    assert refused[0]["detail"] == "Invalid symbol :[kline.1.NOSUCHUSDT]"
    assert {line["symbol"] for line in lines if line["event_type"] == "alive"} == {"BTC-USDT", "ETH-USDT"}


def test_the_clock_of_the_body_decides() -> None:
    """Where the body tells no time, the header does, and last our own clock."""
    minute = datetime.fromisoformat("2026-03-02T09:41:00Z")
    whole = payload("bybit/rest/candles.json")
    untold = whole.replace(',"time":1772444660512', "")
    late = Response(status=200, body=untold.encode(), server_time=None, recv_ts=minute + 60 * MINUTE)
    headed = msgspec.structs.replace(late, server_time=minute + 3 * MINUTE)
    told = msgspec.structs.replace(headed, body=whole.encode(), server_time=minute + 60 * MINUTE)
    counts = []
    for response in (told, headed, late):
        dialogue = bybit.fetch_candles("BTC-USDT", minute, minute + 30 * MINUTE)
        next(dialogue)
        with pytest.raises(StopIteration) as done:
            dialogue.send(response)
        counts.append(len(done.value.value.candles))
    assert counts == [3, 3, 4]
