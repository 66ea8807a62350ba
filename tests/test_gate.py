"""What only Gate does: 10,000 rows and not one more, bounds or a limit, two volumes, flags that may be missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from stream.emulator.market import Market
from stream.emulator.venue import Session
from stream.emulator.venues.gate import Gate
from stream.errors import MessageError
from stream.exchanges import gate
from stream.wire import MINUTE, Candle, Fetched, Misfit, Notice, Pong, Record, Refused, Request, Response, Subscribed
from tests.emulated import END, FIRST, equals
from tests.recording import payload

NOW = FIRST + timedelta(days=20, seconds=30)
CURRENT = NOW - timedelta(seconds=30)
VENUE = Gate("gate", Market("gate"), ("ETH-USDT",))
MINUTES = datetime.fromisoformat("2026-07-17T08:36:00Z")
"""The payloads' minute."""
Asked = tuple[list[Request], Fetched]


def converse(symbol: str, start: datetime, end: datetime, answer: Callable[[Request], Response]) -> Asked:
    """The whole dialogue."""
    dialogue = gate.fetch_candles(symbol, start, end)
    asked = [next(dialogue)]
    try:
        while True:
            asked.append(dialogue.send(answer(asked[-1])))
    except StopIteration as done:
        return asked, done.value


def emulated_at(now: datetime) -> Callable[[Request], Response]:
    """The emulated exchange's answers, which must not be refusals; our own clock is a day ahead."""

    def answer(request: Request) -> Response:
        got = VENUE.get(request.path, request.query, now)
        said = Response(status=got.status, body=got.text(), server_time=now, recv_ts=now + timedelta(days=1))
        assert gate.refusal(said) is None, got
        return said

    return answer


@pytest.mark.parametrize(
    ("minutes_ago", "count", "requests"),
    [(62, 60, 1), (95, 60, 2), (700, 60, 2), (2500, 2440, 4), (9990, 60, 2), (30, 5000, 1)],
    ids=["hour just ended", "half of it newest", "older", "pages", "oldest", "into the future"],
)
def test_every_row_comes_once_by_requests_that_are_not_refused(minutes_ago: int, count: int, requests: int) -> None:
    """The newest rows come first, and are used where they meet what was asked for; then page by page."""
    start = CURRENT - minutes_ago * MINUTE
    end = start + count * MINUTE
    asked, fetched = converse("ETH-USDT", start, end, emulated_at(NOW))
    assert len(asked) == requests
    assert [set(one.query) & {"from", "to", "limit"} for one in asked] == [
        {"limit"},
        *[{"from", "to"}] * (requests - 1),
    ]
    known = min(end, CURRENT)
    assert [one.interval_start for one in fetched.candles] == [
        start + n * MINUTE for n in range((known - start) // MINUTE)
    ]
    assert all(equals(one, VENUE.market.bar("ETH-USDT", one.interval_start)) for one in fetched.candles)
    assert (fetched.covered_start, fetched.covered_end) == (start, known)
    assert (fetched.silence, fetched.beyond_history) == ("no_trade_if_alive", False)
    assert (fetched.previous_close is None) == (minutes_ago == 9990)


def test_what_lies_beyond_the_history_is_not_asked_for() -> None:
    """Part of a range is read as far back as it goes, older ones not at all; either way it is said."""
    oldest = CURRENT - 9990 * MINUTE
    asked, fetched = converse("ETH-USDT", oldest - 30 * MINUTE, oldest + 30 * MINUTE, emulated_at(NOW))
    assert len(asked) == 2
    assert [one.interval_start for one in fetched.candles] == [oldest + n * MINUTE for n in range(30)]
    assert (fetched.covered_start, fetched.beyond_history) == (oldest, True)
    for end in (oldest, oldest - 5000 * MINUTE):
        asked, fetched = converse("ETH-USDT", end - 60 * MINUTE, end, emulated_at(NOW))
        assert len(asked) == 1
        assert (fetched.candles, fetched.covered_start, fetched.beyond_history) == ([], None, True)


def test_a_silent_minute_is_a_row_without_a_message() -> None:
    """In the emulated exchange: the stream's silence is no fault there, and REST can prove it."""
    bars = [VENUE.market.bar("ETH-USDT", FIRST + n * MINUTE) for n in range(200)]
    silent = [bar for bar in bars if bar is not None and not bar.trade_count]
    assert silent
    assert not any(VENUE.planned(bar) for bar in silent)
    fetched = converse("ETH-USDT", silent[0].start, silent[0].start + MINUTE, emulated_at(END))[1]
    assert [(one.volume, one.is_final) for one in fetched.candles] == [(0, True)]


def test_the_emulated_exchange_refuses_what_the_real_one_does() -> None:
    """Too old, too many, a limit with bounds, another interval, an unknown pair."""
    minute = int(CURRENT.timestamp())
    good = {"currency_pair": "ETH_USDT", "interval": "1m"}
    for query, told in (
        ({"from": minute - 10_000 * 60, "to": minute - 9_990 * 60}, "too long ago"),
        ({"from": minute - 1000 * 60, "to": minute}, "too broad"),
        ({"from": minute - 60, "to": minute, "limit": 2}, "limit"),
        ({"limit": 1001}, "too broad"),
        ({"interval": "5m"}, "interval"),
        ({"from": "x"}, "a number"),
        ({"currency_pair": "NOSUCH_USDT"}, "NOSUCH_USDT"),
    ):
        got = VENUE.get("/api/v4/spot/candlesticks", good | {name: str(value) for name, value in query.items()}, NOW)
        assert got.status == 400
        assert told in got.text().decode()
    assert VENUE.get("/api/v4/nothing", {}, NOW).status == 404
    assert VENUE.get("/api/v4/spot/time", {}, NOW).text() == b'{"server_time":%d}' % (NOW.timestamp() * 1000)


def read(rows: list[list[str]], now: datetime) -> Fetched:
    """What these rows say about ten minutes, at that time."""
    answer = Response(status=200, body=json.dumps(rows).encode(), server_time=now, recv_ts=now)
    return converse("BTC-USDT", MINUTES, MINUTES + 10 * MINUTE, lambda _: answer)[1]


def test_the_last_column_says_what_is_finished_and_the_clock_where_it_is_missing() -> None:
    """The flag is believed at any time; rows of seven columns, as there were once, are judged by the time."""
    rows = json.loads(payload("gate/rest/candles.json"))
    assert [one.is_final for one in read(rows, MINUTES + 60 * MINUTE).candles] == [True] * 3
    short = [row[:7] for row in rows]
    assert [one.is_final for one in read(short, MINUTES + timedelta(seconds=200)).candles] == [None] * 3
    assert len(read(short, MINUTES + 60 * MINUTE).candles) == 4


def test_a_minute_without_a_row_is_silent_if_the_stream_was() -> None:
    """Whether silent minutes have rows is not known: one that has none is covered, and what it means is left open."""
    rows = json.loads(payload("gate/rest/candles.json"))
    fetched = read([row for row in rows if row[6] != "0"], MINUTES + timedelta(seconds=200))
    assert [f"{one.interval_start:%M}" for one in fetched.candles] == ["36", "38"]
    assert f"{fetched.covered_start:%M} {fetched.covered_end:%M} {fetched.silence}" == "36 39 no_trade_if_alive"


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (('"1m_BTC', '"5m_BTC'), "interval was '5m'"),
        (('"a":"1.704912"', '"a":"107148.9"'), "may be swapped"),
        (('"a":"1.704912",', ""), "missing required field `a`"),  # as they were in 2021
        (('"t":"1784277360"', '"t":"1784277370"'), "not on the minute"),
    ],
)
def test_what_is_no_whole_minute_is_refused(change: tuple[str, str], names: str) -> None:
    """Other intervals, volumes taken for each other, and messages without the base volume."""
    (misfit,) = gate.parse_message(payload("gate/ws/candle_final.json").replace(*change))
    assert isinstance(misfit, Misfit) and names in misfit.reason
    assert misfit.minute == datetime(2026, 7, 17, 8, 36, tzinfo=UTC)


def test_another_channel_is_refused() -> None:
    """The futures' candles have another meaning."""
    with pytest.raises(MessageError, match=r"futures\.candlesticks"):
        gate.parse_message(payload("gate/ws/candle_final.json").replace("spot.candlesticks", "futures.candlesticks"))


def test_a_candle_says_no_more_than_its_message() -> None:
    """The symbol has underscores of its own, the flag and the time in milliseconds may be missing."""
    text = payload("gate/ws/candle_final.json")
    (candle,) = gate.parse_message(text)
    assert isinstance(candle, Candle)
    assert (candle.native_symbol, candle.volume, candle.quote_volume) == ("BTC_USDT", 1.704912, 107148.9454464)
    (bare,) = gate.parse_message(text.replace(',"w":true', "").replace('"time_ms":1784277421634,', ""))
    assert bare == msgspec.structs.replace(
        candle, is_final=None, event_ts=None, payload=candle.payload.replace(',"w":true', "")
    )


def test_answers_name_their_pair() -> None:
    """By the payload that they repeat, else by the number; one that names nobody is not taken for everybody's."""
    text = payload("gate/ws/ack_subscribe.json")
    assert gate.parse_message(text) == [Subscribed(native_symbol="BTC_USDT", request_id=1)]
    unnamed = payload("gate/ws/ack_without_payload.json")
    assert gate.parse_message(unnamed) == [Subscribed(native_symbol=None, request_id=1)]
    for broken in (unnamed.replace('"id":1,', ""), text.replace("success", "fail")):
        with pytest.raises(MessageError, match="unknown kind"):
            gate.parse_message(broken)
    (refused,) = gate.parse_message(payload("gate/ws/refused_pair.json"))
    assert isinstance(refused, Refused)
    assert (refused.native_symbol, refused.reason) == ("NOSUCH_USDT", "error 2: unknown currency pair: NOSUCH_USDT")


def test_an_upgrade_is_announced_bare_or_wrapped() -> None:
    """Spot's documents show it bare, the futures' stream wraps it: both ask for a replacement."""
    for name in ("notice_upgrade", "notice_upgrade_wrapped"):
        (notice,) = gate.parse_message(payload(f"gate/ws/{name}.json"))
        assert isinstance(notice, Notice)
        assert notice.closing and notice.detail.endswith("Please reconnect.")
    with pytest.raises(MessageError, match="unknown kind"):
        gate.parse_message('{"type":"party","msg":"Come."}')


def test_protocol() -> None:
    """One pair a request; an acknowledgement has the current candle behind it, also where nobody trades."""
    session = Session(1, "/ws/v4/", NOW)

    def say(text: str) -> list[Record]:
        return [record for answer in VENUE.reply(session, text, NOW) for record in gate.parse_message(answer)]

    assert VENUE.serves(gate.stream_url(gate.WS_URL).removeprefix("wss://api.gateio.ws"))
    assert gate.STREAM.keepalive is not None
    assert say(gate.STREAM.keepalive.text) == [Pong()]
    done, current = say(gate.subscribe(["ETH_USDT"], 7))
    assert done == Subscribed(native_symbol="ETH_USDT", request_id=7)
    assert isinstance(current, Candle)
    assert (current.interval_start, current.is_final) == (CURRENT, False)
    (refused,) = say(gate.subscribe(["FOO_USDT"], 8))
    assert isinstance(refused, Refused)
    assert (refused.native_symbol, refused.request_id) == ("FOO_USDT", 8)
    assert list(session.channels) == ["1m_ETH_USDT"]
    assert say(gate.unsubscribe(["ETH_USDT"], 9)) == []
    assert session.channels == {}
    (untaken,) = say(gate.unsubscribe(["FOO_USDT"], 10))
    assert isinstance(untaken, Refused)
    assert (untaken.native_symbol, untaken.request_id) == (None, 10)
    subscribe = gate.subscribe(["ETH_USDT"], 1)
    for text in ("{", "[]", subscribe.replace(':0,"id', ':"0","id'), subscribe.replace('"1m",', "")):
        assert isinstance(say(text)[0], Refused)
