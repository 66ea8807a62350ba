"""What is Coinbase's alone: numbered messages, trades in the place of candles, and how silence is shown over REST."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

from stream.emulator.faults import Faults
from stream.emulator.market import Market
from stream.emulator.server import Emulator
from stream.emulator.venue import Session
from stream.emulator.venues.coinbase import Coinbase
from stream.errors import MessageError, RestError
from stream.exchanges import coinbase
from stream.wire import (
    MINUTE,
    Fetched,
    Misfit,
    Novelty,
    Refused,
    Request,
    Response,
    Sequence,
    Subscribed,
    Trade,
    seconds,
)
from tests.emulated import END, FIRST, fetch, in_memory, listen
from tests.sim.loop import run

NOON = datetime.fromisoformat("2026-03-01T12:00:00Z")


def deal(number: int, moment: str, **changed: str) -> dict[str, str]:
    """A trade as the exchange writes it."""
    told = {"trade_id": str(number), "product_id": "BTC-USD", "price": "10", "size": "1", "side": "BUY", "time": moment}
    return told | changed


def pushed(*events: list[dict[str, str]], number: int = 5) -> str:
    """A message with these events."""
    told = [{"type": "update", "trades": deals} for deals in events]
    return json.dumps({"channel": "market_trades", "sequence_num": number, "events": told})


def row(minute: datetime) -> dict[str, str]:
    """A candle as the exchange writes it."""
    prices = {"low": "1", "high": "4", "open": "2", "close": "3", "volume": "9"}
    return {"start": str(seconds(minute)), **prices}


def converse(
    start: datetime, end: datetime, answer: Callable[[Request], dict[str, Any]]
) -> tuple[list[Request], Fetched]:
    """Drives the dialogue with what `answer` says, long after the range."""
    dialogue, late = coinbase.fetch_candles("BTC-USD", start, end), end + timedelta(days=1)
    asked = [next(dialogue)]
    try:
        while len(asked) < 200:
            body = json.dumps(answer(asked[-1])).encode()
            asked.append(dialogue.send(Response(status=200, body=body, server_time=late, recv_ts=late)))
    except StopIteration as done:
        return asked, done.value
    raise AssertionError("it goes on asking")


def test_the_number_comes_first_and_the_trades_in_order() -> None:
    """Newest first, oldest first, or in several events: by time, then by id, whose digits are not compared as text."""
    newest_first = [deal(101, "2026-03-01T12:00:01Z"), deal(100, "2026-03-01T12:00:01Z")]
    earlier = [deal(99, "2026-03-01T12:00:00.5Z")]
    number, *trades = coinbase.parse_message(pushed(newest_first, earlier, number=7))
    assert number == Sequence(number=7)
    assert [one.trade_id for one in trades if isinstance(one, Trade)] == [99, 100, 101]


def test_times_are_cut_off_not_rounded() -> None:
    """Nine digits of a second, eight or six; the last nanosecond of a minute is not the next minute."""
    texts = ("12:00:59.999999999Z", "12:00:59.99999999Z", "12:00:59.999999Z")
    _, *trades = coinbase.parse_message(
        pushed([deal(number, f"2026-03-01T{text}") for number, text in enumerate(texts)])
    )
    assert {one.event_ts for one in trades if isinstance(one, Trade)} == {NOON + MINUTE - timedelta(microseconds=1)}


@pytest.mark.parametrize(
    "changed", [{"side": "UNKNOWN_ORDER_SIDE"}, {"time": "2026-03-01T12:00:00"}, {"size": "0"}, {"trade_id": "x"}]
)
def test_what_is_no_trade_is_refused(changed: dict[str, str]) -> None:
    """A side that is none, a time without a zone, nothing traded, an id that is no number."""
    number, good, misfit = coinbase.parse_message(
        pushed([deal(1, "2026-03-01T12:00:00Z") | changed, deal(2, "2026-03-01T12:00:01Z")])
    )
    assert isinstance(number, Sequence) and isinstance(good, Trade) and isinstance(misfit, Misfit)
    assert misfit.native_symbol == good.native_symbol and misfit.minute == (NOON if "time" not in changed else None)
    with pytest.raises(MessageError):
        coinbase.parse_message('{"channel":"market_trades","sequence_num":1,"events":[{"type":"update"}]}')


def test_the_side_is_the_takers() -> None:
    """The exchange names the resting order's."""
    _, trade = coinbase.parse_message(pushed([deal(1, "2026-03-01T12:00:00Z", side="BUY")]))
    assert isinstance(trade, Trade)
    assert trade.side == "sell"


def test_refusals_name_the_product_if_it_is_one() -> None:
    """Otherwise they are about whatever has not been acknowledged."""
    for reason, named in (
        ("1INCH-USD is not a valid product", "1INCH-USD"),
        ("rate limit exceeded", None),
        ("A-USD, B-USD: invalid", None),
    ):
        refused = Refused(native_symbol=named, request_id=None, reason=reason)
        assert coinbase.parse_message(json.dumps({"type": "error", "message": reason})) == [refused]


def test_books_have_one_name() -> None:
    """BTC-USDC is the book of BTC-USD: left out, unless that is not listed."""

    def listed(*products: tuple[str, str]) -> list[str]:
        told = [{"product_id": p, "status": "online", "trading_disabled": False, "alias": a} for p, a in products]
        return [one.symbol for one in coinbase.parse_instruments(json.dumps({"products": told}).encode())]

    assert listed(("BTC-USD", ""), ("BTC-USDC", "BTC-USD"), ("BTC-EUR", "")) == ["BTC-USD", "BTC-EUR"]
    assert listed(("BTC-USDC", "BTC-USD")) == ["BTC-USDC"]


def test_columns_go_by_their_names() -> None:
    """Low and high come before open and close; no place means anything."""
    turned = dict(reversed(row(NOON).items()))
    _, fetched = converse(NOON, NOON + MINUTE, lambda _: {"candles": [turned, row(NOON - MINUTE)]})
    (candle,) = fetched.candles
    assert (candle.open, candle.high, candle.low, candle.close, candle.volume) == (2, 4, 1, 3, 9)


def test_windows_cover_the_range_and_its_neighbours() -> None:
    """At most 300 minutes each, both bounds said, half an hour more on each side."""
    end = NOON + timedelta(hours=10)

    def answer(request: Request) -> dict[str, Any]:
        first, last = int(request.query["start"]), int(request.query["end"])
        if request.path.endswith("/ticker"):
            return {"trades": []}
        assert last - first <= 300 * 60
        return {"candles": [row(NOON + timedelta(seconds=at - seconds(NOON))) for at in range(first, last + 1, 60)]}

    asked, fetched = converse(NOON, end, answer)
    assert [one.path for one in asked[:-1]] == ["/api/v3/brokerage/market/products/BTC-USD/candles"] * 3
    assert int(asked[0].query["start"]) == seconds(NOON) - 1800
    assert int(asked[2].query["end"]) == seconds(end) + 1800
    assert [one.interval_start for one in fetched.candles] == [NOON + n * MINUTE for n in range(600)]
    assert (fetched.covered_start, fetched.covered_end, fetched.trades) == (NOON, end, [])


def exchange(silent: set[int], page: int) -> Callable[[Request], dict[str, Any]]:
    """Forty trades a minute, from half an hour before noon on; so many on a page, whatever was asked for."""
    numbers = itertools.count(1)
    trades = [
        deal(next(numbers), f"{NOON + n * MINUTE + timedelta(seconds=at):%Y-%m-%dT%H:%M:%S.%fZ}")
        for n in range(-30, 90)
        for at in range(10, 50)
        if n not in silent
    ]

    def answer(request: Request) -> dict[str, Any]:
        if request.path.endswith("/candles"):
            return {"candles": [row(NOON + n * MINUTE) for n in range(-30, 90) if n not in silent]}
        bounds = [NOON + timedelta(seconds=int(request.query[name]) - seconds(NOON)) for name in ("start", "end")]
        inside = [one for one in trades if bounds[0] <= datetime.fromisoformat(one["time"]) <= bounds[1]]
        return {"trades": inside[::-1][:page]}

    return answer


def minutes(fetched: Fetched) -> set[int]:
    """Minutes after noon that have trades; all of them whole, no number between them left out."""
    numbers = [one.trade_id or 0 for one in fetched.trades]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    found = [(one.event_ts - NOON) // MINUTE for one in fetched.trades]
    assert {found.count(minute) for minute in found} == {40}
    return set(found)


@pytest.mark.parametrize("silent", [set[int](), {5, 6, 9, 40}])
def test_trades_are_read_from_the_minute_before_to_the_minute_after(silent: set[int]) -> None:
    """Backwards until nothing new comes: a page that has fewer than were asked for may not be the last."""
    asked, fetched = converse(NOON, NOON + 60 * MINUTE, exchange(silent, 100))
    assert {one.query["start"] for one in asked[1:]} == {str(seconds(NOON - MINUTE))}
    assert minutes(fetched) == set(range(-1, 61)) - silent
    assert len(fetched.candles) == 60 - len(silent)
    (_, fetched) = converse(NOON + 5 * MINUTE, NOON + 7 * MINUTE, exchange(silent, 100))
    assert minutes(fetched) == ({4, 7} if silent else {4, 5, 6, 7})


def test_what_candles_lack_is_worth_sixty_pages() -> None:
    """Of the latest minutes, whole ones; for a silence there is no such limit."""
    asked, fetched = converse(NOON, NOON + 60 * MINUTE, exchange(set(), 30))
    assert len(asked) == 1 + 60
    assert minutes(fetched) == set(range(19, 61))  # two trades of each page are the next one's
    assert len(fetched.candles) == 60
    asked, fetched = converse(NOON, NOON + 60 * MINUTE, exchange({1}, 30))
    assert minutes(fetched) == set(range(-1, 61)) - {1}


@pytest.mark.parametrize("silent", [set[int](), {1}])
@pytest.mark.parametrize("error", [RestError("coinbase is away"), None])
def test_without_trades_the_candles_stay_what_they_are(silent: set[int], error: RestError | None) -> None:
    """But where a silence is to be proven, a question that was not answered is asked again by a later run."""
    answer, later = exchange(silent, 1000), NOON + timedelta(days=1)
    dialogue = coinbase.fetch_candles("BTC-USD", NOON, NOON + 10 * MINUTE)
    body = json.dumps(answer(next(dialogue))).encode()
    dialogue.send(Response(status=200, body=body, server_time=later, recv_ts=later))
    empty = Response(status=200, body=b"{}", server_time=later, recv_ts=later)
    go_on = partial(dialogue.throw, error) if error else partial(dialogue.send, empty)
    with pytest.raises((RestError, MessageError) if silent else StopIteration) as raised:
        go_on()
    if isinstance(raised.value, StopIteration):
        fetched = raised.value.value
        assert (len(fetched.candles), fetched.trades) == (10, [])
        assert [type(one) for one in fetched.odd] == ([] if error else [Novelty])


def test_half_a_minute_of_trades_is_not_handed_on() -> None:
    """The minute at which the exchange stopped answering would become a wrong candle."""
    told = [deal(3, "2026-03-01T12:03:05Z"), deal(2, "2026-03-01T12:00:30Z")]
    answers = {"candles": {"candles": [row(NOON), row(NOON + MINUTE), row(NOON + 3 * MINUTE)]}, "ticker": {}}
    for trades, left in ((told, [2, 3]), (told[:1], [])):
        answers["ticker"] = {"trades": trades}
        _, fetched = converse(NOON, NOON + 4 * MINUTE, lambda request: answers[request.path.rpartition("/")[2]])
        assert [one.trade_id for one in fetched.trades] == left
    answers["ticker"] = {"trades": [deal(3, "2026-03-01T12:03:05Z", product_id="ETH-USD")]}
    _, fetched = converse(NOON, NOON + 4 * MINUTE, lambda request: answers[request.path.rpartition("/")[2]])
    (misfit,) = fetched.odd
    assert isinstance(misfit, Misfit) and "a trade of ETH-USD in an answer about BTC-USD" in misfit.reason
    assert fetched.trades == [] and misfit.minute == NOON + 3 * MINUTE


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, "<html>", "retry"),
        (403, "<html>", "retry"),
        (400, '{"errors":[{"id":"rate_limit_exceeded"}]}', "wait"),
        (400, '{"message":"Invalid product_id"}', "unknown_pair"),
        (400, '{"message":"granularity argument is invalid"}', "fatal"),
    ],
)
def test_refusals(status: int, body: str, kind: str) -> None:
    """The firewall passes, a rate limit is waited for, an unknown product is told from a wrong question."""
    refusal = coinbase.refusal(Response(status=status, body=body.encode(), server_time=None, recv_ts=NOON))
    assert refusal is not None
    assert refusal.kind == kind


def test_emulated_protocol() -> None:
    """Acknowledgements name all subscriptions, snapshots are past trades, everything but an error has its number."""
    venue = Coinbase("coinbase", Market("coinbase"), ("BTC-USD", "ETH-USD"))
    session, now = Session(1, "/", FIRST), FIRST + timedelta(seconds=59.99)
    assert coinbase.STREAM.greeting is not None
    said = venue.reply(session, coinbase.STREAM.greeting, now)
    said += venue.reply(session, coinbase.subscribe(["BTC-USD"], 1), now)
    said += venue.reply(session, coinbase.subscribe(["ETH-USD", "NO-USD"], 2), now)
    said += venue.reply(session, coinbase.subscribe(["ETH-USD"], 2), now)
    said += venue.reply(session, coinbase.unsubscribe(["BTC-USD"], 3), now)
    records = [record for text in said for record in coinbase.parse_message(text)]
    assert [one.number for one in records if isinstance(one, Sequence)] == list(range(6))
    assert [one.native_symbol for one in records if isinstance(one, Refused)] == ["NO-USD"]
    acknowledged = [one.native_symbol for one in records if isinstance(one, Subscribed)]
    assert acknowledged == ["BTC-USD", "BTC-USD", "ETH-USD", "ETH-USD"]
    for symbol in ("BTC-USD", "ETH-USD"):
        past = [one for one in records if isinstance(one, Trade) and one.native_symbol == symbol]
        ids = [one.trade_id or 0 for one in past]
        assert ids == list(range(ids[0], ids[0] + 20))
        assert past[-1].event_ts < now
    assert list(session.channels) == ["heartbeats", "ETH-USD"]
    for text in ("{", "[]", '{"type":"dance","channel":"heartbeats"}', '{"type":"subscribe","channel":"candles"}'):
        (error,) = venue.reply(session, text, now)
        assert isinstance(coinbase.parse_message(error)[0], Refused)
    (back,) = venue.reply(session, '{"type":"unsubscribe","channel":"heartbeats"}', now)
    assert coinbase.parse_message(back) == [
        Sequence(number=6),
        Subscribed(native_symbol="ETH-USD", request_id=None),
    ]


def test_a_lost_message_leaves_its_number_out() -> None:
    """Heartbeats are numbered like the rest; where a push is lost, the numbers jump, and so do the trades'."""

    async def heard(faults: Faults) -> tuple[list[int], list[int]]:
        settings = in_memory(FIRST + timedelta(seconds=50))
        async with Emulator(settings, faults):
            records = await listen(settings, coinbase, ["ETH-USDT"], 270)
        ids = [one.trade_id or 0 for one in records if isinstance(one, Trade)]
        return [one.number for one in records if isinstance(one, Sequence)], ids

    numbers, ids = run(heard(Faults()))
    assert numbers == list(range(len(numbers)))
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    numbers, ids = run(heard(Faults(lost_finals=1)))
    assert len(numbers) <= numbers[-1]
    assert len(ids) <= ids[-1] - ids[0]


def test_silence_is_proven_by_the_trades_around_it() -> None:
    """The module's own dialogue: on both sides of a silent minute there are trades, and no id is left out between."""
    settings = in_memory(END + timedelta(days=1))

    async def scenario() -> None:
        async with Emulator(settings, Faults(silent=0.2)) as emulator:
            got = await fetch(settings, coinbase, "ETH-USDT", END, END + timedelta(hours=14))
            minutes = [END + n * MINUTE for n in range(14 * 60)]
            silent = [
                one for one in minutes if (bar := emulator.truth("coinbase", "ETH-USDT", one)) and bar.volume == 0
            ]
            assert len(silent) > 100
            assert {one.interval_start for one in got.candles} == set(minutes) - set(silent)
            for minute in silent:
                before = max((one for one in got.trades if one.event_ts < minute), key=lambda one: one.event_ts)
                after = min((one for one in got.trades if one.event_ts >= minute), key=lambda one: one.event_ts)
                assert (after.trade_id or 0) == (before.trade_id or 0) + 1
            for minute in {one.event_ts.replace(second=0, microsecond=0) for one in got.trades}:
                bar = emulator.truth("coinbase", "ETH-USDT", minute)
                assert bar is not None
                assert sum(minute <= one.event_ts < minute + MINUTE for one in got.trades) == bar.trade_count

    run(scenario())
