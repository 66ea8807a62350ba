"""One suite for every exchange. A new one adds a module, a line in the registry, a folder, and no test code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream import exchanges
from stream.clock import floor
from stream.errors import MessageError
from stream.wire import (
    MINUTE,
    Candle,
    Exchange,
    Fetched,
    Misfit,
    Notice,
    Pong,
    Record,
    Refused,
    Request,
    Response,
    Sequence,
    Subscribed,
    Trade,
)

PAYLOADS = Path(__file__).parent / "payloads"
FILES = sorted(PAYLOADS.glob("*/*/*.json"))


def about(exchange: str) -> dict[str, Any]:
    """What the exchange's payloads are about."""
    found: dict[str, Any] = json.loads((PAYLOADS / exchange / "about.json").read_text())
    return found


def response(exchange: str, file: Path, status: int = 200) -> Response:
    """The payload as an answer, received when the recording says."""
    when = datetime.fromisoformat(about(exchange)["server_time"])
    return Response(status=status, body=file.read_bytes(), server_time=when, recv_ts=when)


def answer(module: Exchange, file: Path, start: datetime, end: datetime) -> tuple[list[Request], Fetched]:
    """Drives the dialogue with one body for every request for candles."""
    return drive(module, response(module.ID, file), start, end)


def drive(module: Exchange, candles: Response, start: datetime, end: datetime) -> tuple[list[Request], Fetched]:
    """Drives the dialogue; requests that are not for candles are answered with `rest/trades.json`."""
    dialogue = module.fetch_candles(about(module.ID)["symbol"], start, end)
    asked = [next(dialogue)]
    trades = PAYLOADS / module.ID / "rest" / "trades.json"
    try:
        while len(asked) < 20:
            first = asked[-1].path == asked[0].path or "candles" in asked[-1].path
            asked.append(dialogue.send(candles if first else response(module.ID, trades)))
    except StopIteration as done:
        return asked, done.value
    raise AssertionError(f"{module.ID} goes on asking: {asked[-3:]}")


def change_rows(body: bytes, change: Callable[[list[Any]], list[Any]]) -> bytes:
    """The body with its list of rows (the longest list of lists or objects in it) changed."""

    def lists(part: Any) -> Iterator[list[Any]]:
        if isinstance(part, list):
            yield part
        elif isinstance(part, dict):
            for value in part.values():
                yield from lists(value)

    whole = json.loads(body)
    rows = max(lists(whole), key=len)
    rows[:] = change(list(rows))
    return json.dumps(whole).encode()


def candle_of(trades: list[Trade]) -> Candle:
    """The candle of one minute's trades, built here in the plainest way."""
    ordered = sorted(trades, key=lambda one: (one.event_ts, one.trade_id))
    prices = [one.price for one in ordered]
    return Candle(
        native_symbol=ordered[0].native_symbol,
        event_type="update",
        event_ts=None,
        interval_start=floor(ordered[0].event_ts, MINUTE),
        is_final=None,
        open=prices[0],
        high=max(prices),
        low=min(prices),
        close=prices[-1],
        volume=sum(one.size for one in ordered),
        payload="",
    )


def test_registry_equals_the_files() -> None:
    """File name = id = key; a module that nobody registered would be dead code."""
    folder = Path(exchanges.__file__).parent
    modules = {file.stem for file in folder.glob("*.py")} - {"__init__"}
    assert modules == set(exchanges.EXCHANGES) == {module.ID for module in exchanges.EXCHANGES.values()}
    assert modules == {file.parent.name for file in PAYLOADS.glob("*/about.json")}


@pytest.mark.parametrize("file", [f for f in FILES if f.parent.name == "ws"], ids=lambda f: f"{f.parts[-3]}-{f.stem}")
def test_every_message_becomes_what_its_name_says(file: Path) -> None:
    """Candles, acknowledgements, refusals, notices, and silence are told apart."""
    records = exchanges.EXCHANGES[file.parts[-3]].parse_message(file.read_bytes())
    kind = {"candle": Candle, "trade": Trade, "ack": Subscribed, "refused": Refused, "notice": Notice, "pong": Pong}
    name = file.stem.partition("_")[0]
    records = [record for record in records if not isinstance(record, Sequence)]
    if name == "silent":
        assert records == []
    else:
        assert records
        assert all(isinstance(record, kind[name]) for record in records)


@pytest.mark.parametrize("id_", exchanges.EXCHANGES)
def test_stream_and_rest_give_the_same_candle(id_: str) -> None:
    """The same minute, over the socket and over REST, is the same record, apart from how it was received."""
    module, minute = exchanges.EXCHANGES[id_], datetime.fromisoformat(about(id_)["minute"])
    streams_trades = module.TRADES is not None and module.TRADES.streamed
    file = PAYLOADS / id_ / "ws" / ("trade_minute.json" if streams_trades else "candle_final.json")
    records = module.parse_message(file.read_text())
    if streams_trades:
        streamed: Record = candle_of([record for record in records if isinstance(record, Trade)])
    else:
        (streamed,) = records
    _, fetched = answer(module, PAYLOADS / id_ / "rest" / "candles.json", minute, minute + MINUTE)
    assert isinstance(streamed, Candle)
    ways = {"event_type": "update", "event_ts": None, "is_final": None, "payload": ""}
    assert [msgspec.structs.replace(one, **ways) for one in fetched.candles] == [
        msgspec.structs.replace(streamed, **ways)
    ]
    assert streamed.native_symbol == module.native_symbol(about(id_)["symbol"])


@pytest.mark.parametrize("id_", exchanges.EXCHANGES)
def test_each_candle_carries_its_own_element_verbatim(id_: str) -> None:
    """The payload is the candle's part of the message, byte for byte, and no other candle's."""
    module = exchanges.EXCHANGES[id_]
    files = [file for kind in ("candle", "trade") for file in (PAYLOADS / id_ / "ws").glob(f"{kind}_*.json")]
    assert files
    for file in files:
        elements = [one for one in module.parse_message(file.read_bytes()) if isinstance(one, Candle | Trade)]
        for element in elements:
            assert element.payload in file.read_text()
        assert len({element.payload for element in elements}) == len(elements)


@pytest.mark.parametrize("id_", exchanges.EXCHANGES)
def test_final_flag_is_the_exchanges_or_absent(id_: str) -> None:
    """Where the stream flags finished candles, both values occur; where a flag is not sent, is_final is None."""
    module = exchanges.EXCHANGES[id_]
    flags = {
        record.is_final
        for file in (PAYLOADS / id_ / "ws").glob("candle_*.json")
        for record in module.parse_message(file.read_bytes())
        if isinstance(record, Candle)
    }
    assert flags - {None} == ({True, False} if module.FLAGS_FINAL else set())


@pytest.mark.parametrize("id_", exchanges.EXCHANGES)
def test_rest_leaves_the_unfinished_row_out(id_: str) -> None:
    """The newest row is still open at the moment of the recording: it is not handed on, nor is anything outside."""
    minute = datetime.fromisoformat(about(id_)["minute"])
    module = exchanges.EXCHANGES[id_]
    _, fetched = answer(module, PAYLOADS / id_ / "rest" / "candles.json", minute, minute + timedelta(hours=1))
    now = datetime.fromisoformat(about(id_)["server_time"])
    assert fetched.candles
    assert all(minute <= one.interval_start and one.interval_start + MINUTE <= now for one in fetched.candles)
    assert fetched.covered_start == minute
    assert fetched.covered_end == fetched.candles[-1].interval_start + MINUTE
    assert fetched.previous_close is not None


@pytest.mark.parametrize(
    "file",
    [f for f in FILES if f.parent.name == "rest" and f.stem.startswith("refused")],
    ids=lambda f: f"{f.parts[-3]}-{f.stem}",
)
def test_refusals_are_understood(file: Path) -> None:
    """Waiting, trying again, an unknown pair: told apart by status and body, also inside a 200."""
    *kind, status = file.stem.removeprefix("refused_").split("_")
    refusal = exchanges.EXCHANGES[file.parts[-3]].refusal(response(file.parts[-3], file, int(status)))
    assert refusal is not None
    assert refusal.kind == "_".join(kind)


@pytest.mark.parametrize("id_", exchanges.EXCHANGES)
def test_good_answers_are_not_refused(id_: str) -> None:
    """A list of candles is an answer."""
    assert exchanges.EXCHANGES[id_].refusal(response(id_, PAYLOADS / id_ / "rest" / "candles.json")) is None


@pytest.mark.parametrize("id_", exchanges.EXCHANGES)
def test_instruments_speak_canonically(id_: str) -> None:
    """The list gives BASE-QUOTE in capitals, and the native spelling is what the module itself would write."""
    module = exchanges.EXCHANGES[id_]
    listed = module.parse_instruments((PAYLOADS / id_ / "rest" / "instruments.json").read_bytes())
    assert about(id_)["symbol"] in {one.symbol for one in listed}
    assert all(module.native_symbol(one.symbol) == one.native_symbol for one in listed)
    assert all(one.symbol == one.symbol.upper() and one.symbol.count("-") == 1 for one in listed)


@pytest.mark.parametrize("id_", exchanges.EXCHANGES)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "42",
        '"x"',
        "{}",
        '{"channel":"book","data":[{}]}',
        '{"e":"kline","s":"X","k":{}}',
        b"\xff\xfe",
    ],
)
def test_garbage_is_refused(id_: str, text: str | bytes) -> None:
    """What is not understood raises, or is a misfit, so that it is kept; it never becomes an empty list."""
    with suppress(MessageError):
        records = exchanges.EXCHANGES[id_].parse_message(text)
        assert records and all(isinstance(record, Misfit) for record in records)


@pytest.mark.parametrize("id_", exchanges.EXCHANGES)
@pytest.mark.parametrize("body", [b"", b"{", b'{"error":[],"result":{}}', b'[["x"]]', b'{"a":1}'])
def test_broken_rest_bodies_are_refused(id_: str, body: bytes) -> None:
    """A truncated or foreign body is an error: it never means "no data"."""
    module = exchanges.EXCHANGES[id_]
    minute = datetime.fromisoformat(about(id_)["minute"])
    whole = response(id_, PAYLOADS / id_ / "rest" / "candles.json")
    broken = msgspec.structs.replace(whole, body=body)
    if module.refusal(broken) is None:
        with suppress(MessageError):
            _, fetched = drive(module, broken, minute, minute + MINUTE)
            assert not fetched.candles and [one for one in fetched.odd if isinstance(one, Misfit)]


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (("high", 1.0), "cannot be one candle"),
        (("quote_volume", 0.08317981), "may be swapped"),
        (("quote_volume", 9_000.0), "may be swapped"),
        (("volume", -1.0), "not a quantity"),
        (("close", float("nan")), "cannot be one candle"),
        (("interval_start", datetime.fromisoformat("2025-11-10T12:20:15Z")), "not on the minute"),
    ],
)
def test_impossible_candles_are_refused(change: tuple[str, Any], names: str) -> None:
    """Swapped columns, negative volume, no number, off the minute: named, not rounded."""
    from stream.elements import check_candle

    (candle,) = exchanges.EXCHANGES["kraken"].parse_message((PAYLOADS / "kraken/ws/candle_final.json").read_bytes())
    assert isinstance(candle, Candle)
    with pytest.raises(MessageError, match=names):
        check_candle(msgspec.structs.replace(candle, **dict([change])))


def test_other_intervals_are_refused() -> None:
    """Only 1-minute candles are recorded; another interval under the same symbol would corrupt them."""
    text = (PAYLOADS / "binance/ws/candle_final.json").read_text().replace('"i":"1m"', '"i":"1h"')
    (misfit,) = exchanges.EXCHANGES["binance"].parse_message(text)
    assert isinstance(misfit, Misfit) and "'1h'" in misfit.reason
    text = (PAYLOADS / "kraken/ws/candle_final.json").read_text().replace('"interval":1', '"interval":5')
    (misfit,) = exchanges.EXCHANGES["kraken"].parse_message(text)
    assert isinstance(misfit, Misfit) and "interval was 5" in misfit.reason


def test_docstring_payloads_parse() -> None:
    """The message in a parser's docstring is a real one: it goes through that parser."""
    for module in exchanges.EXCHANGES.values():
        text = module.parse_message.__doc__ or ""
        message = "".join(line.strip() for line in text[text.index("{") : text.rindex("}") + 1].splitlines())
        assert any(isinstance(record, Candle | Trade) for record in module.parse_message(message))


@pytest.mark.parametrize("id_", exchanges.EXCHANGES)
def test_subscriptions_name_every_pair(id_: str) -> None:
    """What is sent names all pairs, in the exchange's spelling, and can be taken back; answers find their request."""
    module = exchanges.EXCHANGES[id_]
    symbols = ("BTC-USDT", "1000SATS-USDT")[: module.STREAM.pairs_per_request]
    natives = [module.native_symbol(symbol) for symbol in symbols]
    acks = [
        record
        for file in (PAYLOADS / id_ / "ws").glob("ack_*.json")
        for record in module.parse_message(file.read_bytes())
        if isinstance(record, Subscribed)
    ]
    assert acks
    for text in (module.subscribe(natives, 7), module.unsubscribe(natives, 7)):
        assert all(native.lower() in text.lower() for native in natives)
        if any(ack.native_symbol is None for ack in acks):
            assert "7" in map(str, json.loads(text).values())


@pytest.mark.parametrize("id_", exchanges.EXCHANGES)
def test_rest_rows_may_come_in_any_order(id_: str) -> None:
    """The unfinished row is the newest, wherever it stands in the answer."""
    module, file = exchanges.EXCHANGES[id_], PAYLOADS / id_ / "rest" / "candles.json"
    minute = datetime.fromisoformat(about(id_)["minute"])
    _, expected = answer(module, file, minute, minute + timedelta(hours=1))
    whole = response(id_, file)
    turned = msgspec.structs.replace(whole, body=change_rows(whole.body, lambda rows: rows[::-1]))
    _, fetched = drive(module, turned, minute, minute + timedelta(hours=1))
    assert [one.interval_start for one in fetched.candles] == [one.interval_start for one in expected.candles]
    assert (fetched.covered_start, fetched.covered_end) == (expected.covered_start, expected.covered_end)


@pytest.mark.parametrize("id_", exchanges.EXCHANGES)
def test_an_empty_answer_is_not_no_trades(id_: str) -> None:
    """A 200 with an empty list covers nothing: no minute becomes empty because of it."""
    minute = datetime.fromisoformat(about(id_)["minute"])
    module, whole = exchanges.EXCHANGES[id_], response(id_, PAYLOADS / id_ / "rest" / "candles.json")
    empty = msgspec.structs.replace(whole, body=change_rows(whole.body, lambda _: []))
    assert module.refusal(empty) is None
    _, fetched = drive(module, empty, minute, minute + MINUTE)
    assert (fetched.candles, fetched.covered_start) == ([], None)


def test_binance_pages_until_the_last_short_page() -> None:
    """A range longer than a page is asked for page by page, without a row lost or doubled at the seams."""
    module = exchanges.EXCHANGES["binance"]
    start = datetime.fromisoformat("2025-11-10T00:00:00Z")
    end = start + 2500 * MINUTE
    dialogue = module.fetch_candles("BTC-USDT", start, end)
    request, pages = next(dialogue), 0
    try:
        while True:
            first, last = int(request.query["startTime"]), int(request.query["endTime"])
            opened = range(first, last + 1, 60_000)[: int(request.query["limit"])]
            rows = [[t, "1", "2", "1", "1.5", "3", t + 59_999, "4.5", 2, "0", "0", "0"] for t in opened]
            pages += 1
            body = json.dumps(rows).encode()
            request = dialogue.send(Response(status=200, body=body, server_time=None, recv_ts=end + timedelta(days=1)))
    except StopIteration as done:
        fetched: Fetched = done.value
    assert pages == 3
    assert [one.interval_start for one in fetched.candles] == [start + n * MINUTE for n in range(2500)]


def test_kraken_rebuilds_old_minutes_from_trades() -> None:
    """Minutes older than the 720 rows are asked for as trades, page by page, until one lies after the range."""
    module = exchanges.EXCHANGES["kraken"]
    trades = PAYLOADS / "kraken" / "rest" / "trades.json"
    times = [row[2] for row in json.loads(trades.read_text())["result"]["XBTUSDT"]]
    start = datetime.fromisoformat("2025-11-10T17:30:00Z")
    end = start + timedelta(minutes=20)
    dialogue = module.fetch_candles("BTC-USDT", start, end)
    late = datetime.fromisoformat("2025-11-12T00:00:00Z")
    rows = {"error": [], "result": {"XBTUSDT": [[1762905600, "1", "1", "1", "1", "1", "1", 1]], "last": 1762905600}}
    assert next(dialogue).path == "/0/public/OHLC"
    newest = Response(status=200, body=json.dumps(rows).encode(), server_time=late, recv_ts=late)
    assert dialogue.send(newest).path == "/0/public/Trades"
    with pytest.raises(StopIteration) as done:
        dialogue.send(Response(status=200, body=trades.read_bytes(), server_time=late, recv_ts=late))
    fetched: Fetched = done.value.value
    expected = [t for t in times if start.timestamp() <= t < end.timestamp()]
    assert len(fetched.trades) == len(expected)
    assert (fetched.silence, fetched.covered_start, fetched.covered_end) == ("no_trade", start, end)
    assert fetched.previous_close is not None
