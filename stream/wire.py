"""The words between the exchange modules and the rest: what a message or a REST body becomes, and the rules of a line.

Everything here is plain data. Exchange modules produce it, nothing here opens a socket or reads the clock.
"""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol

import msgspec

from stream.clock import HOUR

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


class Misfit(msgspec.Struct, frozen=True, kw_only=True):
    """An element of a message or of an answer that is no candle and no trade. It costs itself, not its neighbours.

    `native_symbol` and `minute` say what it is about, as far as that can be told. `payload` is the element as it came.
    """

    native_symbol: str | None
    minute: datetime | None
    reason: str
    payload: str


class Novelty(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange sends more than this version knows, beside what it knows."""

    what: str


Odd = Misfit | Novelty


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


class Pong(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange answered the keep-alive text: everything that it had sent before has come."""


class Sequence(msgspec.Struct, frozen=True, kw_only=True):
    """The message's number on its connection, where the exchange counts them: a jump means that some were lost."""

    number: int


Record = Candle | Trade | Misfit | Novelty | Subscribed | Refused | Notice | Pong | Sequence


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """One pair of the exchange's list: canonical symbol, native spelling on the websocket, open for trading or not."""

    symbol: str
    native_symbol: str
    trading: bool


class Keepalive(msgspec.Struct, frozen=True, kw_only=True):
    """A text that the exchange wants to hear regularly, also while data flows; it answers with what parses to Pong."""

    text: str
    every: float
    """Seconds between two of them."""


class StreamRules(msgspec.Struct, frozen=True, kw_only=True):
    """What a websocket connection of this exchange must respect. Seconds throughout."""

    pairs_per_connection: int
    pairs_per_request: int
    requests_per_second: float
    requests_per_hour: int | None = None
    """Of one connection; subscribing and taking back count alike."""
    timed: str | None = None
    """Where in each text that is sent its time belongs: in place of the 0 at the end, in seconds since the epoch."""
    greeting: str | None = None
    """Sent first on every connection, before any pair is asked for."""
    first_request: float | None = None
    """The exchange hangs up on a connection that has not asked for anything within this time."""
    keepalive: Keepalive | None = None
    """None where the websocket's own pings do."""
    lifetime: float | None
    """The exchange cuts the connection at this age; it is replaced, overlapping, before that."""
    idle: float
    """A connection on which nothing at all arrives for this long is dead."""
    stale: float
    """A pair that sends nothing for this long is subscribed anew."""
    reconnect: float
    """Shortest average wait between two failed connects."""


class TradeRules(msgspec.Struct, frozen=True, kw_only=True):
    """What this exchange's trades prove."""

    streamed: bool
    """The stream sends trades, not candles: the candles are built from them in the hourly run."""
    consecutive_ids: bool
    """A pair's trades are numbered one by one: where no number is left out, no trade is missing."""


class RestRules(msgspec.Struct, frozen=True, kw_only=True):
    """What REST requests to this exchange must respect."""

    requests_per_second: float
    reach: timedelta | None = None
    """How old a minute may be to be had as a candle; None where that does not matter."""
    older: Literal["gone", "trades"] = "gone"
    """What becomes of older ones: they are lost, or can be built from trades, which takes many requests."""
    together: timedelta = HOUR
    """Minutes no farther apart are asked about in one question. Less than an hour, where what lies between costs."""


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
    or `no_trade` (the range was read trade by trade). It says nothing of minutes that misfits are about.
    `previous_close` is the last price before the range, None where unknown. `beyond_history` says that the exchange no
    longer serves (part of) the range.
    """

    candles: list[Candle] = []
    trades: list[Trade] = []
    odd: list[Odd] = []
    covered_start: datetime | None = None
    covered_end: datetime | None = None
    silence: Silence = "no_data"
    previous_close: float | None = None
    beyond_history: bool = False


Fetching = Generator[Request, Response, Fetched]
"""A dialogue without I/O: yields requests, is sent the answers (or thrown the RestError), returns what was learnt."""


class Exchange(Protocol):
    """What a module in `stream/exchanges/` offers. The module itself is the implementation."""

    ID: str
    WS_URL: str
    REST_URL: str
    FLAGS_FINAL: bool
    """The stream itself marks finished candles."""
    STREAM: StreamRules
    REST: RestRules
    TRADES: TradeRules | None
    """None where neither stream nor REST sends trades."""

    def native_symbol(self, symbol: str, /) -> str:
        """Canonical symbol → the websocket's spelling."""

    def stream_url(self, ws_url: str, /) -> str:
        """The address to dial, given the configured `ws_url`."""

    def subscribe(self, native_symbols: list[str], request_id: int, /) -> str:
        """The text that subscribes to 1-minute candles of these pairs, or to their trades where it has no candles."""

    def unsubscribe(self, native_symbols: list[str], request_id: int, /) -> str:
        """The text that takes these subscriptions back."""

    def parse_message(self, text: str | bytes, /) -> list[Record]:
        """A websocket text → its records; [] for heartbeats; MessageError for what is not understood as a whole."""

    def parse_row(self, native: str, raw: msgspec.Raw, /) -> Candle | Trade:
        """A row of `fetch_candles`'s answers about this pair; MessageError or ValueError for what is none."""

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


def from_seconds(value: int) -> datetime:
    """Seconds since the epoch → UTC datetime, exactly."""
    return EPOCH + timedelta(seconds=value)


def milliseconds(moment: datetime) -> int:
    """Whole milliseconds since the epoch."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


def seconds(moment: datetime) -> int:
    """Whole seconds since the epoch."""
    return (moment - EPOCH) // timedelta(seconds=1)
