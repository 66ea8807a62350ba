"""One hour of silver → Postgres: the partition, its ledger, its bars; and asking REST again for what stayed missing."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from datetime import datetime

from stream.clock import HOUR
from stream.errors import LakeError
from stream.lake import layout
from tasks import warehouse
from tasks.hour import evidence, rest_hour, silver_hour, stream_hour
from tasks.hour.context import Context
from tasks.tables import duck

log = logging.getLogger(__name__)

Pair = tuple[str, str]

_MENDED_AT_ONCE = 100
"""Hours. A second or two each for hundreds of pairs: the live hour does not wait long."""


def pairs_of(context: Context, hour: datetime) -> list[Pair]:
    """(exchange, symbol) of the hour: the configured pairs, and any that the lake already holds for it.

    A pair that was taken out of [pairs] keeps its history.
    """
    configured = context.configured_pairs()
    lake = context.lake
    others = [
        (exchange, symbol)
        for exchange in _values(lake.folders(layout.silver_prefix()))
        for symbol in _values(lake.folders(layout.silver_prefix(exchange)))
        if (exchange, symbol) not in configured
    ]
    held = lake.read_each(lambda pair: lake.tail(layout.silver_key(*pair, hour), 8) is not None, others)
    return sorted(configured + [pair for pair, is_held in zip(others, held, strict=True) if is_held])


def is_published(context: Context, hour: datetime) -> bool:
    """Silver is up to date, and Postgres has exactly that."""
    pairs = pairs_of(context, hour)
    facts = silver_hour.facts_of(context.lake, hour, pairs)
    for exchange, symbols in context.settings.pairs.items():
        if not silver_hour.is_current(context.lake, exchange, symbols, hour, facts):
            return False
    silver = {pair: found and found["content"] for pair, found in facts.items()}
    with warehouse.connect(context.settings.warehouse) as postgres:
        published = {pair: content for pair, (content, _) in postgres.hashes(hour).items()}
    return published == silver


def publish(context: Context, hour: datetime) -> str:
    """Makes Postgres have what silver has; returns a sentence about it."""
    candles, ledger = silver_hour.read(context.lake, hour, pairs_of(context, hour))
    with warehouse.connect(context.settings.warehouse) as postgres:
        done = postgres.publish(hour, candles, ledger)
    missing = sum(one.missing for one in ledger)
    return f"{done}: {candles.num_rows} candles of {len(ledger)} pairs, {missing} minutes missing"


def drop(context: Context, hour: datetime) -> bool:
    """Takes the hour back, out of silver and of Postgres; False where it was in neither. What was recorded stays."""
    silver = [layout.silver_key(*pair, hour) for pair in pairs_of(context, hour)]
    held = [key for key in silver if context.lake.tail(key, 8) is not None]
    context.lake.each(context.lake.delete, held)
    with warehouse.connect(context.settings.warehouse) as postgres:
        return postgres.drop(hour) or bool(held)


def has_bars(context: Context, hour: datetime) -> bool:
    """The bars were made from what is published, by today's rule."""
    rule = duck.bars_rule()
    with warehouse.connect(context.settings.warehouse) as postgres:
        return all(bars == f"{rule}:{content}" for content, bars in postgres.hashes(hour).values())


def publish_bars(context: Context, hour: datetime) -> None:
    """Rolls the published hour up and replaces its bars."""
    with duck.open_memory() as connection, warehouse.connect(context.settings.warehouse) as postgres:
        postgres.publish_bars(hour, functools.partial(duck.bars, connection), duck.bars_rule())


def mend_bars(context: Context) -> None:
    """Makes bars anew that were made by another rule than today's, however old: some hours a run, the latest first."""
    with warehouse.connect(context.settings.warehouse) as postgres:
        stale = postgres.stale_bars(duck.bars_rule(), _MENDED_AT_ONCE)
    for hour in stale:
        publish_bars(context, hour)


def unpublished(context: Context, since: datetime, until: datetime) -> list[datetime]:
    """Hours of that span, after the first that has candles, of which nothing is in Postgres."""
    with warehouse.connect(context.settings.warehouse) as postgres:
        return postgres.unpublished(since, until)


def ask_again(context: Context, window: Sequence[datetime]) -> None:
    """Asks REST once more about the minutes of these hours that are published as missing.

    A new answer is new evidence: it makes the hour's tasks incomplete, and they run again.
    """
    with warehouse.connect(context.settings.warehouse) as postgres:
        ledger = postgres.ledger(min(window), max(window) + HOUR)
    gaps = {(one.exchange, one.hour) for one in ledger if one.missing and one.exchange in context.settings.pairs}
    for exchange, hour in sorted(gaps, reverse=True):
        symbols = context.symbols(exchange)
        try:
            if stream_hour.made(context.lake, exchange, hour) is None:
                continue  # the tasks of the hour will read it, and ask
            with context.rest(exchange) as client:
                rest_hour.make(
                    context.lake, exchange, symbols, hour, client.candles, context.settings.clock, again=True
                )
        except LakeError as error:  # so will they make anew what is damaged; the other hours do not wait for that
            log.warning("%s, hour %s is not asked about again yet: %s", exchange, f"{hour:%Y-%m-%dT%H}", error)
    evidence.look_again()


def _values(folders: Sequence[str]) -> list[str]:
    """`exchange=binance` → `binance`"""
    return [folder.partition("=")[2] for folder in folders]
