"""Bad input at the command line: a sentence with the thing, the value and the remedy; no traceback, never exit 0."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stream import settings
from stream.errors import SettingsError
from stream.settings import WarehouseSettings
from tests.recording import PATIENCE

ROOT = Path(__file__).parent.parent
LUIGI = [sys.executable, "-m", "luigi", "--module", "tasks", "--local-scheduler"]
HOUR = "2025-11-10T13"
KLINES = [sys.executable, "-m", "tasks.commands.cli"]
BASE = """\
[lake]
root = lake
[pairs]
binance = ["BTC-USDT"]
[exchange_binance]
ws_url = ws://127.0.0.1:9
rest_url = http://127.0.0.1:9
[warehouse]
dsn = postgresql://klines:secret-word@127.0.0.1:9/klines
[clock]
simulated_start = 2025-11-10T14:30:00Z
wall_start = {now}
speed = 50
[core]
autoload_range = true
"""


def run(folder: Path, command: list[str], config: str | None = BASE, **environment: str) -> str:
    """Runs it in `folder` with this luigi.cfg; checks that it failed without a traceback; returns what it said."""
    if config is not None:
        (folder / "luigi.cfg").write_text(config.replace("{now}", datetime.now(UTC).isoformat()))
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PG", "LUIGI_"))}
    done = subprocess.run(
        command,
        cwd=folder,
        env={**clean, "PYTHONPATH": str(ROOT), "AWS_EC2_METADATA_DISABLED": "true", "HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    said = done.stdout + done.stderr
    assert done.returncode != 0, said
    assert "Traceback" not in said, said
    assert "secret-word" not in said
    return " ".join(said.split())


def refused(config: str) -> str:
    """What is said of these settings."""
    with pytest.raises(SettingsError) as raised:
        settings.parse(config.replace("{now}", datetime.now(UTC).isoformat()), Path("luigi.cfg"))
    assert "secret-word" not in str(raised.value)
    return " ".join(str(raised.value).split())


@pytest.mark.parametrize("command", [[*KLINES, "status"], [*KLINES, "record"], [*LUIGI, "SilverHour", "--hour", HOUR]])
def test_no_luigi_cfg(tmp_path: Path, command: list[str]) -> None:
    """The sentence says where it looked and what to do."""
    said = run(tmp_path, command, config=None)
    assert "There is no settings file 'luigi.cfg'" in said
    assert "LUIGI_CONFIG_PATH" in said


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("[lake]\nroot = lake\nrooot = x", "[lake] has no key 'rooot'. Did you mean root?"),
        ("[lake]\nroot = lake\n[strem]\nspool_dir = x", "there is no section [strem]. Did you mean stream"),
        ("[lake]", "[lake] Object missing required field `root`"),
        ("[lake]\nroot = lake\n[hours]\ngrace_seconds = soon", "[hours] Expected `float`"),
        ("[lake]\nroot = lake\n[stream]\nflush_seconds = 0", "flush_seconds = 0.0 must be more than 0"),
        ("[lake]\nroot = lake\n[stream]\nrecorder_id = a/b", "recorder_id = 'a/b' becomes part of object names"),
        ("[lake]\nroot = lake\n[exchange_kraken]\nws_url = http://x", "must begin with ws:// or wss://"),
    ],
)
def test_settings_that_cannot_be(change: str, says: str) -> None:
    """Unknown, missing and impossible keys are named, with the nearest that there is."""
    assert says in refused(BASE.replace("[lake]\nroot = lake", change))


@pytest.mark.parametrize(
    "command", [[*KLINES, "sql", "-c", "SELECT 1"], [*KLINES, "record"], [*LUIGI, "SilverHour", "--hour", HOUR]]
)
def test_every_command_says_what_is_wrong_with_the_settings(tmp_path: Path, command: list[str]) -> None:
    """In the same sentence, and does nothing."""
    config = BASE.replace("root = lake", "root = lake\nrooot = x")
    assert refused(config) in run(tmp_path, command, config=config)


def test_a_file_that_is_no_settings_file(tmp_path: Path) -> None:
    """Luigi itself stops at such a file in its own words; the recorder says what it is."""
    said = run(tmp_path, [sys.executable, "-m", "stream"], config="root = lake")
    assert "luigi.cfg is not a settings file" in said


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        ('binance = ["../../etc-USDT"]', "'../../etc-USDT', which is not a symbol"),
        ('binance = ["btc-usdt"]', "write BASE-QUOTE in capitals"),
        ('binance = ["BTCUSDT"]', "write BASE-QUOTE in capitals"),
        ("binance = BTC-USDT", "must be a JSON list of symbols"),
        ('binanse = ["BTC-USDT"]', "the exchange 'binanse', which there is no module for. Did you mean binance"),
    ],
)
def test_pairs_that_cannot_be(pairs: str, says: str) -> None:
    """Path characters, small letters, a missing hyphen, no list, an unknown exchange."""
    assert says in refused(BASE.replace('binance = ["BTC-USDT"]', pairs))


def test_no_pairs_at_all(tmp_path: Path) -> None:
    """There is nothing to publish, and the sentence says what to add."""
    config = BASE.replace('binance = ["BTC-USDT"]', "")
    assert "[pairs] names no pair" in run(tmp_path, [*LUIGI, "SilverHour", "--hour", HOUR], config=config)
    run(tmp_path, [*KLINES, "record"], config=config)


@pytest.mark.parametrize(
    ("hour", "says"),
    [
        ("2025-11-10T14", "The hour 2025-11-10T14 is not over yet"),
        ("2027-01-01T00", "the hour will be ready at 2027-01-01 01:01:00 UTC"),
    ],
)
def test_an_hour_that_is_not_over(tmp_path: Path, hour: str, says: str) -> None:
    """Refused with the moment at which it will be ready."""
    config = BASE.replace("speed = 50", "speed = 1")  # so that the hour is not over soon
    assert says in run(tmp_path, [*LUIGI, "SilverHour", "--hour", hour], config=config)


@pytest.mark.parametrize("command", [[*LUIGI, "SilverHour", "--hour"], [*KLINES, "warehouse", "drop-hour"]])
def test_an_hour_that_is_no_hour(tmp_path: Path, command: list[str]) -> None:
    """The sentence shows how to write one."""
    said = run(tmp_path, [*command, "yesterday"])
    assert "The hour was 'yesterday'; write a UTC hour such as 2026-11-22T07" in said


def test_an_hour_from_before_everything(tmp_path: Path, warehouse_settings: WarehouseSettings) -> None:
    """Refused, with the word that publishes it all the same."""
    config = BASE.replace("postgresql://klines:secret-word@127.0.0.1:9/klines", warehouse_settings.dsn)
    said = run(tmp_path, [*LUIGI, "SilverHour", "--hour", "2010-01-01T00"], config=config)
    assert "Nothing is known about the hour 2010-01-01T00 of the pairs in [pairs]" in said
    assert "luigi --module tasks GoldHour --hour 2010-01-01T00 --backfill" in said
    assert not (tmp_path / "lake" / "silver").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--exchange", "binance", "--symbol", "BTC-USD"], "does not name 'BTC-USD'. Did you mean BTC-USDT"),
        (["--exchange", "kraken", "--symbol", "BTC-USD"], "has no pairs of the exchange 'kraken'; it has: binance"),
    ],
)
def test_an_unknown_pair(tmp_path: Path, arguments: list[str], says: str) -> None:
    """Named, with the nearest that is configured."""
    assert says in run(tmp_path, [*LUIGI, "SilverPair", "--hour", HOUR, *arguments])


def test_postgres_is_down(tmp_path: Path) -> None:
    """The lake's part of the hour is done all the same; the sentence names host and port, not the password."""
    said = run(tmp_path, [*LUIGI, "SilverHour", "--hour", HOUR])
    assert "Postgres at 127.0.0.1:9 cannot be reached" in said
    assert list((tmp_path / "lake" / "silver").rglob("part.parquet"))
    for command in ([*KLINES, "status"], [*KLINES, "warehouse", "init"]):
        assert "Postgres at 127.0.0.1:9 cannot be reached" in run(tmp_path, command)


def test_postgres_without_a_warehouse(tmp_path: Path, server: str) -> None:
    """An external server is never initialised behind one's back."""
    config = BASE.replace("postgresql://klines:secret-word@127.0.0.1:9/klines", server)
    assert "run klines warehouse init" in run(tmp_path, [*KLINES, "status"], config=config)


def test_no_credentials_for_s3(tmp_path: Path, s3_endpoint: str) -> None:
    """The chain found none: the sentence names the variables."""
    config = BASE.replace("root = lake", f"root = s3://klines-rehearsal/x\ns3_endpoint = {s3_endpoint}")
    for command in ([*LUIGI, "SilverHour", "--hour", HOUR], [*KLINES, "sql", "-c", "SELECT 1"]):
        assert "AWS_ACCESS_KEY_ID" in run(tmp_path, command, config=config)


def test_a_bucket_that_does_not_exist(tmp_path: Path, s3_endpoint: str) -> None:
    """The sentence names the bucket."""
    config = BASE.replace("root = lake", f"root = s3://no-such-bucket-here/x\ns3_endpoint = {s3_endpoint}")
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    said = run(tmp_path, [*LUIGI, "SilverHour", "--hour", HOUR], config=config, **keys)
    assert "Create the bucket 'no-such-bucket-here' or correct [lake] root" in said


def test_an_s3_that_does_not_answer(tmp_path: Path) -> None:
    """The sentence names the settings to check."""
    config = BASE.replace("root = lake", "root = s3://bucket/x\ns3_endpoint = http://127.0.0.1:9")
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    said = run(tmp_path, [*LUIGI, "SilverHour", "--hour", HOUR], config=config, **keys)
    assert "Check [lake] s3_endpoint" in said


def test_a_query_that_duckdb_does_not_accept(tmp_path: Path) -> None:
    """DuckDB's own words, without a traceback."""
    assert "DuckDB did not accept the query" in run(tmp_path, [*KLINES, "sql", "-c", "SELEKT 1"])


def test_simulating_real_addresses(tmp_path: Path) -> None:
    """The emulator never pretends to be the real exchange."""
    config = BASE.replace("ws://127.0.0.1:9\nrest_url = http://127.0.0.1:9", "ws_url = wss://stream.binance.com:9443")
    config = config.replace("ws_url = ws_url =", "ws_url =")
    assert "exchange_binance" in run(tmp_path, [*KLINES, "simulate"], config=config)


def test_a_demo_does_not_empty_a_folder_of_others(tmp_path: Path) -> None:
    """Only what a demo made is removed by the next."""
    (tmp_path / "var" / "demo").mkdir(parents=True)
    (tmp_path / "var" / "demo" / "diary.txt").write_text("mine")
    assert "holds something that is not a demo" in run(tmp_path, [*KLINES, "demo"])
    assert (tmp_path / "var" / "demo" / "diary.txt").read_text() == "mine"
