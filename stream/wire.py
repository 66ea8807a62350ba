"""The words between the exchange modules and the rest: what a message or a REST body becomes, and the rules of a line.

Everything here is plain data. Exchange modules produce it, nothing here opens a socket or reads the clock.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol

import msgspec

from stream.errors import MessageError

MINUTE = timedelta(minutes=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Candle(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One 1-minute candle as the exchange sent it.

    Volumes are in base currency (`volume`) and quote currency (`quote_volume`). None means that the exchange
    sends no such field. `is_final` is None where the exchange has no flag. `payload` is the candle's own element
    of the message, byte for byte.
    """

    native_symbol: str
    event_type: Literal["snapshot", "update"]
    event_ts: datetime | None
    interval_start: datetime
    is_final: bool | None
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote_volume: float | None = None
    trade_count: int | None = None
    vwap: float | None = None
    payload: str


class Trade(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One trade. `size` is in base currency; `trade_id` is None on rows older than the exchange's ids."""

    native_symbol: str
    event_ts: datetime
    trade_id: int | None
    price: float
    size: float
    side: Literal["buy", "sell"]
    payload: str


class Subscribed(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange acknowledged a subscription: one symbol's, or all of the request's when it names none."""

    native_symbol: str | None
    request_id: int | None


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange refused a subscription (or another request of ours) and said why."""

    native_symbol: str | None
    request_id: int | None
    reason: str


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange speaks about itself: `online`, `maintenance`, `cancel_only`, `post_only`, `shutdown`, ...

    `closing` asks for a replacement connection at once.
    """

    system: str
    detail: str = ""
    closing: bool = False


Record = Candle | Trade | Subscribed | Refused | Notice


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """One pair of the exchange's list: canonical symbol, native spelling on the websocket, open for trading or not."""

    symbol: str
    native_symbol: str
    trading: bool


class StreamRules(msgspec.Struct, frozen=True, kw_only=True):
    """What a websocket connection of this exchange must respect. Seconds throughout."""

    pairs_per_connection: int
    pairs_per_request: int
    requests_per_second: float
    lifetime: float | None
    """The exchange cuts the connection at this age; it is replaced, overlapping, before that."""
    idle: float
    """A connection on which nothing at all arrives for this long is dead."""
    stale: float
    """A pair that sends nothing for this long is subscribed anew."""
    reconnect: float
    """Shortest average wait between two failed connects."""


class RestRules(msgspec.Struct, frozen=True, kw_only=True):
    """What REST requests to this exchange must respect."""

    requests_per_second: float


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A GET: path and query, to be put behind the configured `rest_url`."""

    path: str
    query: dict[str, str] = {}


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """A REST answer. `server_time` is the exchange's clock (HTTP `Date`), None where it sent none."""

    status: int
    body: bytes
    server_time: datetime | None
    recv_ts: datetime


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a REST answer cannot be used: `wait` (rate limit), `retry` (busy), `unknown_pair`, or `fatal`."""

    kind: Literal["wait", "retry", "unknown_pair", "fatal"]
    reason: str


Silence = Literal["no_data", "no_trade_if_alive", "no_trade"]


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """What REST had to say about one pair between two moments.

    `covered_start`..`covered_end` is the stretch with rows on both sides: what has no row inside it, has none at the
    exchange. What that `silence` means: `no_data` (this exchange has a flat row for a minute without trades, so a
    minute without a row was lost there), `no_trade_if_alive` (nobody traded, if the stream was alive and silent too)
    or `no_trade` (the range was read trade by trade). `previous_close` is the last price before the range, None where
    unknown. `beyond_history` says that the exchange no longer serves (part of) the range.
    """

    candles: list[Candle] = []
    trades: list[Trade] = []
    covered_start: datetime | None = None
    covered_end: datetime | None = None
    silence: Silence = "no_data"
    previous_close: float | None = None
    beyond_history: bool = False


Fetching = Generator[Request, Response, Fetched]
"""A dialogue without I/O: yields requests, is sent the answers, returns what was learnt."""


class Exchange(Protocol):
    """What a module in `stream/exchanges/` offers. The module itself is the implementation."""

    ID: str
    WS_URL: str
    REST_URL: str
    FLAGS_FINAL: bool
    """The stream itself marks finished candles."""
    STREAM: StreamRules
    REST: RestRules

    def native_symbol(self, symbol: str, /) -> str:
        """Canonical symbol → the websocket's spelling."""

    def stream_url(self, ws_url: str, /) -> str:
        """The address to dial, given the configured `ws_url`."""

    def subscribe(self, native_symbols: list[str], request_id: int, /) -> str:
        """The text that subscribes to 1-minute candles of these pairs."""

    def unsubscribe(self, native_symbols: list[str], request_id: int, /) -> str:
        """The text that takes these subscriptions back."""

    def parse_message(self, text: str | bytes, /) -> list[Record]:
        """A websocket text → its records; [] for heartbeats; MessageError for what is not understood."""

    def instruments_request(self) -> Request:
        """The request for the list of pairs."""

    def parse_instruments(self, body: bytes, /) -> list[Instrument]:
        """The body of that list → its pairs, canonical and native."""

    def refusal(self, response: Response, /) -> Refusal | None:
        """Why this REST answer cannot be used, or None: errors live in bodies with status 200 too."""

    def fetch_candles(self, symbol: str, start: datetime, end: datetime, /) -> Fetching:
        """The dialogue that reads the finished candles with `start <= interval_start < end`."""


def from_milliseconds(value: int) -> datetime:
    """Milliseconds since the epoch → UTC datetime, exactly."""
    return EPOCH + timedelta(milliseconds=value)


def check_candle(candle: Candle) -> Candle:
    """The candle itself, or MessageError naming what no real candle can have."""
    o, h, low, c, v = candle.open, candle.high, candle.low, candle.close, candle.volume
    if not (0 < low <= o <= h < math.inf and low <= c <= h):
        raise MessageError(
            f"{candle.native_symbol} {candle.interval_start:%Y-%m-%dT%H:%M:%SZ}: open {o}, high {h}, low {low}, "
            f"close {c} cannot be one candle (0 < low <= open, close <= high)"
        )
    if not 0 <= v < math.inf:
        raise MessageError(f"{candle.native_symbol} {candle.interval_start}: the volume {v} is not a quantity")
    start = candle.interval_start
    if start.second or start.microsecond:
        raise MessageError(f"{candle.native_symbol}: the interval start {start.isoformat()} is not on the minute")
    return candle
