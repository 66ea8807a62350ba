"""Whether anything at all is known about an hour: else to publish it would say that all of it is missing."""

from __future__ import annotations

from datetime import datetime

from stream.errors import HourUnknown
from stream.lake import layout
from tasks import warehouse
from tasks.hour import evidence, rest_hour
from tasks.hour.context import Context
from tasks.tables import parquet


def is_known(context: Context, hour: datetime) -> bool:
    """It lies behind a published one that has candles, or something was recorded, or REST knows of trades."""
    with warehouse.connect(context.settings.warehouse) as postgres:
        first = postgres.first_hour()
    if first is not None and first <= hour:
        return True
    return any(
        any(evidence.recorded(context.lake, exchange, symbols, hour).values()) or _is_answered(context, exchange, hour)
        for exchange, symbols in context.settings.pairs.items()
    )


def check(context: Context, hour: datetime) -> None:
    """HourUnknown unless it is, after REST was asked once more about what it did not answer."""
    failures = [failure for exchange in context.settings.pairs for failure in _ask(context, exchange, hour)]
    if is_known(context, hour):
        return
    asked = "REST has none"
    if failures:
        asked = f"REST could not be asked about {len(failures)} of them, the first being {failures[0].rstrip('.')}"
    raise HourUnknown(
        f"Nothing is known about the hour {hour:%Y-%m-%dT%H} of the pairs in [pairs]: no earlier hour is published, "
        f"nothing was recorded, and {asked}. All of it would be missing. "
        f"{'Run it again when REST answers. ' if failures else ''}If it is wanted all the same, ask for it as a "
        f"backfill: luigi --module tasks GoldHour --hour {hour:%Y-%m-%dT%H} --backfill"
    )


def _ask(context: Context, exchange: str, hour: datetime) -> list[str]:
    symbols = context.symbols(exchange)
    with context.rest(exchange) as client:
        return rest_hour.make(context.lake, exchange, symbols, hour, client.candles, context.settings.clock)


def _is_answered(context: Context, exchange: str, hour: datetime) -> bool:
    """It has candles, or knows the price before a silence."""
    if rest_hour.made(context.lake, exchange, hour) is None:
        return False
    candles, _ = parquet.read(context.lake, layout.bronze_key(exchange, hour, "rest"))
    answers, _ = parquet.read(context.lake, layout.sessions_key(exchange, hour, "rest"))
    return bool(candles.num_rows or answers["previous_close"].drop_null().length())
