"""The whole pipeline against the emulator with faults: recorder, luigi, lake and Postgres.

An hour is recorded on virtual time; then Luigi's processes run it, as a user would, with the lake on a real S3 server.
The emulator's own candles are the truth. What exchanges and disks do to recorders is tried in `test_worlds.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from stream import settings
from stream.emulator.faults import Faults
from stream.emulator.market import Market
from stream.exchanges import EXCHANGES
from stream.lake import Lake, layout, open_lake
from stream.wire import MINUTE
from tasks.tables import duck, parquet
from tests import truth
from tests.processes import CONFIG, addresses, free_port, pair_lines, process, wait_for
from tests.recording import PATIENCE
from tests.sim.recording import record

HOUR = datetime(2025, 11, 10, 13, tzinfo=UTC)
SEED = 11
FAULTS = Faults(
    seed=SEED,
    disconnects=0.03,
    lost_finals=0.03,
    late_finals=0.05,
    duplicates=0.1,
    reordering=0.05,
    silent=0.05,
    rate_limits=0.2,
    garbage=0.05,
)
PAIRS = {"binance": ["BTC-USDT", "WALK-USDT"], "coinbase": ["WALK-USD"], "kraken": ["BTC-USDT"]}
"""One exchange that flags its final candles, one that does not, and one whose candles are built from trades."""


@dataclass
class Rehearsal:
    """What a rehearsed hour left behind."""

    environment: dict[str, str]
    lake: Lake
    dsn: str
    pairs: list[tuple[str, str]]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command as a user would type it."""
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=PATIENCE
        )

    def luigi(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A Luigi run without luigid."""
        return self.run(sys.executable, "-m", "luigi", "--module", "tasks", *arguments, "--local-scheduler")

    def objects(self) -> dict[str, bytes]:
        """Everything in the lake."""
        return {one.key: self.lake.get(one.key) for one in self.lake.objects("")}

    def rows(self) -> dict[str, list[Any]]:
        """Everything in Postgres, timestamps of publishing included."""
        tables = ["silver.fact_ohlcv", "gold.completeness_hourly"]
        tables += [f"gold.ohlcv_{name}" for name in ("5m", "15m", "30m", "1h")]
        with psycopg.connect(self.dsn) as connection:
            return {
                table: connection.execute(
                    SQL("SELECT * FROM {} ORDER BY 1, 2, 3, 4, 5").format(Identifier(*table.split(".")))
                ).fetchall()
                for table in tables
            }


@pytest.fixture(scope="module")
def database(server: str, template: str) -> Iterator[str]:
    """A database for the rehearsals of this file."""
    name = f"klines_rehearsal_{os.getpid()}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(name), Identifier(template)))
        yield make_conninfo(server, dbname=name)
        admin.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory, database: str, s3_endpoint: str) -> Iterator[Rehearsal]:
    """One simulated hour, recorded and run through Luigi, with the lake in a bucket."""
    folder = tmp_path_factory.mktemp("rehearsal")
    config, port = folder / "luigi.cfg", free_port()

    def write(speed: float) -> settings.Settings:
        text = CONFIG.format(
            root="s3://klines-rehearsal/some/prefix",
            endpoint=s3_endpoint,
            pairs=pair_lines(PAIRS),
            addresses=addresses(port),
            dsn=database,
            simulated_start=(HOUR + timedelta(hours=1, minutes=3)).isoformat(),
            wall_start=datetime.now(UTC).isoformat(),
            speed=speed,
        )
        config.write_text(text)
        return settings.parse(text, config)

    found = write(speed=30)  # an exchange that asks us to wait does not hold up the tests
    record(found, HOUR - timedelta(minutes=4), HOUR + timedelta(hours=1, seconds=150), FAULTS)
    pairs = [(exchange, symbol) for exchange, symbols in found.pairs.items() for symbol in symbols]
    rehearsal = Rehearsal({**os.environ, "LUIGI_CONFIG_PATH": str(config)}, open_lake(found.lake), database, pairs)
    with emulator(rehearsal, folder, port):
        done = rehearsal.luigi("GoldHour", "--hour", f"{HOUR:%Y-%m-%dT%H}")
        assert done.returncode == 0, done.stdout + done.stderr
    write(speed=1)  # so that the hour stays the last one while the tests look on
    with emulator(rehearsal, folder, port):
        done = rehearsal.luigi("Hourly")
        assert done.returncode == 0, done.stdout + done.stderr
        yield rehearsal


@contextmanager
def emulator(rehearsal: Rehearsal, folder: Path, port: int) -> Iterator[None]:
    """The exchanges' REST, with the market and the refusals of the hour that was recorded."""
    shares = {name: getattr(FAULTS, name) for name in ("seed", "silent", "rate_limits")}
    options = [word for name, value in shares.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    simulate = (sys.executable, "-m", "tasks.commands.cli", "simulate", *options)
    with process(rehearsal.environment, folder / "emulator.log", *simulate):
        wait_for(port)
        yield


def test_silver_equals_the_emulators_truth_candle_by_candle(rehearsal: Rehearsal) -> None:
    """Whatever the faults: prices, volume and count of every minute are those that the emulator traded."""
    for exchange, symbol in rehearsal.pairs:
        market = Market(exchange, seed=SEED, silent=FAULTS.silent)
        key = f"silver/fact_ohlcv/exchange={exchange}/symbol={symbol}/year=2025/month=11/day=10/hour=13/part.parquet"
        table, _ = parquet.read(rehearsal.lake, key)
        assert table.num_rows == 60
        for n, row in enumerate(table.to_pylist()):
            bar = market.bar(symbol, HOUR + n * MINUTE)
            assert bar is not None
            assert row["interval_start"] == HOUR + n * MINUTE
            expected = (bar.open, bar.high, bar.low, bar.close, bar.volume)
            names = ("open", "high", "low", "close", "volume")
            where = (exchange, symbol, n)
            assert tuple(row[name] for name in names) == tuple(float(value) for value in expected), where
            assert row["trade_count"] == bar.trade_count
            if not bar.trade_count:
                assert row["vwap"] is None
                assert row["quote_volume"] == 0
                assert row["source"] == "empty" or exchange not in ("coinbase", "kraken")
            else:
                assert row["source"] in ("stream", "rest")
                assert row["vwap"] == pytest.approx(float(bar.vwap), rel=1e-5)
                assert row["quote_volume"] == pytest.approx(float(bar.quote_volume), rel=1e-5)


def test_bars_equal_the_emulators_truth_bar_by_bar(rehearsal: Rehearsal, tmp_path: Path) -> None:
    """Of all lengths, in Postgres and through `klines sql`, with all that they can say."""
    silver = [
        row
        for pair in rehearsal.pairs
        for row in parquet.read(rehearsal.lake, layout.silver_key(*pair, HOUR))[0].to_pylist()
    ]
    markets = {exchange: Market(exchange, seed=SEED, silent=FAULTS.silent) for exchange in EXCHANGES}
    query = "; ".join(
        f"COPY (FROM gold.ohlcv_{name} ORDER BY exchange, symbol, interval_start) "
        f"TO '{tmp_path / name}' (FORMAT parquet)"
        for name in duck.BARS
    )
    done = rehearsal.run(sys.executable, "-m", "tasks.commands.cli", "sql", "-c", query)
    assert done.returncode == 0, done.stderr
    for name, seconds in duck.BARS.items():
        asked = pq.read_table(tmp_path / name).to_pylist()
        with psycopg.connect(rehearsal.dsn, row_factory=psycopg.rows.dict_row) as connection:
            text = SQL("SELECT * FROM {} ORDER BY exchange, symbol, interval_start")
            published = connection.execute(text.format(Identifier("gold", f"ohlcv_{name}"))).fetchall()
        assert published == asked
        assert len(published) == len(rehearsal.pairs) * 3600 // seconds
        for bar in published:
            behind = [
                row
                for row in silver
                if (row["exchange"], row["symbol"]) == (bar["exchange"], bar["symbol"])
                and bar["interval_start"] <= row["interval_start"] < bar["interval_end"]
            ]
            assert truth.bar_difference(bar, markets[bar["exchange"]], behind) is None, bar
            assert bar["trade_count"] is not None and bar["quote_volume"] is not None


def test_every_minute_has_a_verdict(rehearsal: Rehearsal) -> None:
    """60 verdicts a pair; most from the stream, what the faults took from REST, and nothing missing."""
    done = rehearsal.run(sys.executable, "-m", "tasks.commands.cli", "status", "--json")
    assert done.returncode == 0, done.stderr
    page = json.loads(done.stdout)
    rows = [row for row in page["hours"] if row["hour"] == "2025-11-10T13:00:00Z"]
    assert [(row["exchange"], row["symbol"]) for row in rows] == sorted(rehearsal.pairs)
    for row in rows:
        assert row["expected"] == 60 == row["stream"] + row["rest"] + row["empty"] + row["missing"]
        assert row["missing"] == 0
        assert row["stream"] >= 30
    assert sum(row["rest"] for row in rows) > 0


def test_the_faults_left_traces(rehearsal: Rehearsal) -> None:
    """Garbage was kept verbatim, disconnects are in the sessions: the rehearsal did rehearse something."""
    assert rehearsal.lake.objects("bronze/rejected/")
    found = set()
    for exchange, _ in rehearsal.pairs:
        key = f"bronze/bronze_sessions/exchange={exchange}/year=2025/month=11/day=10/hour=13/stream.parquet"
        found |= set(parquet.read(rehearsal.lake, key)[0]["status"].to_pylist())
    assert "disconnected" in found


def test_running_everything_again_changes_nothing(rehearsal: Rehearsal) -> None:
    """No byte in the lake, no row in Postgres."""
    objects, rows = rehearsal.objects(), rehearsal.rows()
    hour = f"{HOUR:%Y-%m-%dT%H}"
    asked = [
        "SilverHour(hour)",
        "GoldHour(hour)",
        *(f"{task}(exchange={one!r}, hour=hour)" for one in PAIRS for task in ("BronzeStream", "BronzeRest")),
    ]
    build = f"luigi.build([{', '.join(asked)}], local_scheduler=True)"
    program = (
        f"import luigi; from tasks import *; from datetime import datetime; hour = datetime.fromisoformat({hour!r})"
    )
    again = rehearsal.run(sys.executable, "-W", "ignore", "-c", f"{program}; raise SystemExit(not {build})")
    assert again.returncode == 0, again.stdout + again.stderr
    assert rehearsal.luigi("SilverPair", "--hour", hour, "--exchange", "kraken", "--symbol", "BTC-USDT").returncode == 0
    between = ("--start", hour, "--stop", "2025-11-10T14")
    assert rehearsal.luigi("RangeHourly", "--of", "SilverHour", *between).returncode == 0
    assert rehearsal.objects() == objects
    assert rehearsal.rows() == rows


def test_what_is_derived_can_be_made_again_to_the_byte(rehearsal: Rehearsal) -> None:
    """Without any Parquet, the same evidence gives the same bytes, and Postgres has nothing to change."""
    objects, rows = rehearsal.objects(), rehearsal.rows()
    for key in objects:
        if key.endswith(".parquet"):
            rehearsal.lake.delete(key)
    done = rehearsal.luigi("GoldHour", "--hour", f"{HOUR:%Y-%m-%dT%H}", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert rehearsal.objects() == objects
    assert rehearsal.rows() == rows


def test_trades_are_kept_like_candles(rehearsal: Rehearsal) -> None:
    """Coinbase's trades are in a table of their own, and SQL over them makes the candles that silver has."""
    query = (
        "SELECT count(*) FROM (SELECT exchange, symbol, interval_start, arg_max(price, (event_ts, trade_id)) AS close, "
        "count(DISTINCT trade_id) AS trades FROM bronze.bronze_trades GROUP BY ALL) AS built "
        "JOIN silver.fact_ohlcv AS silver USING (exchange, symbol, interval_start, close) "
        "WHERE silver.source = 'stream' AND silver.trade_count = built.trades"
    )
    done = rehearsal.run(sys.executable, "-m", "tasks.commands.cli", "sql", "-c", query)
    assert done.returncode == 0, done.stderr
    page = json.loads(rehearsal.run(sys.executable, "-m", "tasks.commands.cli", "status", "--json").stdout)
    (row,) = [one for one in page["hours"] if one["exchange"] == "coinbase"]
    assert row["stream"] > 30
    assert f" {row['stream']} " in done.stdout


def test_workers_over_luigid_at_once_and_in_turn(rehearsal: Rehearsal, tmp_path: Path) -> None:
    """From nothing but the evidence, two at once leave the same bytes and rows; so does one that comes later.

    The later one hands luigid the very tasks, and the very batch of pairs, that it has known from the first two.
    """
    objects, rows = rehearsal.objects(), rehearsal.rows()

    def forget() -> None:
        for key in objects:
            if key.endswith(".parquet"):
                rehearsal.lake.delete(key)

    forget()
    port = str(free_port())
    luigid = [str(Path(sys.executable).parent / "luigid"), "--address", "127.0.0.1", "--port", port]
    command = [sys.executable, "-m", "luigi", "--module", "tasks", "GoldHour", "--hour", f"{HOUR:%Y-%m-%dT%H}"]
    command += ["--scheduler-host", "127.0.0.1", "--scheduler-port", port]
    with ExitStack() as stack:
        config = tmp_path / "luigid.cfg"
        config.write_text("[scheduler]\nstable_done_cooldown_secs = 0\n")  # as in luigi.cfg: no run comes too soon
        environment = rehearsal.environment | {"LUIGI_CONFIG_PATH": str(config)}
        stack.enter_context(
            process(environment, tmp_path / "luigid.log", *luigid, "--state-path", str(tmp_path / "state"))
        )
        wait_for(int(port))
        workers = [
            stack.enter_context(process(rehearsal.environment, tmp_path / f"{n}.log", *command)) for n in range(2)
        ]
        codes = [worker.wait(PATIENCE) for worker in workers]
        said = "".join((tmp_path / f"{n}.log").read_text() for n in range(2))
        assert set(codes) <= {0, 25}, said  # 25: some of the tasks were run by the other one
        assert rehearsal.objects() == objects
        assert rehearsal.rows() == rows
        forget()
        later = rehearsal.run(*command)
        assert later.returncode == 0, later.stdout + later.stderr
    assert rehearsal.objects() == objects
    assert rehearsal.rows() == rows


def test_late_evidence_is_merged_by_the_next_run(rehearsal: Rehearsal) -> None:
    """A final candle with more trades arrives late: its pair is judged anew, the others keep their bytes."""
    before = rehearsal.objects()
    key = next(key for key in before if "stream/exchange=binance/symbol=WALK-USDT" in key and "hour=13" in key)
    start = HOUR + 17 * MINUTE
    line = {
        "exchange": "binance",
        "symbol": "WALK-USDT",
        "native_symbol": "WALKUSDT",
        "interval_minutes": 1,
        "event_type": "update",
        "event_ts": None,
        "recv_ts": "2025-11-10T14:30:00Z",
        "interval_start": f"{start:%Y-%m-%dT%H:%M:%SZ}",
        "is_final": True,
        "open": 1.0,
        "high": 2.0,
        "low": 0.5,
        "close": 1.5,
        "volume": 9.0,
        "quote_volume": 9.0,
        "trade_count": 999_999,
    }
    late = f"{key.rpartition('/')[0]}/second-0000000000001.jsonl"
    rehearsal.lake.put(late, json.dumps(line).encode() + b"\n")
    done = rehearsal.run(sys.executable, "-m", "tasks.commands.cli", "hourly", "--once")
    assert done.returncode == 0, done.stdout + done.stderr
    after = rehearsal.objects()
    changed = {key for key in after if key.startswith("silver/") and after[key] != before[key]}
    assert changed == {
        "silver/fact_ohlcv/exchange=binance/symbol=WALK-USDT/year=2025/month=11/day=10/hour=13/part.parquet"
    }
    candle = next(row for row in rehearsal.rows()["silver.fact_ohlcv"] if row[1] == "WALK-USDT" and row[4] == start)
    assert candle[9] == 1.5
    for created in after.keys() - before.keys():
        rehearsal.lake.delete(created)


def test_the_lake_can_be_asked_in_sql(rehearsal: Rehearsal) -> None:
    """The views count the same minutes as Postgres, over S3."""
    query = "SELECT sum(expected)::INTEGER AS minutes FROM gold.completeness_hourly"
    done = rehearsal.run(sys.executable, "-m", "tasks.commands.cli", "sql", "-c", query)
    assert done.returncode == 0, done.stderr
    assert str(60 * len(rehearsal.pairs)) in done.stdout
