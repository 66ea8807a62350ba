"""Choose, fill and judge in plain Python, from docs/design.md: what choose.py is held against. Rows are dicts."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from stream.wire import MINUTE

Row = dict[str, Any]
_PRICES = ("open", "high", "low", "close")
_VALUES = ("conn", "close", "open", "high", "low", "volume", "quote_volume", "vwap")


class Pair(NamedTuple):
    """One pair's evidence of an hour, in any order; rows have the columns of tasks/rules/schemas.py."""

    stream: list[Row]
    lines: list[Row]
    rest: list[Row]
    answers: list[Row]

    def finished(self, minute: datetime) -> list[Row]:
        """The stream's finished candles: flagged; where there is no flag, the last of a connection that lived on."""
        about = [row for row in self.stream if row["interval_start"] == minute]
        if any(row["is_final"] is not None for row in about):
            return [row for row in about if row["is_final"]]
        most, found = max((row["trade_count"] or 0 for row in about), default=0), []
        for conn in {row["conn"] for row in about if row["event_type"] == "update"}:
            updates = [row for row in about if row["conn"] == conn and row["event_type"] == "update"]
            last = max(
                updates, key=lambda row: _known(row, "event_ts", "ingestion_ts", "trade_count", "volume", *_VALUES)
            )
            until = max(row["ingestion_ts"] for row in updates)
            if (last["trade_count"] or 0) >= most and self.lived(conn, minute, last["ingestion_ts"], until):
                found.append(last)
        return found

    def lived(self, conn: str, minute: datetime, since: datetime, until: datetime) -> bool:
        """This connection was alive from `since` to the minute's end, said so after `until`, and took nothing back."""
        said = [line for line in self.lines if line["event_type"] == "alive" and line["conn"] == conn]
        proof = [line for line in said if line["since"] <= since and line["interval_start"] >= minute]
        back = any(line["interval_start"] == minute and line["since"] > since for line in said)
        return not back and any(line["recv_ts"] >= until for line in proof)

    def heard(self, minute: datetime) -> bool:
        """Some connection was alive during all of the minute."""
        return any(self.lived(conn, minute, minute, minute) for conn in {line["conn"] for line in self.lines})

    def silent(self, minute: datetime) -> datetime | None:
        """When the last word came that nobody traded: REST covers the minute, and nothing shows a trade, or may."""
        traded = any(row["interval_start"] == minute and not _flat(row) for row in self.stream)
        seen = traded or _rejected(self.lines, minute)
        means = {"no_trade": not seen, "no_trade_if_alive": not seen and self.heard(minute), "no_data": False}
        unread = {one["recv_ts"] for one in _rejected(self.answers, minute)}
        told = [one for one in self.answers if one["covered_start"] and means[one["silence"]]]
        told = [one for one in told if one["recv_ts"] not in unread]
        told = [one for one in told if one["covered_start"] <= minute and minute + MINUTE <= one["covered_end"]]
        return max((one["recv_ts"] for one in told), default=None)

    def choose(self, minute: datetime, price: float | None, over: datetime) -> tuple[str, Row | None]:
        """Verdict and candle. `price`: the close of the minute before, where known. `over`: the end of the hour."""
        if found := _best(self.finished(minute)):
            return ("empty" if found["event_type"] == "built" and _flat(found) else "stream"), found
        if found := _best(row for row in self.rest if row["interval_start"] == minute and row["ingestion_ts"] >= over):
            return ("empty" if _flat(found) else "rest"), found
        if (known := self.silent(minute)) is None or price is None:
            return "missing", None
        return "empty", dict.fromkeys(_PRICES, price) | {"volume": 0.0, "trade_count": 0, "ingestion_ts": known}

    def cause(self, minute: datetime) -> str:
        """Why the minute is missing."""
        asked = [one for one in self.answers if one["asked_start"] and one["asked_start"] <= minute < one["asked_end"]]
        said = [one for one in self.lines if one["status"] == "exchange" and one["recv_ts"] <= minute + MINUTE]
        last = max(said, key=lambda one: _known(one, "recv_ts", "detail"), default={"detail": "online"})
        causes = {
            "rest_unavailable": not asked,
            "rejected": _rejected([*self.lines, *self.answers], minute),
            "beyond_rest_history": any(one["beyond_history"] for one in asked),
            "exchange_status": not last["detail"].startswith("online"),
            "not_recording": not self.lines and not self.stream,
            "disconnected": not self.heard(minute),
        }
        return next((cause for cause, holds in causes.items() if holds), "unknown")


def judge(
    symbols: Sequence[str], hour: datetime, evidence: Sequence[list[Row]], *, keep_empty: bool = True
) -> tuple[list[Row], list[tuple[str, datetime, str, str | None]]]:
    """Silver's candles, and (symbol, minute, verdict, cause), from: stream candles, lines, REST rows, answers."""
    candles, verdicts = [], []
    for symbol in sorted(symbols):
        pair = Pair(*([row for row in rows if row["symbol"] == symbol] for rows in evidence))
        first = [one for one in pair.answers if one["previous_close"] is not None and one["asked_start"] == hour]
        price = max(((one["recv_ts"], one["previous_close"]) for one in first), default=(None, None))[1]
        for minute in (hour + n * MINUTE for n in range(60)):
            verdict, candle = pair.choose(minute, price, hour + timedelta(hours=1))
            price = candle and candle["close"]
            verdicts.append((symbol, minute, verdict, None if candle else pair.cause(minute)))
            if candle and (keep_empty or verdict != "empty"):
                candles.append({"symbol": symbol, "interval_start": minute, "source": verdict, **_volumes(candle)})
    return candles, verdicts


def _volumes(row: Row) -> Row:
    """Prices, count and reception, with both volumes and the vwap: the exchange's, else one from the other."""
    kept = {name: row[name] for name in (*_PRICES, "volume", "trade_count", "ingestion_ts")}
    if _flat(row):
        return kept | {"quote_volume": 0.0, "vwap": None}
    volume, quote, vwap = row["volume"], row["quote_volume"], row["vwap"]
    derived = quote / volume if quote is not None and volume else None
    quote = vwap * volume if quote is None and vwap is not None else quote
    return kept | {"quote_volume": quote, "vwap": derived if vwap is None else vwap}


def _rejected(lines: Iterable[Row], minute: datetime) -> list[Row]:
    """Of these, what says that something about the minute could not be read."""
    return [one for one in lines if one["status"] == "rejected" and one["interval_start"] == minute]


def _flat(row: Row) -> bool:
    return row["volume"] == 0 and not row["trade_count"]


def _best(rows: Iterable[Row]) -> Row | None:
    """Of several: most trades, then the latest, then by recorder, name and value."""
    named = sorted(rows, key=lambda row: _least(row))
    return max(named, key=lambda row: _known(row, "trade_count", "event_ts", "ingestion_ts"), default=None)


def _known(row: Row, *names: str) -> list[tuple[bool, Any]]:
    """A key by which more is more, and nothing is least."""
    return [(row[name] is not None, row[name] if row[name] is not None else 0) for name in names]


def _least(row: Row) -> list[tuple[bool, Any]]:
    """A key by which less comes first, nothing last."""
    values = [(row["conn"] or "").split("/")[0] or None, *(row[name] for name in _VALUES)]
    return [(value is None, 0 if value is None else value) for value in values]
