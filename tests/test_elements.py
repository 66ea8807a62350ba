"""What exchanges really send: an element that cannot be read costs itself, is kept, and its minute has a cause."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream import elements
from stream.exchanges import EXCHANGES, binance, kraken, okx
from stream.lake import layout
from stream.lake.folder import FolderLake
from stream.live.exchange_clock import ExchangeClock
from stream.live.intake import Intake
from stream.wire import MINUTE, Candle, Fetched, Misfit, Novelty, Response, Subscribed, milliseconds
from tasks.hour import evidence, rest_hour, silver_hour, stream_hour
from tests import fuzz
from tests.boundaries.hour import Still
from tests.sim.world import HOUR

TEN_COLUMNS = (
    '{"arg":{"channel":"candle1m","instId":"BTC-USDT"},"data":[["1762777200000","106021.5","106034.9","106005.2",'
    '"106019.8","4.81720533","510723.18","510723.18","1","0"]]}'
)
NOON = datetime(2025, 11, 10, 12, 20, tzinfo=UTC)
pytestmark = pytest.mark.usefixtures("fresh_eyes")


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_whatever_comes_is_read_or_kept(exchange: str) -> None:
    """No error but MessageError, no neighbour lost, no value that was not sent. `make explore` tries others."""
    assert [fault for number in range(500) for fault in fuzz.spoilt(exchange, number)] == []


@pytest.mark.parametrize("exchange", ["coinbase", "kraken", "okx"])
def test_a_reader_that_gives_up_is_noticed(exchange: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As all of them were: one bad element, and the whole message or answer is refused."""
    monkeypatch.setattr(elements, "each", lambda raws, read, _about: [read(raw) for raw in raws])
    assert any(fault for number in range(100) for fault in fuzz.spoilt(exchange, number))


def test_further_columns_are_ignored_and_said() -> None:
    """As OKX and Gate have appended some."""
    candle, new = okx.parse_message(TEN_COLUMNS)
    assert isinstance(candle, Candle) and isinstance(new, Novelty)
    assert (candle.close, candle.volume, candle.quote_volume) == (106019.8, 4.81720533, 510723.18)
    assert candle.is_final
    assert new.what.startswith("rows have 10 columns, 9 are known")


def test_what_is_new_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """By all connections that share a tally."""
    tally = Counter[str]()
    for number in range(2):
        intake = Intake(exchange=okx, symbols={"BTC-USDT": "BTC-USDT"}, name=f"r/{number}", tally=tally)
        assert intake.take(TEN_COLUMNS.encode(), NOON).count(b"\n") == 1
    assert [record.message for record in caplog.records] == [
        "r/0: new in what the exchange sends: rows have 10 columns, 9 are known: what the new ones mean is not"
    ]


def test_an_optional_field_may_be_empty_and_a_count_written_as_anything() -> None:
    """A whole number is one, however it is written; empty is null; anything else is refused."""
    assert [elements.number(value) for value in (None, "", "1.5", 2.5, 3)] == [None, None, 1.5, 2.5, 3.0]
    assert [elements.count(value) for value in (None, "", "3", 3.0, "3.0", 0)] == [None, None, 3, 3, 3, 0]
    for value in ("x", "1_000", 3.5):
        with pytest.raises(elements.UNREADABLE):
            elements.count(value)
    text = like_kraken(trades=3.0, volume=8.3e-07)
    (candle,) = kraken.parse_message(f'{{"channel":"ohlc","type":"update","data":[{text}]}}')
    assert isinstance(candle, Candle) and candle.trade_count == 3


def like_kraken(minute: datetime = NOON, symbol: str | None = "BTC/USDT", **changed: Any) -> str:
    """An element of Kraken's stream."""
    prices = {"open": 1.0, "high": 2.0, "low": 1.0, "close": 1.5, "trades": 3, "volume": 2.0, "vwap": 1.25}
    return json.dumps({"symbol": symbol, **prices, "interval_begin": minute.isoformat(), "interval": 1, **changed})


def heard(intake: Intake, *parts: str, kind: str = "update", now: datetime) -> list[dict[str, Any]]:
    """The lines that a message of these elements becomes."""
    message = f'{{"channel":"ohlc","type":"{kind}","data":[{",".join(parts)}]}}'
    return [json.loads(line) for line in intake.take(message.encode(), now).splitlines()]


def test_a_bad_element_of_the_stream_costs_its_minute() -> None:
    """Its neighbours are recorded; the message is kept; nobody takes the update before it for the last one."""
    symbols = {"BTC/USDT": "BTC-USDT", "ETH/USDT": "ETH-USDT"}
    intake, began = Intake(exchange=kraken, symbols=symbols, name="r/1"), NOON - MINUTE
    intake.ask(list(symbols), began)
    intake.since.update(dict.fromkeys(symbols, began))
    now = NOON + timedelta(seconds=70)
    intake.alive(NOON, NOON + MINUTE, now)
    lines = heard(intake, like_kraken(close=9.0), like_kraken(NOON + MINUTE, "ETH/USDT"), now=now)
    kinds = ["alive", "status", "update", "rejected"]
    back, status, update, rejected = sorted(lines, key=lambda line: kinds.index(line["event_type"]))
    assert (back["event_type"], back["interval_start"], back["since"]) == ("alive", "2025-11-10T12:20:00Z", _z(now))
    assert (status["status"], status["symbol"], status["interval_start"]) == ("rejected", "BTC-USDT", _z(NOON))
    assert update["symbol"] == "ETH-USDT"
    assert "cannot be one candle" in rejected["reason"] and json.loads(rejected["message"])["data"][1]["close"] == 1.5
    assert intake.since == {"BTC/USDT": now, "ETH/USDT": began}
    assert intake.tally == {"candles": 1, "rejected": 1}


def _z(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("element", "doubtful", "minute"),
    [
        (like_kraken(symbol="?"), {"BTC-USDT", "ETH-USDT"}, NOON + MINUTE),  # a pair of nobody: not even a misfit
        (like_kraken(close="x", symbol=None), {"BTC-USDT", "ETH-USDT"}, NOON),
        (like_kraken(interval_begin=7), {"BTC-USDT"}, NOON + MINUTE),
        (like_kraken(NOON - timedelta(days=400), close="x"), {"BTC-USDT"}, NOON + MINUTE),
    ],
)
def test_as_far_as_it_can_be_told_what_it_is_about(element: str, doubtful: set[str], minute: datetime) -> None:
    """Where the pair is not known, any pair; where the minute is not, the one that it is."""
    symbols = {"BTC/USDT": "BTC-USDT", "ETH/USDT": "ETH-USDT"}
    intake, now = Intake(exchange=kraken, symbols=symbols, name="r/1"), NOON + timedelta(seconds=70)
    lines = heard(intake, like_kraken(NOON + MINUTE), element, now=now)
    said = [(line["symbol"], line["interval_start"]) for line in lines if line["event_type"] == "status"]
    assert said == ([] if '"?"' in element else [(symbol, _z(minute)) for symbol in sorted(doubtful)])
    assert [line["event_type"] for line in lines if line["event_type"] != "status"] == ["update", "rejected"]


def test_one_time_that_cannot_be_does_not_turn_the_clock() -> None:
    """Else the recorder would claim a hundred years of minutes. Said twice, it is believed: our clock may be wrong."""
    (sound,) = kraken.parse_message(f'{{"channel":"ohlc","type":"update","data":[{like_kraken()}]}}')
    assert isinstance(sound, Candle)
    clock, now, far = ExchangeClock("kraken"), NOON + timedelta(seconds=30), NOON + timedelta(days=36_500)
    for said in (NOON, far, NOON):
        clock.saw(msgspec.structs.replace(sound, event_ts=said), now)
    assert clock.there(now) == NOON
    for _ in range(2):
        clock.saw(msgspec.structs.replace(sound, event_ts=far), now)
    assert clock.there(now) == far


def rows(bad: int | None) -> list[list[Any]]:
    """Binance's answer about the hour, with a row before and one behind it; one does not begin on the minute."""
    return [
        [
            milliseconds(HOUR + n * MINUTE) + (14_789 if n == bad else 0),
            *("8000.00", "8001.00", "7999.00", "8000.50", "1.00000000"),
            milliseconds(HOUR + (n + 1) * MINUTE) - 1,
            *("8000.20000000", 5, "0.5", "4000.1", "0", "new"),
        ]
        for n in range(-1, 61)
    ]


def ask(bad: int | None, calls: Counter[str]) -> rest_hour.Ask:
    """REST that answers so."""

    def answer(symbol: str, start: datetime, end: datetime) -> Fetched:
        calls["asked"] += 1
        dialogue, now = binance.fetch_candles(symbol, start, end), HOUR + timedelta(minutes=63)
        next(dialogue)
        with pytest.raises(StopIteration) as done:
            dialogue.send(Response(status=200, body=json.dumps(rows(bad)).encode(), server_time=now, recv_ts=now))
        fetched: Fetched = done.value.value
        return fetched

    return answer


def test_a_bad_row_of_rest_costs_its_minute(tmp_path: Path) -> None:
    """The other 59 are used; it is kept once, however often it comes; a later answer may have it."""
    lake, calls = FolderLake(tmp_path), Counter[str]()

    def run(bad: int | None, *, again: bool = False) -> dict[str, Any]:
        evidence.look_again()
        stream_hour.make(lake, "binance", ("BTC-USDT",), HOUR)
        assert rest_hour.make(lake, "binance", ("BTC-USDT",), HOUR, ask(bad, calls), Still(), again=again) == []
        silver_hour.make(lake, "binance", ("BTC-USDT",), HOUR, keep_empty=True)
        facts = silver_hour.facts_of(lake, HOUR, [("binance", "BTC-USDT")])["binance", "BTC-USDT"]
        assert facts is not None
        return facts

    for again in (False, True, True):
        facts = run(17, again=again)
        assert (facts["rest"], facts["missing"]) == (59, 1)
        assert facts["causes"] == {f"{HOUR + 17 * MINUTE:%Y-%m-%dT%H:%M:%SZ}": "rejected"}
    (kept,) = lake.objects("bronze/rejected/")
    line = json.loads(lake.get(kept.key))
    assert (line["exchange"], line["symbol"]) == ("binance", "BTC-USDT") and "not on the minute" in line["reason"]
    assert json.loads(line["message"]) == rows(17)[18]
    assert kept.key == layout.rejected_key("binance", HOUR, kept.key.rpartition("/")[2])
    assert run(None, again=True)["rest"] == 60
    assert calls["asked"] == 4


def test_a_row_of_no_known_time_leaves_no_minute_proven_empty() -> None:
    """It may be about any minute that has none."""
    fetched = Fetched(
        odd=[Misfit(native_symbol="A-B", minute=None, reason="it has no time", payload="[]")],
        covered_start=HOUR,
        covered_end=HOUR + 3 * MINUTE,
    )
    odd = [one for one in fetched.odd if isinstance(one, Misfit)]
    found = rest_hour._rejected(fetched, odd, (HOUR, HOUR + 3 * MINUTE))
    assert list(found) == [HOUR, HOUR + MINUTE, HOUR + 2 * MINUTE]


def test_a_message_of_several_knows_its_requests() -> None:
    """An acknowledgement beside what cannot be read is still one."""
    text = '{"event":"subscribe","arg":{"channel":"candle1m","instId":"BTC-USDT"},"id":"1","new":1}'
    (done,) = okx.parse_message(text)
    assert done == Subscribed(native_symbol="BTC-USDT", request_id=1)
