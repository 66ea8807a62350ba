"""Settings: what `luigi.cfg` may say, its types, its defaults, and why one would change them.

The file is the one that `LUIGI_CONFIG_PATH` names, else `luigi.cfg` in the working directory; exactly one file counts,
so that a rehearsal never mixes with real records. Relative paths in it start from the folder that it is in.
Credentials are not settings: they come from the environment (AWS chain, libpq `PG*`).
"""

from __future__ import annotations

import configparser
import difflib
import functools
import json
import os
import re
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from stream import exchanges
from stream.clock import Clock
from stream.errors import SettingsError

SYMBOL = re.compile(r"[^\W_a-z]+-[^\W_a-z]+")
"""Canonical symbol: two words of letters and digits (any script), in capitals, with a hyphen between."""

LUIGI_SECTIONS = frozenset(
    ["core", "worker", "scheduler", "retcode", "resources", "task_history", "execution_summary", "logging", "email"]
)
"""Sections that are Luigi's business."""


class LakeSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """[lake]: where everything is kept."""

    root: str
    """`s3://bucket/prefix` or a folder. No default: where the records go is a decision."""
    s3_endpoint: str = ""
    """Address of an S3-compatible store other than AWS, such as `http://127.0.0.1:9000`."""
    s3_region: str = ""
    """Region of the bucket, where the AWS chain does not say it."""
    compression: Literal["zstd", "none"] = "zstd"
    """`none` writes plain `.jsonl` for tools that cannot read `.jsonl.zst`; both are always read."""


class StreamSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """[stream]: the recorder."""

    recorder_id: str = ""
    """Name in object names and `conn`; the host's name when empty. Two recorders need two names."""
    spool_dir: str = "var/spool"
    """A folder on a local disk: every line is there before it is anywhere else."""
    flush_seconds: float = 900.0
    """How often what was recorded becomes lake objects. Shorter: fresher lake, more objects."""
    fsync_seconds: float = 1.0
    """What a power loss may cost at most."""


class WarehouseSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """[warehouse]: Postgres."""

    dsn: str = "embedded"
    """`embedded`, or a libpq connection string; an empty host, user or password comes from `PG*`."""
    data_dir: str = "var/postgres"
    """Where the embedded server keeps its data."""
    lock_timeout_seconds: float = 1.0
    """How long a publish may make readers wait before it steps back and tries again."""


class HoursSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """[hours]: when an hour is ready and how long it is looked after."""

    grace_seconds: float = 60.0
    """How long after its end an hour is left alone, so that the last lines and uploads arrive."""
    lookback_hours: int = 24
    """How far back `Hourly` looks for hours that are incomplete or have new evidence."""
    empty_minutes: Literal["flat", "absent"] = "flat"
    """A minute proven to be without trades: `flat` stores a candle at the previous close, `absent` only counts it.

    Holds for hours that are judged from then on."""


class AlertsSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """[alerts]: nothing can be set yet."""


class ClockSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """[clock]: for rehearsals only. Set all three, or none."""

    simulated_start: datetime | None = None
    """The simulated moment (RFC 3339) that corresponds to `wall_start`."""
    wall_start: datetime | None = None
    """The real moment at which the rehearsal began."""
    speed: float = 1.0
    """Simulated seconds per real second."""


class ExchangeSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """[exchange_<id>]: addresses, so that a proxy, a mirror or the emulator can stand in.

    Where an exchange is read through ccxt, they replace scheme and host of all addresses that ccxt knows; or are empty.
    """

    ws_url: str
    """What is dialled, before any stream path."""
    rest_url: str
    """Scheme and host of the REST interface."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that `luigi.cfg` says, checked."""

    path: Path
    lake: LakeSettings
    stream: StreamSettings
    warehouse: WarehouseSettings
    hours: HoursSettings
    clock: Clock
    pairs: dict[str, tuple[str, ...]]
    """Exchange id → canonical symbols, in the order of the file; exchanges that have none are left out."""
    exchanges: dict[str, ExchangeSettings]
    """Addresses of every registered exchange, and of those in [pairs] that are read through ccxt."""


SECTIONS: dict[str, type[msgspec.Struct]] = {
    "lake": LakeSettings,
    "stream": StreamSettings,
    "warehouse": WarehouseSettings,
    "hours": HoursSettings,
    "alerts": AlertsSettings,
    "clock": ClockSettings,
}


def path() -> Path:
    """The one settings file that counts; SettingsError when there is none."""
    named = os.environ.get("LUIGI_CONFIG_PATH")
    found = Path(named) if named else Path("luigi.cfg")
    if not found.is_file():
        raise SettingsError(
            f"There is no settings file {str(found)!r} (looked in {Path.cwd()}). "
            "Go to the folder that holds luigi.cfg, or name a file in LUIGI_CONFIG_PATH."
        )
    return found.resolve()


def load() -> Settings:
    """The settings of this process; read again only when the file changes."""
    file = path()
    return _read(file, file.stat().st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _read(file: Path, _mtime_ns: int) -> Settings:
    return parse(file.read_text(encoding="utf-8"), file)


def parse(text: str, file: Path) -> Settings:
    """The text of a settings file → settings; SettingsError names section, key, value and remedy."""
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keys are case-sensitive, as Luigi reads them
    try:
        parser.read_string(text, source=str(file))
    except configparser.Error as error:
        raise SettingsError(f"{file} is not a settings file: {' '.join(str(error).split())}") from error

    pairs = _pairs(dict(parser["pairs"]) if parser.has_section("pairs") else {}, file)
    ids = list(dict.fromkeys((*exchanges.EXCHANGES, *pairs)))
    _check_sections(parser.sections(), ids, file)
    sections = {name: _section(parser, name, kind, file) for name, kind in SECTIONS.items()}
    lake, stream, warehouse = sections["lake"], sections["stream"], sections["warehouse"]
    hours, clock = sections["hours"], sections["clock"]
    assert isinstance(lake, LakeSettings) and isinstance(stream, StreamSettings)
    assert isinstance(warehouse, WarehouseSettings) and isinstance(hours, HoursSettings)
    assert isinstance(clock, ClockSettings)

    if not lake.root.startswith("s3://"):
        lake.root = str(file.parent / lake.root)
    stream.spool_dir = str(file.parent / stream.spool_dir)
    warehouse.data_dir = str(file.parent / warehouse.data_dir)
    stream.recorder_id = stream.recorder_id or re.sub(r"[^A-Za-z0-9]+", "_", socket.gethostname())
    if not re.fullmatch(r"[A-Za-z0-9_.]+", stream.recorder_id):
        raise SettingsError(
            f"{file}: [stream] recorder_id = {stream.recorder_id!r} becomes part of object names; "
            "use letters, digits, dots and underscores only."
        )
    for section, key, value in (
        ("stream", "flush_seconds", stream.flush_seconds),
        ("stream", "fsync_seconds", stream.fsync_seconds),
        ("clock", "speed", clock.speed),
        ("warehouse", "lock_timeout_seconds", warehouse.lock_timeout_seconds),
    ):
        if not value > 0:
            raise SettingsError(f"{file}: [{section}] {key} = {value} must be more than 0.")
    return Settings(
        path=file,
        lake=lake,
        stream=stream,
        warehouse=warehouse,
        hours=hours,
        clock=_clock(clock, file),
        pairs=pairs,
        exchanges={exchange: _addresses(parser, exchange, file) for exchange in ids},
    )


def _check_sections(found: list[str], ids: list[str], file: Path) -> None:
    ours = [*SECTIONS, "pairs", *(f"exchange_{exchange}" for exchange in ids)]
    for section in found:
        if section in ours or section in LUIGI_SECTIONS or section[:1].isupper():  # [TaskName] is Luigi's
            continue
        raise SettingsError(f"{file}: there is no section [{section}].{_nearest(section, ours)}")


def _section(parser: configparser.ConfigParser, name: str, kind: type[msgspec.Struct], file: Path) -> msgspec.Struct:
    values = dict(parser[name]) if parser.has_section(name) else {}
    known = [field.name for field in msgspec.structs.fields(kind)]
    for key in values:
        if key not in known:
            raise SettingsError(f"{file}: [{name}] has no key {key!r}.{_nearest(key, known)}")
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{file}: [{name}] {error}.") from error


def _addresses(parser: configparser.ConfigParser, exchange: str, file: Path) -> ExchangeSettings:
    module, section = exchanges.EXCHANGES.get(exchange), f"exchange_{exchange}"
    if not parser.has_section(section):
        parser.add_section(section)
    values = parser[section]
    values.setdefault("ws_url", module.WS_URL if module else "")
    values.setdefault("rest_url", module.REST_URL if module else "")
    found = _section(parser, section, ExchangeSettings, file)
    assert isinstance(found, ExchangeSettings)
    for key, value, schemes in (
        ("ws_url", found.ws_url, ("ws://", "wss://")),
        ("rest_url", found.rest_url, ("http://", "https://")),
    ):
        if not value.startswith(schemes) and (module or value):
            raise SettingsError(f"{file}: [{section}] {key} = {value!r} must begin with {' or '.join(schemes)}.")
    return ExchangeSettings(ws_url=found.ws_url.rstrip("/"), rest_url=found.rest_url.rstrip("/"))


def _pairs(values: dict[str, str], file: Path) -> dict[str, tuple[str, ...]]:
    pairs: dict[str, tuple[str, ...]] = {}
    for exchange, text in values.items():
        if exchange not in exchanges.EXCHANGES:
            _check_long_tail(exchange, file)
        try:
            symbols = msgspec.convert(json.loads(text), tuple[str, ...])
        except (ValueError, msgspec.ValidationError) as error:
            raise SettingsError(
                f'{file}: [pairs] {exchange} = {text} must be a JSON list of symbols, such as ["BTC-USDT", "ETH-USDT"].'
            ) from error
        for symbol in symbols:
            if not SYMBOL.fullmatch(symbol):
                raise SettingsError(
                    f"{file}: [pairs] {exchange} names {symbol!r}, which is not a symbol; "
                    "write BASE-QUOTE in capitals, letters and digits only, such as BTC-USDT."
                )
        if symbols:
            pairs[exchange] = tuple(dict.fromkeys(symbols))
    return pairs


def _check_long_tail(exchange: str, file: Path) -> None:
    """ccxt is asked only about an exchange that has no module; that it is there costs a look at its folder."""
    known, modules = exchanges.known_to_ccxt(), list(exchanges.EXCHANGES)
    unknown = f"{file}: [pairs] names the exchange {exchange!r}, which there is no module for."
    if known is None:
        raise SettingsError(
            f"{unknown}{_nearest(exchange, modules)} The library ccxt knows about a hundred more, but is not "
            "installed: pip install 'kline-lakehouse[ccxt]'"
        )
    if exchange not in known:
        raise SettingsError(f"{unknown}{_nearest(exchange, modules, sorted(known))} ccxt does not know it either.")


def _clock(values: ClockSettings, file: Path) -> Clock:
    if (values.simulated_start is None) != (values.wall_start is None):
        raise SettingsError(f"{file}: [clock] needs both simulated_start and wall_start, or neither.")
    start, wall = values.simulated_start, values.wall_start
    return Clock(
        simulated_start=start and _utc(start),
        wall_start=wall and _utc(wall),
        speed=values.speed if start is not None else 1.0,
    )


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _nearest(word: str, known: list[str], more: list[str] | None = None) -> str:
    near = difflib.get_close_matches(word, [*known, *(more or [])], n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(near)}?" if near else f" Known: {', '.join(known)}."
