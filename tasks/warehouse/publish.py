"""The warehouse: our tables in Postgres. Publishes hours of candles so that nobody ever reads half of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
import psycopg
import pyarrow as pa
import tenacity
from psycopg.sql import SQL, Composable, Identifier

from stream.clock import HOUR
from stream.errors import WarehouseError
from stream.settings import WarehouseSettings
from tasks.rules import schemas
from tasks.rules.completeness import Completeness
from tasks.warehouse import embedded, postgres, rows
from tasks.warehouse.ledger import Ledger, spoken

Published = Literal["unchanged", "attached", "swapped", "replaced"]
"""What a publish did: nothing; a new hour; a changed hour in place of the old; the same, row by row beside readers."""

_SCHEMA_LOCK = 0  # an hour's lock is its number since 1970
_ATTEMPTS = 5
"""How often another publisher of the hour may come between making the stage and filling it."""
_SWAP_ATTEMPTS, _SWAP_WAIT = 3, (0.1, 0.3)  # seconds


@contextmanager
def connect(settings: WarehouseSettings) -> Iterator[Warehouse]:
    """A session with the warehouse. The embedded server is started, and initialised, when it was not."""
    is_embedded = settings.dsn == "embedded"
    dsn = embedded.keep(Path(settings.data_dir)) if is_embedded else settings.dsn
    with postgres.session(dsn) as session:
        warehouse = Warehouse(session, settings.lock_timeout_seconds)
        if is_embedded and not warehouse.is_initialised():
            warehouse.init()
        yield warehouse


class Warehouse(Ledger):
    """One session's view of the warehouse, for who publishes; made by `connect`."""

    def __init__(self, session: postgres.Session, lock_timeout: float) -> None:
        super().__init__(session)
        self._lock_timeout = lock_timeout

    @spoken
    def init(self) -> str | None:
        """Make what is not there yet. A sentence when something optional could not be made, else None."""
        with self._session.transaction(_SCHEMA_LOCK, "the warehouse's schema"):
            self._session.execute("create_schema")
            try:
                with self._session.attempt():
                    self._session.execute("create_reader")
            except psycopg.errors.InsufficientPrivilege as error:
                return (
                    f"The role klines_reader for dashboards was not set up: {self.place.reason(error)}. "
                    "Everything else is ready; run klines warehouse init once as a role with CREATEROLE to have it."
                )
        return None

    @spoken
    def publish(self, hour: datetime, candles: pa.Table, ledger: Sequence[Completeness]) -> Published:
        """Make the hour's candles and ledger exactly these. Readers see it wholly old or wholly new."""
        hour = hour.astimezone(UTC)
        _check_ledger(hour, ledger)
        candles = rows.fit(candles, schemas.SILVER, hour, {(entry.exchange, entry.symbol) for entry in ledger})
        for _ in range(_ATTEMPTS):
            with self._hour(hour):
                if self._is_published(hour, ledger, self._find(hour)):
                    return "unchanged"
                self._session.execute("create_stage", stage=_names(hour)["stage"], start=hour, end=hour + HOUR)
            with self._hour(hour):
                found = self._find(hour)
                if self._is_published(hour, ledger, found):  # another publisher was quicker
                    self._session.execute("drop_stage", stage=_names(hour)["stage"])
                    return "unchanged"
                if found["staged"]:  # else another publisher has used it up for something else
                    self._load(hour, candles)
                    return self._replace(hour, ledger) if found["attached"] else self._attach(hour, ledger)
        raise WarehouseError(
            f"Others publish the hour {hour:%Y-%m-%dT%H} to Postgres at {self.place.address} again and again. "
            "Leave it to one of them, or run it again."
        )

    @spoken
    def drop(self, hour: datetime) -> bool:
        """Take the hour's candles, bars and ledger away; False where there is nothing of it."""
        hour = hour.astimezone(UTC)
        with self._hour(hour):
            found = self._find(hour)
            if found["staged"]:
                self._session.execute("drop_stage", stage=_names(hour)["stage"])
            if found["attached"] and not self._swap(hour, lambda: None):
                self._session.execute("empty_partition", partition=_names(hour)["partition"])
            entries = self._read(hour, hour + HOUR)
            self._write_ledger(hour, [])
            return bool(entries)

    @spoken
    def publish_bars(self, hour: datetime, roll_up: Callable[[pa.Table], Mapping[str, pa.Table]], rule: str) -> None:
        """Make the hour's larger candles anew, from the candles that are published for it, in one transaction.

        `roll_up`: candles (schema SILVER) → bars by length (`5m`, ...), in the columns of gold.ohlcv_*; `rule`: a name
        for how it does that.
        """
        hour = hour.astimezone(UTC)
        with self._hour(hour):
            candles = self._candles(hour)
            pairs = rows.pairs_of(candles)
            for length, table in roll_up(candles).items():
                name = Identifier("gold", f"ohlcv_{length}")
                self._session.execute("delete_bars", bars=name, start=hour, end=hour + HOUR)
                self._copy("copy_bars", rows.fit(table, rows.BARS, hour, pairs), bars=name)
            self._session.execute("mark_bars", hour=hour, rule=rule)

    def _candles(self, hour: datetime) -> pa.Table:
        columns = SQL(", ").join(map(Identifier, schemas.SILVER.names))
        found = self._session.execute("read_candles", columns=columns, start=hour, end=hour + HOUR)
        return pa.Table.from_pylist(found, schema=schemas.SILVER)

    def _find(self, hour: datetime) -> dict[str, Any]:
        name = f"silver.{_name(hour)}"
        return self._session.execute("find_partition", partition=name, stage=f"{name}_stage")[0]

    def _is_published(self, hour: datetime, ledger: Sequence[Completeness], found: Mapping[str, Any]) -> bool:
        return found["attached"] and set(self._read(hour, hour + HOUR)) == set(ledger)

    def _load(self, hour: datetime, candles: pa.Table) -> None:
        """The candles into the stage; and make sure that all of them arrived."""
        stage = _names(hour)["stage"]
        self._session.execute("empty_stage", stage=stage)
        self._copy("copy_stage", candles, stage=stage)
        arrived, sent = self._session.execute("summarize_stage", stage=stage)[0], rows.summary(candles)
        if arrived != sent:
            raise WarehouseError(
                f"Of the hour {hour:%Y-%m-%dT%H} {sent} was sent to Postgres at {self.place.address}, "
                f"but {arrived} arrived. The hour was not published; run it again."
            )

    def _replace(self, hour: datetime, ledger: Sequence[Completeness]) -> Published:
        """Put the stage in the old partition's place, or, if readers do not let go of that, its rows."""
        names = _names(hour)
        if self._swap(hour, lambda: self._attach(hour, ledger)):
            return "swapped"
        self._session.execute("replace_rows", stage=names["stage"], partition=names["partition"])
        self._write_ledger(hour, ledger)
        return "replaced"

    def _swap(self, hour: datetime, fill: Callable[[], object]) -> bool:
        """Takes the hour's partition out, and does what comes in its place; False where readers do not let go of it."""
        milliseconds = max(1, round(self._lock_timeout * 1000))  # 0 would wait for ever
        busy = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(busy),
            stop=tenacity.stop_after_attempt(_SWAP_ATTEMPTS),
            wait=tenacity.wait_random(*_SWAP_WAIT),
            reraise=True,
        )
        partition = _names(hour)["partition"]
        try:
            for attempt in attempts:
                with attempt, self._session.attempt():  # what it locked is free again when it fails
                    self._session.execute("detach_partition", partition=partition, milliseconds=milliseconds)
                    fill()
        except busy:
            return False
        return True

    def _attach(self, hour: datetime, ledger: Sequence[Completeness]) -> Published:
        self._session.execute("attach_stage", **_names(hour), start=hour, end=hour + HOUR)
        self._write_ledger(hour, ledger)
        return "attached"

    def _write_ledger(self, hour: datetime, ledger: Sequence[Completeness]) -> None:
        text = msgspec.json.encode(ledger).decode()
        self._session.execute("write_ledger", start=hour, end=hour + HOUR, ledger=text)

    def _copy(self, name: str, table: pa.Table, /, **identifiers: Composable) -> None:
        columns = SQL(", ").join(map(Identifier, table.column_names))
        self._session.copy(name, rows.csv(table), columns=columns, **identifiers)

    def _hour(self, hour: datetime) -> AbstractContextManager[None]:
        """A transaction during which nobody else publishes that hour."""
        return self._session.transaction(_number(hour), f"the hour {hour:%Y-%m-%dT%H}")


def _check_ledger(hour: datetime, ledger: Sequence[Completeness]) -> None:
    pairs = {(entry.exchange, entry.symbol) for entry in ledger}
    if len(pairs) != len(ledger) or any(entry.hour != hour for entry in ledger):
        raise WarehouseError(
            f"The ledger of the hour {hour:%Y-%m-%dT%H} must have one entry per pair, of that hour only."
        )


def _name(hour: datetime) -> str:
    return f"fact_ohlcv_{hour:%Y%m%d_%H}"


def _names(hour: datetime) -> dict[str, Identifier]:
    name = _name(hour)
    return {
        "name": Identifier(name),
        "partition": Identifier("silver", name),
        "stage": Identifier("silver", f"{name}_stage"),
    }


def _number(hour: datetime) -> int:
    return int(hour.timestamp()) // 3600
