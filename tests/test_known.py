"""An old hour about which nothing at all is known is not published, unless it is asked for; and can be taken back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from stream.clock import HOUR
from stream.errors import HourUnknown, RestError
from stream.lake.folder import FolderLake
from stream.settings import WarehouseSettings
from stream.wire import MINUTE, Candle, Fetched
from tasks import GoldHour, Hourly, SilverHour, SilverPair, warehouse
from tasks.commands import cli
from tasks.hour import evidence, known
from tasks.hour.context import Context
from tests.processes import build, still
from tests.versions import candles, ledger

LONG_AGO = datetime(2010, 1, 1, tzinfo=UTC)
ASKED_FOR = LONG_AGO.replace(tzinfo=None)  # as Luigi wants it
NOW = datetime(2025, 11, 10, 14, 30, tzinfo=UTC)
PAIRS = {"binance": ["BTC-USDT", "ETH-USDT"], "kraken": ["BTC-USD"], "okx": list[str]()}
"""Of okx all pairs were taken out, and the line was left."""


class Rest:
    """All exchanges, with one answer, or none; who asked is kept."""

    def __init__(self) -> None:
        self.answer: Fetched | None = Fetched()
        self.asked: list[tuple[str, datetime]] = []

    def candles(self, symbol: str, start: datetime, end: datetime) -> Fetched:  # noqa: ARG002
        """As `stream.any_rest.Rest` does."""
        self.asked.append((symbol, start))
        if self.answer is None:
            raise RestError("The exchange does not answer.")
        return self.answer


@pytest.fixture
def rest(monkeypatch: pytest.MonkeyPatch) -> Rest:
    """Answers that there is nothing, until it is told otherwise."""
    found = Rest()

    @contextmanager
    def client(_context: Context, _exchange: str) -> Iterator[Rest]:
        yield found

    monkeypatch.setattr(Context, "rest", client)
    return found


@pytest.fixture
def context(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    warehouse_settings: WarehouseSettings,
    fresh_eyes: None,  # before the first look
) -> Context:
    """An installation with three pairs, an empty lake and an empty warehouse."""
    config = tmp_path / "luigi.cfg"
    config.write_text(still(NOW, PAIRS, dsn=warehouse_settings.dsn))
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(config))
    return Context.load()


def published(context: Context) -> dict[datetime, int]:
    """Hours and their missing minutes."""
    with psycopg.connect(context.settings.warehouse.dsn) as connection:
        found = connection.execute("SELECT hour, sum(missing) FROM gold.completeness_hourly GROUP BY hour").fetchall()
    return {hour: int(missing) for hour, missing in found}


def drop(hour: str, capsys: pytest.CaptureFixture[str]) -> str:
    """`klines warehouse drop-hour`, and what it prints."""
    capsys.readouterr()
    cli.command_line().main(["warehouse", "drop-hour", hour], standalone_mode=False)
    return " ".join(capsys.readouterr().out.split())


def test_it_is_refused(context: Context, rest: Rest) -> None:
    """Nothing is published, nothing is judged; what was asked is kept, and the sentence says how to have it anyway."""
    assert not build(GoldHour(hour=ASKED_FOR))
    assert published(context) == {}
    assert isinstance(context.lake, FolderLake)
    assert context.lake.objects("silver/") == []
    assert sorted(rest.asked) == sorted((symbol, LONG_AGO) for symbols in PAIRS.values() for symbol in symbols)
    assert not build(SilverPair(exchange="kraken", symbol="BTC-USD", hour=ASKED_FOR))
    assert len(rest.asked) == 3  # what REST answered is known
    with pytest.raises(HourUnknown, match=r"nothing was recorded, and REST has none.*--hour 2010-01-01T00 --backfill"):
        known.check(context, LONG_AGO)


def test_it_is_published_as_a_backfill_and_taken_back(
    context: Context, rest: Rest, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of it is missing then, and makes nothing known about later hours; what was asked stays in the lake."""
    assert build(GoldHour(hour=ASKED_FOR, backfill=True))
    assert published(context) == {LONG_AGO: 180}
    assert not build(SilverHour(hour=ASKED_FOR + HOUR))
    assert isinstance(context.lake, FolderLake)
    asked = context.lake.objects("bronze/")
    said = drop("2010-01-01T00", capsys)
    assert said.startswith("The hour 2010-01-01T00 is gone from silver and from Postgres;")
    assert published(context) == {}
    assert context.lake.objects("silver/") == []
    assert context.lake.objects("bronze/") == asked
    assert drop("2010-01-01T00", capsys) == "Nothing of the hour 2010-01-01T00 is published."
    assert not build(GoldHour(hour=ASKED_FOR))
    assert len(rest.asked) == 6


def test_what_hourly_looks_after_comes_again(context: Context, rest: Rest, capsys: pytest.CaptureFixture[str]) -> None:
    """Its hours are published whatever is known of them: that a running installation misses all of an hour is news."""
    rest.answer = None
    assert build(Hourly(lookback_hours=1))
    assert published(context) == {NOW.replace(minute=0) - HOUR: 180}
    assert drop("2025-11-10T13", capsys).endswith("Hourly will publish it again.")
    assert published(context) == {}


def test_what_did_not_answer_is_asked_again(context: Context, rest: Rest) -> None:
    """At each try: the hour is published as soon as something is known."""
    rest.answer = None
    assert not build(GoldHour(hour=ASKED_FOR))
    with pytest.raises(HourUnknown, match=r"about 3 of them, the first being .* does not answer\. .* REST answers\."):
        known.check(context, LONG_AGO)
    rest.answer = Fetched(
        candles=[
            Candle(
                native_symbol="BTC",
                event_type="snapshot",
                event_ts=None,
                interval_start=LONG_AGO + 7 * MINUTE,
                is_final=None,
                open=1.0,
                high=1.0,
                low=1.0,
                close=1.0,
                volume=1.0,
                payload="[]",
            )
        ]
    )
    assert build(GoldHour(hour=ASKED_FOR))
    assert published(context) == {LONG_AGO: 3 * 59}


def test_a_silence_after_trades_is_known(context: Context, rest: Rest) -> None:
    """REST says at which price the silence began."""
    assert not known.is_known(context, LONG_AGO)
    end = LONG_AGO + HOUR
    rest.answer = Fetched(covered_start=LONG_AGO, covered_end=end, silence="no_trade", previous_close=5.0)
    assert build(GoldHour(hour=ASKED_FOR))
    assert published(context) == {LONG_AGO: 0}


def test_an_hour_of_which_something_was_recorded_is_known(context: Context) -> None:
    """Even if it was only that the recorder ran."""
    key = (
        "bronze/stream/exchange=kraken/symbol=BTC-USD/interval_minutes=1/year=2010/month=01/day=01/hour=00/rec-1.jsonl"
    )
    context.lake.put(key, b"{}\n")
    assert known.is_known(context, LONG_AGO)
    evidence.look_again()
    assert not known.is_known(context, LONG_AGO + HOUR)


def test_an_hour_after_a_published_one_is_known(context: Context) -> None:
    """A running installation that has nothing of an hour misses it."""
    with warehouse.connect(context.settings.warehouse) as house:
        house.publish(LONG_AGO, candles(LONG_AGO), ledger(hour=LONG_AGO))
    assert known.is_known(context, LONG_AGO + timedelta(days=9))
    assert not known.is_known(context, LONG_AGO - HOUR)
