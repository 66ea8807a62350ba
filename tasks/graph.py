"""The Luigi tasks: what depends on what, and which plain function does the work.

    BronzeStream ─▶ BronzeRest ─▶ SilverPair (one per pair) ─▶ SilverHour ─▶ GoldHour ◀─ Hourly
                        └─▶ KnownHour ─▶┘  (of an old hour, unless it is a backfill)

A task is complete when its output exists and was made from the evidence that exists now.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import luigi

from stream.lake import layout
from tasks import hours, sentences
from tasks.hour import known, publish_hour, rest_hour, silver_hour, stream_hour
from tasks.hour.context import Context
from tasks.kinds import ExchangeHourTask, HourTask, KlinesTask, LakeTarget, MayBeBackfill

_THIS_RUN = uuid.uuid4().hex[:10]

sentences.install()


class BronzeStream(ExchangeHourTask):
    """Reads the hour's recorded lines of all pairs into typed Parquet."""

    def is_current(self, context: Context) -> bool:
        """Made from the lines that there are."""
        return stream_hour.is_current(context.lake, str(self.exchange), self.symbols(context), self.utc)

    def output(self) -> LakeTarget:
        """stream.parquet"""
        return LakeTarget(layout.bronze_key(str(self.exchange), self.utc, "stream"))

    def run(self) -> None:
        """See tasks/hour/stream_hour.py."""
        context = Context.load()
        hours.check_over(self.utc, context.settings)
        rejected = stream_hour.make(context.lake, str(self.exchange), self.symbols(context), self.utc)
        self.say(f"{rejected} torn or foreign lines set aside" if rejected else "all lines read")


class BronzeRest(ExchangeHourTask):
    """Fetches from REST what the stream did not finish, all pairs under one rate budget."""

    @property
    def resources(self) -> dict[str, int]:  # type: ignore[override]  # Luigi documents the property form
        """One at a time per exchange, over all workers."""
        return {f"rest_{self.exchange}": 1}

    def requires(self) -> BronzeStream:
        """What the stream finished need not be asked for."""
        return BronzeStream(exchange=self.exchange, hour=self.hour)

    def is_current(self, context: Context) -> bool:
        """Made from the answers that there are, in view of the lines that there are."""
        return rest_hour.is_current(context.lake, str(self.exchange), self.symbols(context), self.utc)

    def output(self) -> LakeTarget:
        """rest.parquet"""
        return LakeTarget(layout.bronze_key(str(self.exchange), self.utc, "rest"))

    def run(self) -> None:
        """See tasks/hour/rest_hour.py."""
        context = Context.load()
        with context.rest(str(self.exchange)) as client:
            failures = rest_hour.make(
                context.lake,
                str(self.exchange),
                self.symbols(context),
                self.utc,
                client.candles,
                context.settings.clock,
            )
        self.say("\n".join(failures) or "every gap was asked for and answered")


class KnownHour(HourTask):
    """Says no to an old hour about which nothing at all is known: to publish it would spoil the completeness."""

    @property
    def resources(self) -> dict[str, int]:  # type: ignore[override]  # as above
        """It may ask REST of all exchanges."""
        return {f"rest_{exchange}": 1 for exchange in Context.load().settings.pairs}

    def requires(self) -> list[BronzeRest]:
        """All that can be known about it."""
        return [BronzeRest(exchange=exchange, hour=self.hour) for exchange in Context.load().settings.pairs]

    def is_current(self, context: Context) -> bool:
        """Something is known."""
        return known.is_known(context, self.utc)

    def output(self) -> list[LakeTarget]:
        """Nothing: it only looks."""
        return []

    def run(self) -> None:
        """See tasks/hour/known.py."""
        known.check(Context.load(), self.utc)


class SilverPair(ExchangeHourTask, MayBeBackfill):
    """Chooses, fills and judges pairs. Luigi hands many pairs to one run, comma-separated."""

    symbol = luigi.Parameter(batch_method=",".join, description="canonical symbol, such as BTC-USDT")
    max_batch_size = 1000

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As Luigi does, with a name of its own for every run of a batch.

        luigid remembers for ever which worker ran a batch first, and turns a deaf ear to the next worker's "done" for
        the same name: the pairs would stay pending, and that worker would run them again without end.
        """
        super().__init__(*args, **kwargs)
        if len(self.batch) > 1:
            self.task_id = f"{self.task_id}_{_THIS_RUN}"

    def requires(self) -> list[luigi.Task]:
        """Both kinds of evidence; of an hour that `Hourly` does not look at, that there is any."""
        recent = self.utc >= min(hours.window(Context.load().settings))
        return [
            BronzeStream(exchange=self.exchange, hour=self.hour),
            BronzeRest(exchange=self.exchange, hour=self.hour),
            *([] if recent or self.backfill else [KnownHour(hour=self.hour)]),
        ]

    @property
    def batch(self) -> list[str]:
        """The symbols of this run."""
        return str(self.symbol).split(",")

    def is_current(self, context: Context) -> bool:
        """Every pair of the batch was judged from the evidence that there is."""
        context.check_pairs(str(self.exchange), self.batch)
        facts = silver_hour.facts_of(context.lake, self.utc, [(str(self.exchange), symbol) for symbol in self.batch])
        return silver_hour.is_current(context.lake, str(self.exchange), self.batch, self.utc, facts)

    def output(self) -> list[LakeTarget]:
        """One part.parquet per pair."""
        return [LakeTarget(layout.silver_key(str(self.exchange), symbol, self.utc)) for symbol in self.batch]

    def run(self) -> None:
        """See tasks/hour/silver_hour.py."""
        context = Context.load()
        keep_empty = context.settings.hours.empty_minutes == "flat"
        silver_hour.make(context.lake, str(self.exchange), self.batch, self.utc, keep_empty=keep_empty)


class SilverHour(HourTask, MayBeBackfill):
    """Publishes the hour of all configured pairs in Postgres, whole."""

    def requires(self) -> list[SilverPair]:
        """Every configured pair."""
        return [
            SilverPair(exchange=exchange, symbol=symbol, hour=self.hour, backfill=self.backfill)
            for exchange, symbol in Context.load().configured_pairs()
        ]

    def is_current(self, context: Context) -> bool:
        """Every pair's silver is up to date, and Postgres has just that."""
        return publish_hour.is_published(context, self.utc)

    def output(self) -> list[LakeTarget]:
        """In Postgres: a partition of silver.fact_ohlcv. In the lake: nothing of its own."""
        return []

    def run(self) -> None:
        """See tasks/hour/publish_hour.py."""
        self.say(publish_hour.publish(Context.load(), self.utc))


class GoldHour(HourTask, MayBeBackfill):
    """Rolls the published hour up into bars."""

    def requires(self) -> SilverHour:
        """Bars come from silver only."""
        return SilverHour(hour=self.hour, backfill=self.backfill)

    def is_current(self, context: Context) -> bool:
        """The bars were made from what is published."""
        return self.requires().is_current(context) and publish_hour.has_bars(context, self.utc)

    def output(self) -> list[LakeTarget]:
        """In Postgres: rows of gold.ohlcv_*."""
        return []

    def run(self) -> None:
        """See tasks/hour/publish_hour.py."""
        publish_hour.publish_bars(Context.load(), self.utc)


class Hourly(KlinesTask):
    """What a timer runs: the last finished hour, and earlier ones that lack something, or were never published."""

    lookback_hours = luigi.OptionalIntParameter(
        default=None, description="how far to look back; [hours] lookback_hours when not given"
    )
    _asked_again = False
    _done = False

    def is_current(self, context: Context) -> bool:  # noqa: ARG002
        """Never before it ran: looking is its work."""
        return self._done

    def run(self) -> Iterator[list[GoldHour]]:
        """Asks REST again for what is missing, then brings every hour of the window up to date.

        So it does with earlier ones, of the last month, that were never published: the host was off, or they failed.
        """
        context = Context.load()
        window = hours.window(context.settings, self.lookback_hours)
        if not self._asked_again:
            publish_hour.ask_again(context, window)
            self._asked_again = True
        yield [GoldHour(hour=hour.replace(tzinfo=None)) for hour in looked_after(context, window)]
        publish_hour.mend_bars(context)
        self._done = True


def looked_after(context: Context, window: list[datetime]) -> list[datetime]:
    """What `Hourly` brings up to date: the window, and hours before it that should be published, but are not.

    WarehouseError where Postgres cannot be asked.
    """
    return [*window, *publish_hour.unpublished(context, min(window) - hours.HORIZON, min(window))]
