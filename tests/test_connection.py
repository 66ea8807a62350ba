"""A connection against an exchange on loopback that follows a script: what it writes, what it proves, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import msgspec
import pytest
from websockets.asyncio.server import ServerConnection

from stream.clock import Clock, floor
from stream.errors import SpoolFull
from stream.exchanges import binance, gate, kraken
from stream.live.connection import Connection
from stream.live.intake import Intake
from stream.wire import MINUTE, Exchange, Keepalive, Pong
from tests.recording import Journal, acknowledge, connection, exchange_server, kline, like, payload, read
from tests.sim.loop import LoopClock, run

MOMENT = datetime(2026, 11, 22, 6, 59, tzinfo=UTC)


@contextlib.asynccontextmanager
async def running(one: Connection) -> AsyncIterator[asyncio.Task[str]]:
    """The connection lives during the block, and is stopped after it."""
    task = asyncio.create_task(one.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def ever(socket: ServerConnection, _number: int) -> None:
    """Acknowledge everything, send nothing."""
    while True:
        await acknowledge(socket)


def test_candles_are_written_in_order_with_the_life_of_the_subscription() -> None:
    """Connected, subscribed, candles as they came, disconnected with the reason."""

    async def script(socket: ServerConnection, _: int) -> None:
        await acknowledge(socket)
        for close in (1.1, 1.2, 1.3):
            await socket.send(kline("BTCUSDT", MOMENT, close))
        await socket.close(1001, "good night")

    async def go() -> None:
        journal = Journal()
        async with exchange_server(script) as url:
            one = connection(binance, url, journal, LoopClock(), "BTC-USDT", "ETH-USDT")
            assert "1001 good night" in await one.run()
            assert one.ready.is_set() and one.intake.candles == 3
        words = [line.get("status") or line["close"] for line in journal.lines()]
        assert words == [*["connected"] * 2, *["subscribed"] * 2, 1.1, 1.2, 1.3, *["disconnected"] * 2]
        assert {line["conn"] for line in journal.lines()} == {"test/1"}
        first = journal.lines("update")[0]
        assert first["payload"] == json.dumps(json.loads(kline("BTCUSDT", MOMENT, 1.1))["data"]["k"])

    run(go())


def test_a_minute_is_alive_from_its_acknowledgement_on_and_after_a_pong() -> None:
    """Alive lines come for each minute once, at its end, and `since` is when the subscription was acknowledged."""

    async def go() -> None:
        journal, clock = Journal(), LoopClock()
        async with exchange_server(ever) as url, running(connection(binance, url, journal, clock, "BTC-USDT")):
            lines = await journal.wait_for("alive", 3)
        (subscribed,) = (line for line in journal.lines("status") if line["status"] == "subscribed")
        assert {line["since"] for line in lines} == {subscribed["recv_ts"]}
        ends = [datetime.fromisoformat(line["interval_end"]) for line in lines]
        assert ends == [ends[0] + n * MINUTE for n in range(len(ends))]
        assert ends[0] - MINUTE < datetime.fromisoformat(subscribed["recv_ts"]) < ends[0]
        assert all(
            datetime.fromisoformat(line["recv_ts"]) >= end + timedelta(seconds=5)
            for line, end in zip(lines, ends, strict=True)
        )

    run(go())


class _LastWord(ServerConnection):
    """Says something just before it answers a ping."""

    def data_received(self, data: bytes) -> None:
        if self.response is not None and data[0] & 0x0F == 0x9:
            self.protocol.send_text(kline("BTCUSDT", MOMENT - timedelta(hours=1), 1.75).encode())
        super().data_received(data)


def test_what_was_sent_before_the_pong_is_written_before_the_alive_line() -> None:
    """The proof covers everything that the exchange had sent until then."""

    async def go() -> None:
        journal, clock = Journal(), LoopClock()
        async with (
            exchange_server(ever, kind=_LastWord) as url,
            running(connection(binance, url, journal, clock, "BTC-USDT")),
        ):
            await journal.wait_for("alive", 3)
        kinds = [line["event_type"] for line in journal.lines("alive", "update")]
        assert kinds.count("alive") == 3
        assert all(kinds[n - 1] == "update" for n, kind in enumerate(kinds) if kind == "alive")

    run(go())


def test_a_line_that_does_not_answer_proves_nothing() -> None:
    """Messages go on, but pings stay unanswered: no alive line, and the connection is given up."""

    async def script(socket: ServerConnection, _: int) -> None:
        await acknowledge(socket)
        socket.transport.pause_reading()
        while True:
            await socket.send(kline("BTCUSDT", MOMENT))
            await asyncio.sleep(0.02)

    async def go() -> None:
        journal = Journal()
        async with exchange_server(script) as url:
            reason = await connection(binance, url, journal, LoopClock(), "BTC-USDT").run()
        assert "ping was not answered" in reason
        assert journal.lines("update") and not journal.lines("alive")
        assert journal.lines("status")[-1]["status"] == "disconnected"

    run(go())


def test_a_dead_line_is_noticed_without_any_minute_ending() -> None:
    """Nothing at all for the exchange's idle time ends the connection."""

    async def script(socket: ServerConnection, _: int) -> None:
        await acknowledge(socket)
        socket.transport.pause_reading()
        await asyncio.sleep(60)

    async def go() -> None:
        async with exchange_server(script) as url:
            reason = await connection(like(binance, idle=0.1), url, Journal(), LoopClock(), "BTC-USDT").run()
        assert "nothing at all arrived" in reason

    run(go())


def test_a_silent_line_that_answers_pings_stays() -> None:
    """Silence is not death: the exchange is asked before the connection is given up."""

    async def go() -> None:
        async with exchange_server(ever) as url:
            one = connection(like(binance, idle=0.1), url, Journal(), LoopClock(), "BTC-USDT")
            async with running(one) as task:
                await asyncio.sleep(600)
                assert not task.done()

    run(go())


def test_a_clock_that_is_set_ends_the_connection() -> None:
    """Minutes that our clock skipped are not vouched for."""

    class Leaping(LoopClock):
        leap = timedelta(0)

        def now(self) -> datetime:
            return super().now() + Leaping.leap

    async def go() -> None:
        journal, clock = Journal(), Leaping()
        async with exchange_server(ever) as url, running(connection(binance, url, journal, clock, "BTC-USDT")) as task:
            await journal.wait_for("alive", 1)
            Leaping.leap = timedelta(hours=2)
            assert "clock" in await task
        assert len(journal.lines("alive")) < 10

    run(go())


def test_a_snapshot_becomes_a_line_for_each_candle_with_its_own_payload() -> None:
    """Nine candles in one message: nine lines, nine payloads, byte for byte."""
    text = payload("kraken/ws/candle_snapshot.json")
    elements = [bytes(raw).decode() for raw in _elements(text)]

    async def script(socket: ServerConnection, _: int) -> None:
        await socket.recv()
        await socket.send(payload("kraken/ws/ack_subscribe.json"))
        await socket.send(text)
        await socket.send(payload("kraken/ws/candle_final.json"))
        await socket.close()

    async def go() -> None:
        journal = Journal()
        async with exchange_server(script) as url:
            await connection(kraken, url, journal, LoopClock(), "BTC-USDT").run()
        snapshots = journal.lines("snapshot")
        assert [line["payload"] for line in snapshots] == elements and len(elements) > 1
        assert len({line["interval_start"] for line in snapshots}) == len(elements)
        assert len(journal.lines("update")) == 1

    run(go())


def _elements(text: str) -> list[msgspec.Raw]:
    class Message(msgspec.Struct):
        data: list[msgspec.Raw]

    return msgspec.json.decode(text, type=Message).data


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ('{"stream":"btcusdt@kline', "truncated"),
        ("not json at all", "malformed"),
        ('{"e":"weather","s":"BTCUSDT"}', "unknown kind"),
        ('{"data":' + "[" * 100_000, "recursion"),
        (kline("BTCUSDT", MOMENT, l="3.0"), "cannot be one candle"),
        (kline("BTCUSDT", MOMENT + timedelta(seconds=7)), "not on the minute"),
        (kline("BTCUSDT", MOMENT, i="5m"), "interval was '5m'"),
        (kline("DOGEUSDT", MOMENT), "wrong symbol: 'DOGEUSDT'"),
    ],
    ids=["truncated", "malformed", "unknown", "deep", "low above high", "off the minute", "interval", "symbol"],
)
def test_a_bad_message_is_kept_with_its_reason_and_stops_nobody(message: str, reason: str) -> None:
    """It is kept verbatim and counted, and the next pair's candle is recorded."""

    async def script(socket: ServerConnection, _: int) -> None:
        await acknowledge(socket)
        await socket.send(message)
        await socket.send(kline("ETHUSDT", MOMENT))
        await socket.close()

    async def go() -> None:
        journal = Journal()
        async with exchange_server(script) as url:
            one = connection(binance, url, journal, LoopClock(), "BTC-USDT", "ETH-USDT")
            await one.run()
        (rejected,) = journal.lines("rejected")
        assert rejected["message"] == message and reason in rejected["reason"]
        assert rejected["exchange"] == "binance" and rejected["conn"] == "test/1"
        assert one.intake.tally == {"rejected": 1, "candles": 1}
        assert [line["symbol"] for line in journal.lines("update")] == ["ETH-USDT"]

    run(go())


@pytest.mark.parametrize(
    ("message", "doubtful"),
    [
        (kline("BTCUSDT", MOMENT, l="3.0"), {"BTC-USDT"}),
        ('{"stream":"btcusdt@kli', {"BTC-USDT", "ETH-USDT"}),
        ('{"e":"weather"}', set()),
    ],
    ids=["names one", "breaks off", "names none"],
)
def test_after_a_bad_message_liveness_begins_anew_for_those_it_may_concern(message: str, doubtful: set[str]) -> None:
    """It may have been a candle's last update: nothing from before it may be proven by what comes later."""

    async def script(socket: ServerConnection, _: int) -> None:
        await acknowledge(socket)
        await asyncio.sleep(1)
        await socket.send(message)
        await asyncio.sleep(60)

    async def go() -> None:
        journal, clock = Journal(), LoopClock()
        async with (
            exchange_server(script) as url,
            running(connection(binance, url, journal, clock, "BTC-USDT", "ETH-USDT")),
        ):
            alive = await journal.wait_for("alive", 2)
        (rejected,) = journal.lines("rejected")
        assert {line["symbol"] for line in alive if line["since"] == rejected["recv_ts"]} == doubtful

    run(go())


@pytest.mark.parametrize("size", [(4 << 20) + 1, 100_000_000])
def test_a_message_beyond_the_limit_ends_only_its_connection(size: int) -> None:
    """It is refused at its header, noted with the limit, and another connection goes on."""

    async def script(socket: ServerConnection, number: int) -> None:
        await acknowledge(socket)
        if number == 1:
            await socket.send(b"x" * size, text=True)
        while True:
            await socket.send(kline("ETHUSDT", MOMENT))
            await asyncio.sleep(0.01)

    async def go() -> None:
        large, other = Journal(), Journal()
        async with exchange_server(script) as url:
            reason = await connection(binance, url, large, LoopClock(), "BTC-USDT").run()
            async with running(connection(binance, url, other, LoopClock(), "ETH-USDT")):
                await other.wait_for("update", 3)
        assert "larger than the limit of 4194304 bytes" in reason
        (rejected,) = large.lines("rejected")
        assert rejected["reason"] == reason and rejected["message"] == ""
        assert large.lines("status")[-1]["detail"] == reason

    run(go())


def test_a_pair_that_falls_silent_is_subscribed_again_alone() -> None:
    """The silent pair gets a status line and a new subscription; its liveness begins anew, the other's goes on."""
    requests: list[list[str]] = []

    async def script(socket: ServerConnection, _: int) -> None:
        async def talk() -> None:
            while True:
                await socket.send(kline("ETHUSDT", MOMENT))
                await asyncio.sleep(0.02)

        requests.append(await acknowledge(socket))
        talking = asyncio.create_task(talk())
        try:
            while True:
                requests.append(await acknowledge(socket))
        finally:
            talking.cancel()
            await asyncio.wait({talking})

    async def go() -> None:
        journal = Journal()
        exchange: Exchange = like(binance, stale=0.5, requests_per_second=100)
        async with exchange_server(script) as url:
            one = connection(exchange, url, journal, LoopClock(), "BTC-USDT", "ETH-USDT")
            async with running(one):
                stale = await journal.wait_for("stale")
                await journal.wait_for("subscribed", 3)
                assert one.intake.since["BTCUSDT"] > one.intake.since["ETHUSDT"]
        assert [line["symbol"] for line in stale] == ["BTC-USDT"]
        assert requests[1:3] == [["UNSUBSCRIBE", "btcusdt@kline_1m"], ["SUBSCRIBE", "btcusdt@kline_1m"]]

    run(go())


def test_many_pairs_are_subscribed_in_batches() -> None:
    """No request carries more pairs than the exchange takes, and all are acknowledged."""
    requests: list[list[str]] = []

    async def script(socket: ServerConnection, _: int) -> None:
        while True:
            requests.append(await acknowledge(socket))

    async def go() -> None:
        exchange = like(binance, pairs_per_request=2, requests_per_second=100)
        async with exchange_server(script) as url:
            one = connection(exchange, url, Journal(), LoopClock(), *(f"A{n}-USDT" for n in range(5)))
            async with running(one):
                await one.ready.wait()
        assert [len(request) - 1 for request in requests] == [2, 2, 1]

    run(go())


@pytest.mark.parametrize(
    ("exchange", "answer", "symbols", "refused"),
    [
        (binance, "binance/ws/refused_request.json", ["BTC-USDT"], ["BTC-USDT"]),
        (kraken, "kraken/ws/refused_pair.json", ["BTC-USDT", "XBT-USDT"], ["XBT-USDT"]),
    ],
    ids=["binance", "kraken"],
)
def test_a_refused_subscription_is_a_status_line(
    exchange: ModuleType, answer: str, symbols: list[str], refused: list[str]
) -> None:
    """The exchange's own words are kept, for the pairs that it refused."""

    async def script(socket: ServerConnection, _: int) -> None:
        await socket.recv()
        await socket.send(payload(answer))
        await asyncio.sleep(60)

    async def go() -> None:
        journal = Journal()
        async with exchange_server(script) as url, running(connection(exchange, url, journal, LoopClock(), *symbols)):
            lines = await journal.wait_for("refused")
        assert [line["symbol"] for line in lines] == refused
        assert lines[0]["detail"] in payload(answer) or "Invalid request" in lines[0]["detail"]

    run(go())


def refuse_company(bad: str) -> tuple[list[list[str]], Any]:
    """A script that refuses every request which names this stream, without saying why; and the requests it saw."""
    requests: list[list[str]] = []

    async def script(socket: ServerConnection, _: int) -> None:
        while True:
            request = json.loads(await socket.recv())
            requests.append(request["params"])
            refused = {"code": 2, "msg": "Invalid request", "id": request["id"]}
            good = {"result": None, "id": request["id"]}
            await socket.send(json.dumps(refused if bad in request["params"] else good))

    return requests, script


def test_one_bad_pair_does_not_take_the_others_of_its_request_down() -> None:
    """A batch that is refused as a whole is asked for pair by pair: the good ones live, the bad one is named."""
    requests, script = refuse_company("c-usdt@kline_1m".replace("-", ""))

    async def go() -> None:
        journal = Journal()
        exchange = like(binance, requests_per_second=200)
        async with exchange_server(script) as url:
            one = connection(exchange, url, journal, LoopClock(), "A-USDT", "B-USDT", "C-USDT", "D-USDT")
            async with running(one):
                await one.ready.wait()
                assert set(one.intake.since) == {"AUSDT", "BUSDT", "DUSDT"}
                assert one.intake.refused == {"CUSDT"}
        (refused,) = [line for line in journal.lines("status") if line["status"] == "refused"]
        assert refused["symbol"] == "C-USDT"
        assert [len(request) for request in requests] == [4, 1, 1, 1, 1]

    run(go())


def test_the_greeting_comes_before_any_pair() -> None:
    """What the exchange wants to hear first is sent first, on every connection."""
    heard: list[str] = []

    async def script(socket: ServerConnection, _: int) -> None:
        heard.append(str(await socket.recv()))
        heard.extend(await acknowledge(socket))

    async def go() -> None:
        exchange = like(binance, greeting="hello", first_request=5.0, requests_per_second=100)
        async with exchange_server(script) as url:
            await connection(exchange, url, Journal(), LoopClock(), "BTC-USDT").run()
        assert heard == ["hello", "SUBSCRIBE", "btcusdt@kline_1m"]

    run(go())


def test_what_is_sent_tells_its_time_where_the_exchange_wants_to_know() -> None:
    """Requests and text pings: the clock's seconds, at the moment of sending, stand where the exchange's rule says."""
    times: list[int] = []

    async def script(socket: ServerConnection, _: int) -> None:
        for answer in ("ack_subscribe", "pong_spot", "pong_spot"):
            times.append(json.loads(await socket.recv())["time"])
            await socket.send(payload(f"gate/ws/{answer}.json"))

    async def go() -> None:
        clock = LoopClock()
        before = int(clock.now().timestamp())
        async with exchange_server(script) as url:
            await connection(gate, url, Journal(), clock, "BTC-USDT").run()
        assert before <= times[0] < times[1] < times[2] <= clock.now().timestamp()

    run(go())


def test_a_connection_that_cannot_ask_in_time_says_so() -> None:
    """The exchange would hang up without a word: the reason is told by us."""

    async def script(socket: ServerConnection, _: int) -> None:
        while True:
            await socket.recv()

    async def go() -> None:
        exchange = like(binance, greeting="hello", first_request=5.0, requests_per_second=0.1)
        async with exchange_server(script) as url:
            reason = await connection(exchange, url, Journal(), LoopClock(), "BTC-USDT").run()
        assert "nothing could be asked for within" in reason

    run(go())


def test_an_hour_s_requests_are_not_exceeded() -> None:
    """The third request waits until the first is an hour old."""
    times: list[datetime] = []

    async def go() -> None:
        clock = LoopClock()

        async def script(socket: ServerConnection, _: int) -> None:
            while True:
                await acknowledge(socket)
                times.append(clock.now())

        exchange = like(binance, requests_per_hour=2, pairs_per_request=1, requests_per_second=100)
        async with exchange_server(script) as url:
            one = connection(exchange, url, Journal(), clock, "A-USDT", "B-USDT", "C-USDT")
            async with running(one):
                await one.ready.wait()
        assert times[1] - times[0] < timedelta(minutes=20)
        assert times[2] - times[0] >= timedelta(minutes=55)

    run(go())


def pinging(every: float = 20.0) -> Exchange:
    """A Binance that wants to hear `ping` and says `pong`."""
    return like(
        binance,
        keepalive=Keepalive(text="ping", every=every),
        parse_message=lambda message: [Pong()] if message == b"pong" else binance.parse_message(message),
    )


def test_text_pings_keep_the_line_and_prove_it() -> None:
    """They come regularly, data or not, and what was sent before the pong is written before the alive line."""
    pings = 0

    async def script(socket: ServerConnection, _: int) -> None:
        nonlocal pings
        await acknowledge(socket)
        async for text in socket:
            assert text == "ping"
            pings += 1
            await socket.send(kline("BTCUSDT", MOMENT, 1.75))
            await socket.send("pong")

    async def go() -> None:
        journal, clock = Journal(), LoopClock()
        async with exchange_server(script) as url, running(connection(pinging(), url, journal, clock, "BTC-USDT")):
            await journal.wait_for("alive", 3)
        kinds = "".join("u" if line["event_type"] == "update" else "A" for line in journal.lines("alive", "update"))
        assert "AA" not in kinds and kinds.count("u") == pings >= 9

    run(go())


def test_text_pings_without_an_answer_end_the_connection() -> None:
    """The websocket itself still answers pings: that is the proxy, not the exchange."""

    async def script(socket: ServerConnection, _: int) -> None:
        await acknowledge(socket)
        while True:
            await socket.recv()

    async def go() -> None:
        journal = Journal()
        async with exchange_server(script) as url:
            reason = await connection(pinging(0.1), url, journal, LoopClock(), "BTC-USDT").run()
        assert "ping was not answered" in reason
        assert not journal.lines("alive")

    run(go())


def test_an_announced_end_asks_for_a_replacement_and_the_exchange_s_state_is_noted() -> None:
    """`serverShutdown` sets `replace`; what the exchange says about itself is a status line of every pair."""

    async def script(socket: ServerConnection, _: int) -> None:
        await acknowledge(socket)
        await socket.send(payload("binance/ws/notice_shutdown.json"))
        await asyncio.sleep(60)

    async def go() -> None:
        journal = Journal()
        async with exchange_server(script) as url:
            one = connection(binance, url, journal, LoopClock(), "BTC-USDT", "ETH-USDT")
            async with running(one):
                await one.replace.wait()
        lines = await journal.wait_for("exchange", 2)
        assert lines[0]["detail"].startswith("shutdown")

    run(go())


def test_a_connection_asks_to_be_replaced_before_the_exchange_cuts_it() -> None:
    """Ten to twenty minutes before the end of its life, at the latest after a minute where that is short."""

    async def go() -> None:
        clock = LoopClock()
        async with exchange_server(ever) as url:
            one = connection(like(binance, lifetime=3600), url, Journal(), clock, "BTC-USDT")
            began = clock.now()
            async with running(one):
                await one.replace.wait()
            assert timedelta(minutes=39) < clock.now() - began < timedelta(minutes=56)

    run(go())


def test_a_spool_that_refuses_ends_the_connection() -> None:
    """What cannot be written is not taken: the connection closes and the error is raised."""

    class Full(Journal):
        def append(self, lines: bytes) -> None:
            if b'"update"' in lines:
                raise SpoolFull("The spool is full.")
            super().append(lines)

    async def script(socket: ServerConnection, _: int) -> None:
        await acknowledge(socket)
        await socket.send(kline("BTCUSDT", MOMENT))
        await asyncio.sleep(60)

    async def go() -> None:
        journal = Full()
        async with exchange_server(script) as url:
            with pytest.raises(SpoolFull):
                await connection(binance, url, journal, LoopClock(), "BTC-USDT").run()
        assert "spool" in journal.lines("status")[-1]["detail"]

    run(go())


@pytest.mark.parametrize("url", ["127.0.0.1:9", "nowhere.invalid:1", "127.0.0.1:notaport"])
def test_an_address_that_does_not_answer_is_a_reason(url: str) -> None:
    """A failed dial is told, not raised, and leaves no line."""

    async def go() -> None:
        journal = Journal()
        assert "could not be opened" in await connection(binance, url, journal, Clock(), "BTC-USDT").run()
        assert not journal.lines()

    asyncio.run(go())


def test_the_minute_that_was_joined_in_its_middle_is_alive_from_then() -> None:
    """`since` lies inside the first minute, so that readers can tell that its beginning was not heard."""

    async def go() -> None:
        journal, clock = Journal(), LoopClock()
        async with exchange_server(ever) as url, running(connection(binance, url, journal, clock, "BTC-USDT")):
            (first, *_) = await journal.wait_for("alive")
        since = datetime.fromisoformat(first["since"])
        assert floor(since, MINUTE) == datetime.fromisoformat(first["interval_start"]) < since

    run(go())


@pytest.mark.parametrize("skew", [2, 90, -90, 10_800, -10_800])
def test_a_clock_that_differs_from_the_exchanges_claims_no_minute_too_early(skew: int) -> None:
    """Minutes are over by the exchange's clock; where ours is behind, the subscription began later than we think."""
    start = datetime(2026, 11, 22, 7, tzinfo=UTC)
    off = timedelta(seconds=skew)
    intake = Intake(exchange=binance, symbols={"BTCUSDT": "BTC-USDT"}, name="test/1")
    acknowledged, heard = start - MINUTE + off, start + off
    intake.ask(["BTCUSDT"], acknowledged)
    intake.take(b'{"result":null,"id":1}', acknowledged)
    assert intake.clock.there(acknowledged) is None
    intake.take(kline("BTCUSDT", start).encode(), heard)
    assert intake.clock.there(heard) == pytest.approx(start, abs=timedelta(seconds=0.01))
    (line,) = read(intake.alive(start, start + MINUTE, heard + MINUTE))
    assert datetime.fromisoformat(line["since"]) == pytest.approx(
        max(acknowledged, acknowledged - off), abs=timedelta(seconds=0.01)
    )


def test_the_date_of_the_handshake_tells_where_it_agrees_and_where_nothing_else_does() -> None:
    """A quiet pair's last trade is old: it is no clock that is wrong, if the exchange's own says so."""
    now = datetime(2026, 11, 22, 7, tzinfo=UTC)

    def lag(said: float | None, message: float | None) -> float | None:
        intake = Intake(exchange=binance, symbols={"BTCUSDT": "BTC-USDT"}, name="test/1")
        if said is not None:
            intake.clock.dated(now - timedelta(seconds=said), now)
        if message is not None:
            intake.take(kline("BTCUSDT", now - timedelta(seconds=message)).encode(), now)
        return None if intake.clock.lag is None else round(intake.clock.lag.total_seconds())

    assert lag(None, None) is None
    assert lag(1, None) == 1 and lag(3600, None) == 3600
    assert lag(None, 3600) == 3600
    assert lag(1, 3600) == 1  # the date agrees with our clock: the message is old
    assert lag(3600, 3540) == 3540 and lag(-3600, 0) == 0  # it does not: the message tells


def test_a_clock_that_is_ten_minutes_ahead_finishes_nothing_early(caplog: pytest.LogCaptureFixture) -> None:
    """A report from the field: an unfinished candle counted as finished, and nothing corrected it."""
    intake = Intake(exchange=kraken, symbols={"BTC/USD": "BTC-USD"}, name="test/1")
    lines, proven = b"", None
    intake.ask(["BTC/USD"], datetime(2025, 11, 10, 12, 5, tzinfo=UTC))
    for step in map(json.loads, payload("kraken/clock-ahead.jsonl").splitlines()):
        now = datetime.fromisoformat(step.get("ours", "2025-11-10T12:05:00Z"))
        if step["do"] == "message":
            lines += intake.take(step["message"].encode(), now)
        elif step["do"] == "minute_over":
            there = intake.clock.there(now)
            assert there == datetime.fromisoformat(step["exchange_clock"])
            proven = intake.alive(floor(there, MINUTE) - 10 * MINUTE, floor(there, MINUTE), now)
            intake.clock.complain(intake.tally, Clock())
    assert proven
    assert {line["interval_end"] for line in read(proven)} <= {
        f"2025-11-10T{at}:00Z" for at in ("11:56", "11:57", "11:58", "11:59", "12:00")
    }
    (said,) = (record.getMessage() for record in caplog.records if record.levelname == "ERROR")
    assert "0:10:30 ahead of that of kraken" in said
