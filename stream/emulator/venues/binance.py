"""Binance's and Binance.US's wire format and manners, from binance-spot-api-docs; market data of 1m candles only."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from urllib.parse import parse_qs, urlsplit

from stream.clock import floor
from stream.emulator.bar import EPOCH, MINUTE, Bar
from stream.emulator.faults import Emission, Finality
from stream.emulator.market import Market
from stream.emulator.trades import updates
from stream.emulator.venue import Answer, Manners, Session, encode, since_epoch

_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS")
_MILLISECOND = timedelta(milliseconds=1)
_CLOSING = 60.001
"""Two milliseconds after the last one that belongs to the minute."""
_WEIGHTS = {"/api/v3/klines": 2, "/api/v3/exchangeInfo": 20, "/api/v3/time": 1, "/api/v3/ping": 1}


class Binance:
    """A `Venue`."""

    finality: Finality = "flag"
    manners = Manners(lifetime=timedelta(hours=24))

    def __init__(self, exchange: str, market: Market, symbols: tuple[str, ...]) -> None:
        self.exchange = exchange
        self.market = market
        self.symbols = symbols
        self._native = {symbol.replace("-", ""): symbol for symbol in symbols}
        self._weighed = (EPOCH, 0)

    def serves(self, target: str) -> bool:
        """`/stream`, `/stream?streams=a/b`, `/ws`, `/ws/a/b`."""
        path = urlsplit(target).path
        return path == "/stream" or path == "/ws" or path.startswith("/ws/")

    def welcome(self, session: Session) -> list[str]:
        """The address may name streams; nothing is said."""
        parts = urlsplit(session.target)
        named = "/".join(parse_qs(parts.query).get("streams", [])) or parts.path.removeprefix("/ws").strip("/")
        if not _wrapped(session) or parts.query:
            session.channels.update(dict.fromkeys(filter(None, named.split("/"))))
        return []

    def reply(self, session: Session, text: str, now: datetime) -> list[str]:  # noqa: ARG002  # part of the protocol
        """An unknown pair is acknowledged like any other, and stays silent."""
        try:
            request = json.loads(text)
        except ValueError:
            return [_error(3, "Invalid JSON: expected value at line 1 column 1", None)]
        if not isinstance(request, dict):
            return [_error(2, "Invalid request: the request must be an object", None)]
        method, streams, number = request.get("method"), request.get("params", []), request.get("id")
        if not isinstance(number, int | str | None):
            return [_error(2, "Invalid request: request ID must be an unsigned integer", None)]
        if method not in _METHODS:
            expected = ", ".join(f"`{known}`" for known in _METHODS)
            return [_error(2, f"Invalid request: unknown variant `{method}`, expected one of {expected}", number)]
        if method == "LIST_SUBSCRIPTIONS":
            return [encode({"result": list(session.channels), "id": number})]
        if not isinstance(streams, list) or not streams or not all(isinstance(one, str) for one in streams):
            return [_error(2, "Invalid request: params must be a list of stream names", number)]
        for stream in streams:
            if method == "SUBSCRIBE":
                session.channels[stream] = None
            else:
                session.channels.pop(stream, None)
        return [encode({"result": None, "id": number})]

    def channel(self, symbol: str) -> str:
        """`BTC-USDT` → `btcusdt@kline_1m`."""
        return f"{symbol.replace('-', '').lower()}@kline_1m"

    def planned(self, bar: Bar) -> list[Emission]:
        """A push every two seconds while there were trades, and the flagged one just after the end, trades or not."""
        states = updates(bar) or ((2.0, bar),)
        pushes = [Emission(offset, offset, "push", state) for offset, state in states]
        return [*pushes, Emission(_CLOSING, _CLOSING, "push", bar, closing=True)]

    def message(self, symbol: str, emission: Emission) -> str:
        """The raw kline event."""
        bar = emission.bar
        assert bar is not None
        native, start = symbol.replace("-", ""), since_epoch(bar.start, _MILLISECOND)
        first = bar.first_trade_id if bar.trade_count else -1
        last = first + bar.trade_count - 1 if bar.trade_count else -1
        return (
            f'{{"e":"kline","E":{start + round(emission.stamped * 1000)},"s":"{native}","k":{{"t":{start},'
            f'"T":{start + 59_999},"s":"{native}","i":"1m","f":{first},"L":{last},'
            f'"o":"{bar.open:.8f}","c":"{bar.close:.8f}","h":"{bar.high:.8f}","l":"{bar.low:.8f}",'
            f'"v":"{bar.volume:.8f}","n":{bar.trade_count},"x":{"true" if emission.closing else "false"},'
            f'"q":"{bar.quote_volume:.8f}","V":"{bar.taker_volume:.8f}","Q":"{bar.taker_quote_volume:.8f}","B":"0"}}}}'
        )

    def framed(self, session: Session, symbol: str, message: str) -> str:
        """`/stream` wraps, `/ws` does not."""
        return f'{{"stream":"{self.channel(symbol)}","data":{message}}}' if _wrapped(session) else message

    def get(self, path: str, query: dict[str, str], now: datetime) -> Answer:
        """`klines`, `exchangeInfo`, `time` and `ping`; everything else is 404."""
        if path == "/api/v3/klines":
            answer = self._klines(query, now)
        elif path == "/api/v3/exchangeInfo":
            answer = Answer(self._exchange_info(now))
        elif path == "/api/v3/time":
            answer = Answer({"serverTime": since_epoch(now, _MILLISECOND)})
        elif path == "/api/v3/ping":
            answer = Answer({})
        else:
            return Answer({"code": -1000, "msg": f"There is no {path}."}, 404)
        minute = floor(now, MINUTE)
        used = self._weighed[1] if self._weighed[0] == minute else 0
        self._weighed = (minute, used + _WEIGHTS[path])
        return Answer(answer.body, answer.status, {"X-MBX-USED-WEIGHT-1M": str(self._weighed[1])})

    def refused(self) -> Answer:
        """429, with the wait in seconds."""
        body = {
            "code": -1003,
            "msg": "Too much request weight used; current limit is 6000 request weight per 1 MINUTE.",
        }
        return Answer(body, 429, {"Retry-After": "1", "X-MBX-USED-WEIGHT-1M": "6001"})

    def _klines(self, query: dict[str, str], now: datetime) -> Answer:
        symbol = self._native.get(query.get("symbol", ""))
        if symbol is None:
            return Answer({"code": -1121, "msg": "Invalid symbol."}, 400)
        if query.get("interval") != "1m":
            return Answer({"code": -1120, "msg": "Invalid interval."}, 400)
        try:
            limit = int(query.get("limit", "500"))
            start = _moment(query["startTime"]) if "startTime" in query else None
            end = _moment(query["endTime"]) if "endTime" in query else now
        except (ValueError, OverflowError):
            return Answer({"code": -1100, "msg": "Illegal characters found in a parameter."}, 400)
        if not 1 <= limit <= 1000:
            return Answer({"code": -1130, "msg": "Data sent for parameter 'limit' is not valid."}, 400)
        listed, delisted = self.market.span(symbol)
        newest = floor(min(end, now, delisted - MINUTE), MINUTE)
        first = max(_ceiling(start) if start is not None else newest - (limit - 1) * MINUTE, listed)
        bars = self.market.bars(symbol, first, min(newest, first + (limit - 1) * MINUTE), now)
        return Answer([_row(bar) for bar in bars])

    def _exchange_info(self, now: datetime) -> dict[str, object]:
        limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000}
        symbols = []
        for native, symbol in self._native.items():
            base, quote = symbol.split("-")
            precision = {"baseAssetPrecision": 8, "quotePrecision": 8, "quoteAssetPrecision": 8}
            pair = {"symbol": native, "status": "TRADING", "baseAsset": base, "quoteAsset": quote}
            symbols.append({**pair, **precision, "isSpotTradingAllowed": True, "permissions": ["SPOT"]})
        body: dict[str, object] = {
            "timezone": "UTC",
            "serverTime": since_epoch(now, _MILLISECOND),
            "rateLimits": [limit],
        }
        return {**body, "exchangeFilters": [], "symbols": symbols}


def _row(bar: Bar) -> list[object]:
    start = since_epoch(bar.start, _MILLISECOND)
    prices = [f"{value:.8f}" for value in (bar.open, bar.high, bar.low, bar.close, bar.volume)]
    takers = [f"{value:.8f}" for value in (bar.taker_volume, bar.taker_quote_volume)]
    return [start, *prices, start + 59_999, f"{bar.quote_volume:.8f}", bar.trade_count, *takers, "0"]


def _wrapped(session: Session) -> bool:
    return urlsplit(session.target).path == "/stream"


def _error(code: int, reason: str, number: object) -> str:
    return encode({"code": code, "msg": reason, "id": number})


def _moment(text: str) -> datetime:
    return EPOCH + timedelta(milliseconds=int(text))


def _ceiling(moment: datetime) -> datetime:
    return floor(moment + MINUTE - timedelta(microseconds=1), MINUTE)
