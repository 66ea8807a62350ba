"""Bybit's wire format and manners, from the v5 docs: spot klines, REST `kline`, `instruments-info` and `time`."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from stream.clock import floor
from stream.emulator.bar import EPOCH, MINUTE, Bar
from stream.emulator.faults import Emission, Finality
from stream.emulator.market import Market
from stream.emulator.trades import updates
from stream.emulator.venue import Answer, Manners, Session, encode, since_epoch

_MILLISECOND = timedelta(milliseconds=1)
_CLOSING = 60.001
"""Two milliseconds after the last one that belongs to the minute."""
_TOPICS = 10
"""Topics that one request may name."""


class Bybit:
    """A `Venue`."""

    finality: Finality = "flag"
    manners = Manners(client_silence=timedelta(minutes=10), deaf=timedelta(seconds=60))

    def __init__(self, exchange: str, market: Market, symbols: tuple[str, ...]) -> None:
        self.exchange = exchange
        self.market = market
        self.symbols = symbols
        self._native = {symbol.replace("-", ""): symbol for symbol in symbols}
        self._topics = {self.channel(symbol) for symbol in symbols}

    def serves(self, target: str) -> bool:
        """Spot only."""
        return urlsplit(target).path == "/v5/public/spot"

    def welcome(self, session: Session) -> list[str]:  # noqa: ARG002  # part of the protocol
        """Nothing is said."""
        return []

    def reply(self, session: Session, text: str, now: datetime) -> list[str]:  # noqa: ARG002  # part of the protocol
        """One answer to a request, whatever number of topics it names."""
        try:
            request = json.loads(text)
            operation, number = request["op"], request.get("req_id", "")
            topics = [str(one) for one in request.get("args", [])]
        except (ValueError, KeyError, TypeError, AttributeError):
            return [_answer(session, success=False, said="Failed to decode incoming data", number="", operation="")]
        if operation == "ping":  # answered under its own name, and without its number
            pong = {"success": True, "ret_msg": "pong", "conn_id": _connection(session), "op": "ping"}
            return [encode(pong)]
        if operation not in ("subscribe", "unsubscribe"):
            return [_answer(session, success=False, said="error:invalid op", number=number, operation=operation)]
        wrong = self._wrong(session, operation, topics)
        if wrong is None and operation == "subscribe":
            session.channels.update(dict.fromkeys(topics))
        elif wrong is None:
            for topic in topics:
                session.channels.pop(topic, None)
        return [_answer(session, success=wrong is None, said=wrong or operation, number=number, operation=operation)]

    def _wrong(self, session: Session, operation: str, topics: list[str]) -> str | None:
        """What is wrong with the request: then nothing of it is done."""
        if len(topics) > _TOPICS:
            return f"args size >{_TOPICS}"
        for topic in topics if operation == "subscribe" else ():
            if not topic.startswith("kline.1."):
                return f"error:handler not found,topic:{topic}"
            if topic not in self._topics:
                return f"Invalid symbol :[{topic}]"
            if topic in session.channels:
                return f"error:already subscribed,topic:{topic}"
        return None

    def channel(self, symbol: str) -> str:
        """`BTC-USDT` → `kline.1.BTCUSDT`."""
        return f"kline.1.{symbol.replace('-', '')}"

    def planned(self, bar: Bar) -> list[Emission]:
        """A push every two seconds while there were trades, and the flagged one just after the end, trades or not."""
        pushes = [Emission(offset, offset, "push", state) for offset, state in updates(bar)]
        return [*pushes, Emission(_CLOSING, _CLOSING, "push", bar, closing=True)]

    def message(self, symbol: str, emission: Emission) -> str:
        """The whole candle; the last trade of a silent minute lies before it."""
        bar = emission.bar
        assert bar is not None
        start = since_epoch(bar.start, _MILLISECOND)
        pushed = start + round(emission.stamped * 1000)
        traded = min(pushed, start + 59_999) if bar.trade_count else start - 1
        return (
            f'{{"topic":"{self.channel(symbol)}","data":[{{"start":{start},"end":{start + 59_999},"interval":"1",'
            f'"open":"{bar.open:f}","close":"{bar.close:f}","high":"{bar.high:f}","low":"{bar.low:f}",'
            f'"volume":"{bar.volume:f}","turnover":"{bar.quote_volume:f}",'
            f'"confirm":{"true" if emission.closing else "false"},"timestamp":{traded}}}],'
            f'"ts":{pushed},"type":"snapshot"}}'
        )

    def framed(self, session: Session, symbol: str, message: str) -> str:  # noqa: ARG002  # part of the protocol
        """As it is."""
        return message

    def get(self, path: str, query: dict[str, str], now: datetime) -> Answer:
        """`kline`, `instruments-info` and `time`; errors come with status 200."""
        if path == "/v5/market/kline":
            return self._kline(query, now)
        if path == "/v5/market/instruments-info":
            listed = [_listed(symbol) for symbol in self.symbols] if query.get("category") == "spot" else []
            return _done({"category": query.get("category", ""), "list": listed, "nextPageCursor": ""}, now)
        if path == "/v5/market/time":
            seconds, nanoseconds = since_epoch(now, timedelta(seconds=1)), since_epoch(now, _MILLISECOND) * 1_000_000
            return _done({"timeSecond": str(seconds), "timeNano": str(nanoseconds)}, now)
        return Answer({"retCode": 10017, "retMsg": f"Route not found: {path}"}, 404)

    def refused(self) -> Answer:
        """The address asked too often: 403, and not a word about how long."""
        return Answer("access too frequent", 403)

    def _kline(self, query: dict[str, str], now: datetime) -> Answer:
        """The newest `limit` rows of the window, newest first; whoever forgets the category asks for the perpetual."""
        native, category = query.get("symbol", ""), query.get("category", "linear")
        symbol = self._native.get(native)
        if symbol is None:
            return _failed("Not supported symbols", now)
        try:
            limit = min(int(query.get("limit", "200")), 1000)
            start = floor(_moment(query["start"]), MINUTE) if "start" in query else EPOCH
            end = _moment(query["end"]) if "end" in query else now
        except (ValueError, OverflowError):
            return _failed("params error: a number was expected", now)
        if query.get("interval") != "1" or limit < 1:
            return _failed("params error: interval or limit", now)
        listed, delisted = self.market.span(symbol)
        newest = floor(min(end, now, delisted - MINUTE), MINUTE)
        first = max(start, newest - (limit - 1) * MINUTE, listed)
        bars = self.market.bars(symbol, first, newest, now) if category == "spot" else []
        rows = [_row(bar) for bar in reversed(bars)]
        return _done({"category": category, "symbol": native, "list": rows}, now)


def _answer(session: Session, *, success: bool, said: str, number: object, operation: object) -> str:
    body = {"success": success, "ret_msg": said, "conn_id": _connection(session), "req_id": number, "op": operation}
    return encode(body)


def _connection(session: Session) -> str:
    return f"emulated-{session.number}"


def _done(result: dict[str, object], now: datetime) -> Answer:
    return _body(0, "OK", result, now)


def _failed(reason: str, now: datetime) -> Answer:
    return _body(10001, reason, {}, now)


def _body(code: int, said: str, result: dict[str, object], now: datetime) -> Answer:
    time = since_epoch(now, _MILLISECOND)
    return Answer({"retCode": code, "retMsg": said, "result": result, "retExtInfo": {}, "time": time})


def _row(bar: Bar) -> list[str]:
    prices = [f"{value:f}" for value in (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.quote_volume)]
    return [str(since_epoch(bar.start, _MILLISECOND)), *prices]


def _listed(symbol: str) -> dict[str, object]:
    base, quote = symbol.split("-")
    pair = {"symbol": f"{base}{quote}", "baseCoin": base, "quoteCoin": quote, "innovation": "0", "status": "Trading"}
    precision = {"basePrecision": "0.00000001", "quotePrecision": "0.00000001"}
    sizes = {"minOrderQty": "0.00000001", "maxOrderQty": "1000000", "minOrderAmt": "5", "maxOrderAmt": "4000000"}
    risk = {"priceLimitRatioX": "0.01", "priceLimitRatioY": "0.02"}
    return {
        **pair,
        "marginTrading": "none",
        "stTag": "0",
        "lotSizeFilter": {**precision, **sizes},
        "priceFilter": {"tickSize": "0.000001"},
        "riskParameters": risk,
    }


def _moment(text: str) -> datetime:
    return EPOCH + timedelta(milliseconds=int(text))
