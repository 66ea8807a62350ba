"""OKX's own ways: `before` and `after`, two addresses for candles, flagged rows, a keep-alive that is no JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from stream.emulator.market import Market
from stream.emulator.venue import Session
from stream.emulator.venues.okx import Okx
from stream.errors import MessageError
from stream.exchanges import okx
from stream.wire import MINUTE, Candle, Fetched, Misfit, Notice, Pong, Record, Refused, Response, Subscribed
from tests.emulated import equals

NOW = datetime(2025, 11, 10, 12, 24, 30, tzinfo=UTC)
VENUE = Okx("okx", Market("okx"), ("ETH-USDT",))
RECENT, OLDER = "/api/v5/market/candles", "/api/v5/market/history-candles"


def read(start: datetime, end: datetime) -> tuple[list[str], Fetched]:
    """The dialogue with the emulated exchange, which has 1,440 recent rows: the paths that were asked, the result."""
    dialogue = okx.fetch_candles("ETH-USDT", start, end)
    request, asked = next(dialogue), []
    try:
        while True:
            asked.append(request.path)
            got = VENUE.get(request.path, request.query, NOW)
            answer = Response(status=got.status, body=got.text(), server_time=None, recv_ts=NOW)
            assert okx.refusal(answer) is None
            request = dialogue.send(answer)
    except StopIteration as done:
        return asked, done.value


@pytest.mark.parametrize(
    ("minutes_ago", "count", "paths"),
    [
        (700, 600, [RECENT] * 3),
        (1430, 60, [RECENT]),
        (1470, 60, [RECENT, OLDER]),
        (3000, 600, [*([RECENT] + [OLDER] * 3) * 2, RECENT, OLDER]),
    ],
    ids=["pages", "reached", "half reached", "history"],
)
def test_pages_of_both_addresses_meet_without_a_row_lost_or_doubled(
    minutes_ago: int, count: int, paths: list[str]
) -> None:
    """What `candles` does not reach comes from `history-candles`, in pages of the fewest rows that it may have."""
    start = NOW.replace(second=0) - minutes_ago * MINUTE
    asked, fetched = read(start, start + count * MINUTE)
    assert asked == paths
    assert [one.interval_start for one in fetched.candles] == [start + n * MINUTE for n in range(count)]
    assert all(equals(one, VENUE.market.bar("ETH-USDT", one.interval_start)) for one in fetched.candles)
    assert (fetched.covered_start, fetched.covered_end) == (start, start + count * MINUTE)
    before = VENUE.market.bar("ETH-USDT", start - MINUTE)
    assert before is not None
    assert fetched.previous_close == float(before.close)


def test_unconfirmed_rows_are_left_out_whatever_the_clock_says() -> None:
    """Two rows whose minutes are long over, but not confirmed: nothing is said about them or what lies behind them."""
    start = NOW.replace(second=0) - 10 * MINUTE
    dialogue = okx.fetch_candles("ETH-USDT", start, start + 6 * MINUTE)
    body = json.loads(VENUE.get(RECENT, next(dialogue).query, NOW).text())
    for row in body["data"][:2]:
        row[8] = "0"
    del body["data"][4]
    with pytest.raises(StopIteration) as done:
        dialogue.send(Response(status=200, body=json.dumps(body).encode(), server_time=NOW, recv_ts=NOW))
    fetched: Fetched = done.value.value
    assert [(one.interval_start - start) // MINUTE for one in fetched.candles] == [0, 1, 3, 4]
    assert (fetched.covered_start, fetched.covered_end) == (start, start + 5 * MINUTE)
    assert fetched.silence == "no_trade_if_alive"


def test_a_message_may_hold_several_rows() -> None:
    """Each row is a candle with its own minute and its own bytes; other intervals are refused."""
    rows = [["1762777200000", "2", "3", "1", "2", "4", "8", "8", "1"], ["1762777260000", *"2222000", "0"]]
    arg = {"channel": "candle1m", "instId": "ETH-USDT"}
    candles = okx.parse_message(json.dumps({"arg": arg, "data": rows}))
    assert [one.is_final for one in candles if isinstance(one, Candle)] == [True, False]
    assert [json.loads(one.payload) for one in candles if isinstance(one, Candle)] == rows
    good, short = okx.parse_message(json.dumps({"arg": arg, "data": [rows[1], rows[0][:7]]}))
    assert isinstance(good, Candle) and isinstance(short, Misfit) and short.minute is not None
    for channel, data in (("candle1m", []), ("candle1M", rows)):
        with pytest.raises(MessageError):
            okx.parse_message(json.dumps({"arg": arg | {"channel": channel}, "data": data}))


def test_protocol() -> None:
    """Acknowledged or refused pair by pair, the current candle at once, on the one path; and the text `pong`."""
    session, now = Session(1, "/ws/v5/business", NOW), NOW + timedelta(seconds=20)

    def say(text: str) -> list[Record]:
        return [record for answer in VENUE.reply(session, text, now) for record in okx.parse_message(answer)]

    assert okx.STREAM.keepalive is not None
    assert say(okx.STREAM.keepalive.text) == [Pong()] == okx.parse_message(b"pong")
    done, current, refused = say(okx.subscribe(["ETH-USDT", "FOO-BAR"], 7))
    assert done == Subscribed(native_symbol="ETH-USDT", request_id=7)
    assert isinstance(current, Candle)
    assert (current.interval_start, current.is_final) == (NOW.replace(second=0), False)
    assert isinstance(refused, Refused)
    assert (refused.native_symbol, refused.request_id) == ("FOO-BAR", 7)
    assert list(session.channels) == ["ETH-USDT"]
    assert say(okx.unsubscribe(["ETH-USDT"], 8)) == []
    assert session.channels == {}
    elsewhere = Session(2, "/ws/v5/public", NOW)
    assert VENUE.serves(elsewhere.target)
    (answer,) = VENUE.reply(elsewhere, okx.subscribe(["ETH-USDT"], 1), now)
    assert json.loads(answer)["code"] == "60018"
    assert not VENUE.serves("/ws")
    for text in ("{", "[]", '{"op":"dance","args":[]}', '{"op":"subscribe","args":[1]}'):
        assert isinstance(say(text)[0], Refused)
    assert msgspec.json.decode(VENUE.get("/api/v5/public/time", {}, NOW).text())["code"] == "0"
    (notice,) = okx.parse_message('{"event":"notice","code":"64008","msg":"Please reconnect.","connId":"1"}')
    assert notice == Notice(system="shutdown", detail="Please reconnect.", closing=True)
