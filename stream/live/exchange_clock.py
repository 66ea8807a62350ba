"""What time it is at the exchange, as far as a connection can tell. Its minutes are not over when ours are."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import datetime, timedelta

from stream.clock import Clock
from stream.live.minutes import GRACE
from stream.wire import MINUTE, Candle, Trade

log = logging.getLogger(__name__)

_FAR = timedelta(days=1)


class ExchangeClock:
    """Told what came when, it says how far our clock is off. One connection's."""

    def __init__(self, exchange: str) -> None:
        self._exchange = exchange
        self._lag: timedelta | None = None
        self._ahead: timedelta | None = None
        self._dated: timedelta | None = None
        self._doubted: timedelta | None = None

    def dated(self, said: datetime, now: datetime) -> None:
        """The exchange said that it was `said`, cut off to the second, not after our `now`."""
        self._dated = now - said

    def saw(self, record: Candle | Trade, now: datetime) -> None:
        """A candle that says no time had begun; and if it is not history, it had not ended long ago."""
        begun = record.interval_start if isinstance(record, Candle) else record.event_ts
        lag = now - (record.event_ts or begun)
        if self._strange(lag):
            return
        if self._lag is None or lag < self._lag:
            self._lag = lag
        if isinstance(record, Candle) and record.event_type == "update":
            ahead = now - (record.event_ts or record.interval_start + MINUTE)
            if self._ahead is None or ahead < self._ahead:
                self._ahead = ahead

    def _strange(self, lag: timedelta) -> bool:
        """A time that is far from all that was said before is believed when another message says the same."""
        known = self._lag if self._lag is not None else self._dated or timedelta()
        doubted, self._doubted = self._doubted, None
        if known - lag < _FAR or (doubted is not None and abs(lag - doubted) < _FAR):
            return False
        self._doubted = lag
        return True

    @property
    def lag(self) -> timedelta | None:
        """How far our clock is before the exchange's, at most; negative when it is behind; None when nothing tells.

        What a message is about had happened there when it came here: the youngest message tells. A quiet pair's are
        old; where the exchange's own clock was seen to agree with ours, that tells as well.
        """
        agrees = self._dated is not None and abs(self._dated) < GRACE
        if self._dated is None or not (agrees or self._lag is None):
            return self._lag
        return self._dated if self._lag is None else min(self._lag, self._dated)

    def there(self, now: datetime) -> datetime | None:
        """What time it is at the exchange, at least, when it is `now` here."""
        lag = self.lag
        return None if lag is None else now - lag

    def complain(self, tally: Counter[str], clock: Clock) -> None:
        """Says that our clock is wrong, if that is sure: once an hour over all connections that share a tally.

        On the wall, that is: where a rehearsal's clock runs faster, every delay makes it seem ahead.
        """
        off, none = self._dated, timedelta()
        if off is None:
            off = min(self._lag or none, none) or max(self._ahead or none, none)
        if clock.wall_seconds(abs(off).total_seconds()) >= GRACE.total_seconds() and not tally["clock"]:
            tally["clock"] += 1
            log.error(
                "our clock is about %s %s that of %s: what is recorded counts for less, and REST has to fill it. "
                "Set the clock of this machine (NTP, time zone)",
                timedelta(seconds=round(abs(off).total_seconds())),
                "behind" if off < none else "ahead of",
                self._exchange,
            )
