"""What a first version of such a pipeline does: json.loads line by line, rows into a table, then UPDATE and INSERT."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psycopg

_COLUMNS = (
    "exchange text, symbol text, interval_start timestamptz, open float8, high float8, low float8, close float8, "
    "volume float8, quote_volume float8, trade_count int, recv_ts timestamptz"
)
_NAMES = [column.split(" ")[0] for column in _COLUMNS.split(", ")]
_KEY = "exchange, symbol, interval_start"
_INSERT = f"INSERT INTO naive_lines ({', '.join(_NAMES)}) VALUES ({', '.join(['%s'] * len(_NAMES))})"  # noqa: S608
_LATEST = f"SELECT DISTINCT ON ({_KEY}) * FROM naive_lines ORDER BY {_KEY}, recv_ts DESC"  # noqa: S608
_VALUES = ", ".join(f"{name} = s.{name}" for name in _NAMES[3:])
_SAME = " AND ".join(f"f.{name} = s.{name}" for name in _KEY.split(", "))
_UPDATE = f"UPDATE naive_candles f SET {_VALUES} FROM ({_LATEST}) s WHERE {_SAME}"  # noqa: S608
_ADD = f"INSERT INTO naive_candles SELECT * FROM ({_LATEST}) s WHERE NOT EXISTS (SELECT FROM naive_candles f WHERE {_SAME})"  # noqa: S608, E501


def load(dsn: str, files: Iterable[Path], *, finals_only: bool = False) -> int:
    """Loads these JSONL files and returns how many candles there are then.

    `finals_only` is the better informed variant: it sends Postgres only the lines that the exchange flagged.
    """
    with psycopg.connect(dsn) as connection:
        connection.execute("DROP TABLE IF EXISTS naive_lines, naive_candles")
        connection.execute(f"CREATE TABLE naive_lines ({_COLUMNS})")
        connection.execute(f"CREATE TABLE naive_candles ({_COLUMNS}, PRIMARY KEY ({_KEY}))")
        connection.commit()
        for file in files:
            with connection.cursor() as cursor:
                cursor.executemany(_INSERT, _rows(file, finals_only))
            connection.execute(_UPDATE)
            connection.execute(_ADD)
            connection.execute("TRUNCATE naive_lines")
            connection.commit()
        found = connection.execute("SELECT count(*) FROM naive_candles").fetchone()
    return int(found[0]) if found else 0


def _rows(file: Path, finals_only: bool) -> Iterator[list[Any]]:
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            if record["is_final"] or not finals_only:
                yield [record[name] for name in _NAMES]
