"""The tasks' side of a world: somebody runs the hours, as `Hourly` does, with the plain functions behind the tasks."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import httpx

from stream.errors import HourNotReady
from stream.exchanges import EXCHANGES
from stream.lake import Lake, layout
from stream.rest import RestClient, open_rest
from stream.settings import Settings
from tasks import hours
from tasks.hour import publish_hour, rest_hour, silver_hour, stream_hour
from tasks.hour.context import Context
from tasks.tables import parquet


class Surroundings(Context):
    """What the tasks work with, in a world: its lake, and its REST."""

    def __init__(self, found: Settings, lake: Lake, transport: httpx.BaseTransport, chance: random.Random) -> None:
        super().__init__(found)
        self.lake = lake
        self._transport = transport
        self._chance = chance

    @contextmanager
    def rest(self, exchange: str) -> Iterator[RestClient]:
        """Over the network in memory."""
        url, clock = self.settings.exchanges[exchange].rest_url, self.settings.clock
        with open_rest(EXCHANGES[exchange], url, clock, self._transport, self._chance) as client:
            yield client


class Worker:
    """One run. It goes in step with the loop. With a warehouse, what is in silver is published."""

    def __init__(self, context: Context, look_at: list[datetime], *, publishes: bool) -> None:
        self.worked = 0
        """How many results it made."""
        self._context = context
        self._settings = context.settings
        self._lake = context.lake
        self._hours = look_at
        self._publishes = publishes

    def run(self, *, anew: bool = False) -> None:
        """Asks again for what is missing, then brings all hours up to date. `anew`: makes all results again."""
        over = [hour for hour in self._hours if self._is_over(hour)]
        for hour in over:
            for exchange in self._settings.pairs:
                self._ask_again(exchange, hour)
        for hour in reversed(over):
            for exchange, symbols in self._settings.pairs.items():
                self._look_after(exchange, symbols, hour, anew=anew)
            if self._publishes:
                self._publish(hour, anew=anew)

    def _publish(self, hour: datetime, *, anew: bool) -> None:
        if anew or not publish_hour.is_published(self._context, hour):
            self.worked += 1
            publish_hour.publish(self._context, hour)
        if anew or not publish_hour.has_bars(self._context, hour):
            self.worked += 1
            publish_hour.publish_bars(self._context, hour)

    def _is_over(self, hour: datetime) -> bool:
        try:
            hours.check_over(hour, self._settings)
        except HourNotReady:
            return False
        return True

    def _ask_again(self, exchange: str, hour: datetime) -> None:
        symbols = self._settings.pairs[exchange]
        if parquet.facts(self._lake, layout.bronze_key(exchange, hour, "stream")) is None:
            return
        facts = silver_hour.facts_of(self._lake, hour, [(exchange, symbol) for symbol in symbols])
        if any(found and found["missing"] for found in facts.values()):
            with self._context.rest(exchange) as client:
                rest_hour.make(self._lake, exchange, symbols, hour, client.candles, self._settings.clock, again=True)

    def _look_after(self, exchange: str, symbols: tuple[str, ...], hour: datetime, *, anew: bool) -> None:
        lake = self._lake
        if anew or not stream_hour.is_current(lake, exchange, symbols, hour):
            self.worked += 1
            stream_hour.make(lake, exchange, symbols, hour)
        if anew or not rest_hour.is_current(lake, exchange, symbols, hour):
            self.worked += 1
            with self._context.rest(exchange) as client:
                rest_hour.make(lake, exchange, symbols, hour, client.candles, self._settings.clock)
        facts = silver_hour.facts_of(lake, hour, [(exchange, symbol) for symbol in symbols])
        if anew or not silver_hour.is_current(lake, exchange, symbols, hour, facts):
            self.worked += 1
            silver_hour.make(lake, exchange, symbols, hour, keep_empty=True)
