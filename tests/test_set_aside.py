"""What was set aside is listed by reason, and what a parser understands by now goes into the hours it belongs to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from stream import bronze
from stream.clock import HOUR
from stream.lake import layout
from stream.lake.folder import FolderLake
from stream.wire import Fetched
from tasks.commands import cli, rejected_page
from tasks.hour import evidence, rest_hour, set_aside, silver_hour, stream_hour
from tasks.tables import parquet
from tests.boundaries.hour import Still
from tests.lakes import update, upload
from tests.processes import still

pytestmark = pytest.mark.usefixtures("fresh_eyes")
NOON = datetime(2025, 11, 10, 12, tzinfo=UTC)
BTC = "BTC-USDT"
FINAL = (
    '{"arg":{"channel":"candle1m","instId":"BTC-USDT"},"data":[["1762777200000","106021.5","106034.9","106005.2",'
    '"106019.8","4.81720533","510723.18","510723.18","1","0"]]}'
)
TORN_ONE = FINAL.replace('"106034.9"', '"?"')
ROW = '[1762777380000,"106038.1","106044.3","106038.1","106040.1","0.5",1762777439999,"53020.1",3,"0.1","9.8","0"]'


def keep(lake: FolderLake, exchange: str, message: str, reason: str, **given: object) -> None:
    """An object of bronze/rejected with one line."""
    facts: dict[str, object] = {"recv_ts": NOON + timedelta(minutes=20), "conn": "rec/1"} | given
    line = bronze.RejectedLine(exchange=exchange, reason=reason, message=message, **facts)  # type: ignore[arg-type]
    number = len(lake.objects(f"bronze/rejected/exchange={exchange}/"))
    lake.put(layout.rejected_key(exchange, NOON, f"rec-{number}.jsonl"), bronze.encode(line))


def stored(lake: FolderLake) -> list[str]:
    """All keys that reading anew made."""
    keys = [one.key for part in ("stream", "rest") for one in lake.objects(f"bronze/{part}/")]
    return [key for key in keys if "/again-" in key]


def test_a_message_that_is_understood_by_now_is_late_evidence(lake: FolderLake) -> None:
    """It goes into its pair's hour as it came then, once; the hour's tasks take it."""
    keep(lake, "okx", FINAL, "okx: rows have 10 columns")
    pairs = [("okx", BTC)]
    found = set_aside.look(lake, pairs, again=False)
    (tally,) = found.tallies.values()
    assert (tally.lines, tally.readable, found.hours, stored(lake)) == (1, 1, set(), [])
    stream_hour.make(lake, "okx", [BTC], NOON)
    assert set_aside.look(lake, pairs, again=True).hours == {NOON}
    (key,) = stored(lake)
    assert key.startswith(layout.stream_prefix("okx", BTC, NOON))
    assert set_aside.look(lake, pairs, again=True).hours == set() and stored(lake) == [key]

    evidence.look_again()
    assert not stream_hour.is_current(lake, "okx", [BTC], NOON)
    stream_hour.make(lake, "okx", [BTC], NOON)
    rest_hour.make(lake, "okx", [BTC], NOON, lambda *_: Fetched(), Still())
    silver_hour.make(lake, "okx", [BTC], NOON, keep_empty=True)
    (candle,) = parquet.read(lake, layout.silver_key("okx", BTC, NOON))[0].to_pylist()
    assert (candle["source"], candle["close"], candle["ingestion_ts"]) == (
        "stream",
        106019.8,
        NOON + timedelta(minutes=20),
    )


def test_a_row_of_rest_goes_to_the_answers(lake: FolderLake) -> None:
    """If it is about the hour that was asked about; else it may have been an unfinished one."""
    keep(lake, "binance", ROW, "Expected `int`", conn=None, symbol=BTC, recv_ts=NOON + HOUR)
    keep(lake, "binance", ROW.replace("17627773", "17627813"), "Expected `int`", conn=None, symbol=BTC)
    found = set_aside.look(lake, [], again=True)
    (tally,) = found.tallies.values()
    assert (tally.lines, tally.readable, found.hours) == (2, 1, {NOON})
    (key,) = stored(lake)
    assert key.startswith(layout.rest_prefix("binance", BTC, NOON))
    stream_hour.make(lake, "binance", [BTC], NOON)
    rest_hour.make(lake, "binance", [BTC], NOON, lambda *_: Fetched(), Still())
    silver_hour.make(lake, "binance", [BTC], NOON, keep_empty=True)
    (candle,) = parquet.read(lake, layout.silver_key("binance", BTC, NOON))[0].to_pylist()
    assert (candle["source"], candle["close"], candle["trade_count"]) == ("rest", 106040.1, 3)


def test_a_line_in_a_wrong_folder_finds_its_own(lake: FolderLake) -> None:
    """The hour beside it, of the same pair; nothing is made of a torn one, nor of one of a pair that nobody records."""
    lost = update("binance", BTC, NOON + HOUR, 60.01, is_final=True)
    stranger = update("binance", "XYZ-USDT", NOON, 60.01, is_final=True)
    upload(lake, "binance", BTC, NOON, [lost, stranger, bronze.encode(lost)[:90] + b"\n"])
    assert stream_hour.make(lake, "binance", [BTC], NOON) == 3
    found = set_aside.look(lake, [], again=True)
    assert found.hours == {NOON + HOUR}
    assert sorted((tally.lines, tally.readable) for tally in found.tallies.values()) == [(1, 0), (1, 0), (1, 1)]
    (key,) = stored(lake)
    assert lake.get(key) == bronze.encode(lost)


def test_what_is_still_none_stays_where_it_is(lake: FolderLake) -> None:
    """A bad element beside a good one, a pair that was not subscribed, what no parser reads, a damaged spool."""
    keep(lake, "okx", TORN_ONE.replace("]]}", "],") + FINAL.partition('"data":[')[2], "Expected `float`, got `str`")
    keep(lake, "okx", FINAL, "wrong symbol: 'BTC-USDT' was not subscribed on this connection")
    keep(lake, "kraken", "<html>", "kraken: not JSON")
    keep(lake, "someexchange", '{"symbol":"BTC/USDT","kind":"update","row":[1,2]}', "someexchange through ccxt: short")
    lake.put(layout.rejected_key("unknown", NOON, "rec-0000000000001-damaged.txt"), b"\0\0\0\n")
    found = set_aside.look(lake, [("okx", BTC), ("kraken", BTC)], again=True)
    assert len(found.tallies) == 5 and all(tally.readable == 0 for tally in found.tallies.values())
    assert len(stored(lake)) == 1  # the good element


@pytest.mark.parametrize(
    ("exchange", "message", "symbol"),
    [
        ("coinbase", '{"start":"1762777380","low":"1","high":"3","open":"2","close":"2","volume":"0.5"}', "BTC-USD"),
        ("bybit", '["1762777380000","2","3","1","2","0.5","1.0"]', BTC),
        ("gate", '["1762777380","1.0","2","3","1","2","0.5","true"]', BTC),
        ("kraken", '[1762777380,"2","3","1","2","2","0.5",3]', BTC),
        ("okx", '["1762777380000","2","3","1","2","0.5","1.0","1.0","1"]', BTC),
        ("binanceus", ROW, BTC),
        ("someexchange", "[1762777380000,2,3,1,2,0.5]", BTC),
    ],
)
def test_rows_of_every_exchange(lake: FolderLake, exchange: str, message: str, symbol: str) -> None:
    """Each module reads its own rows."""
    keep(lake, exchange, message, "behind", conn=None, symbol=symbol)
    assert set_aside.look(lake, [], again=True).hours == {NOON}
    assert stored(lake)[0].startswith(layout.rest_prefix(exchange, symbol, NOON))


@pytest.mark.parametrize(
    ("exchange", "message", "symbol"),
    [
        (
            "coinbase",
            '{"trade_id":"7","product_id":"BTC-USD","price":"2","size":"1","time":"2025-11-10T12:23:01Z","side":"BUY"}',
            "BTC-USD",
        ),
        ("kraken", '["2","1",1762777381.5,"b","l","",7]', BTC),
    ],
)
def test_trades_of_rest_are_read_too(lake: FolderLake, exchange: str, message: str, symbol: str) -> None:
    """They become trades of their hour."""
    keep(lake, exchange, message, "behind", conn=None, symbol=symbol)
    assert set_aside.look(lake, [], again=True).hours == {NOON}
    assert b'"event_type":"trade"' in lake.get(stored(lake)[0])


def test_reasons_are_told_together(lake: FolderLake) -> None:
    """Whatever the pair and the number; the page says what can be done."""
    for symbol, value in (("BTCUSDT", 1.5), ("ETHUSDT", 27.0), ("1000SATSUSDT", 3e-9)):
        reason = f"{symbol} 2025-11-10T12:23:00Z: open {value}, high 1.0, low 2.0, close 1.0 cannot be one candle"
        keep(lake, "binance", f'{{"{symbol}":0}}', reason)
    keep(lake, "okx", FINAL, "okx: rows have 10 columns")
    found = set_aside.look(lake, [("okx", BTC)], again=False)
    console = Console(record=True, width=160)
    rejected_page.show(found, [], console, again=False)
    rejected_page.show(set_aside.look(lake, [("okx", BTC)], again=True), [], console, again=True)
    text = console.export_text()
    assert {kind.reason: tally.lines for kind, tally in found.tallies.items()} == {
        "… …: open …, high …, low …, close … cannot be one candle": 3,
        "okx: rows have … columns": 1,
    }
    assert "klines rejected --again" in text and "luigi --module tasks GoldHour --hour 2025-11-10T12" in text


def test_the_command(
    lake: FolderLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it is typed, with a luigi.cfg: an hour that is long past has to be asked for."""
    (tmp_path / "luigi.cfg").write_text(still(NOON + 40 * HOUR, {"okx": [BTC]}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LUIGI_CONFIG_PATH", raising=False)
    keep(lake, "okx", FINAL, "okx: rows have 10 columns")
    cli.command_line().main(["rejected"], standalone_mode=False)
    assert "klines rejected --again" in capsys.readouterr().out and not stored(lake)
    cli.command_line().main(["rejected", "--again"], standalone_mode=False)
    assert "Hours with new lines: 1. Hourly takes those of its last 1 by itself." in capsys.readouterr().out
    assert len(stored(lake)) == 1


def test_nothing_is_set_aside(lake: FolderLake) -> None:
    """And that is said."""
    console = Console(record=True)
    rejected_page.show(set_aside.look(lake, [], again=True), [], console, again=True)
    assert console.export_text() == "Nothing is set aside.\n"
