"""Kraken's wire format and manners, from docs.kraken.com: websocket v2 `ohlc`, REST `OHLC`, `Trades` and the lists."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime

from stream.clock import floor
from stream.emulator.bar import EPOCH, MINUTE, Bar, flat
from stream.emulator.faults import Emission, Finality
from stream.emulator.market import Market
from stream.emulator.trades import Trade, trades, updates
from stream.emulator.venue import Answer, Manners, Session, encode, since_epoch

_LEGACY = {"BTC": "XBT", "DOGE": "XDG"}
_PREFIXED = {"XBT": "XXBT", "XDG": "XXDG", "ETH": "XETH", "USD": "ZUSD", "EUR": "ZEUR"}
"""Some assets have a letter in front, as only REST has it."""
_SECOND, _MICROSECOND = timedelta(seconds=1), timedelta(microseconds=1)
_SNAPSHOT = 10
"""Traded candles in a snapshot."""
_LOOK_BACK = 60 * MINUTE
"""How far back they are looked for."""
_ROWS = 720
_TRADES = 1000


class Kraken:
    """A `Venue`."""

    finality: Finality = "none"
    manners = Manners(heartbeat='{"channel":"heartbeat"}', idle=timedelta(seconds=60))

    def __init__(self, exchange: str, market: Market, symbols: tuple[str, ...]) -> None:
        self.exchange = exchange
        self.market = market
        self.symbols = symbols
        self._by_channel = {self.channel(symbol): symbol for symbol in symbols}
        spellings = (altname, lambda symbol: symbol.replace("-", ""), lambda symbol: symbol.replace("-", "/"))
        self._by_pair = {spell(symbol): symbol for spell in spellings for symbol in symbols}

    def serves(self, target: str) -> bool:  # noqa: ARG002  # part of the protocol
        """Every path."""
        return True

    def welcome(self, session: Session) -> list[str]:
        """The state of the system."""
        state = {"version": "2.0.10", "system": "online", "api_version": "v2", "connection_id": session.number}
        return [encode({"channel": "status", "type": "update", "data": [state]})]

    def reply(self, session: Session, text: str, now: datetime) -> list[str]:
        """One acknowledgement or refusal per symbol, each acknowledgement with its snapshot behind it."""
        try:
            request = json.loads(text)
            method, params = request["method"], request.get("params", {})
            symbols = [str(one) for one in params.get("symbol", [])]
        except (ValueError, KeyError, TypeError, AttributeError):
            return [_failure("subscribe", "Malformed request", None, None, now)]
        number = request.get("req_id")
        if method == "ping":
            return [encode({"method": "pong", **_numbered(number), "success": True, **_times(now)})]
        if method not in ("subscribe", "unsubscribe"):
            return [_failure(str(method), "Unsupported method", None, number, now)]
        if params.get("channel") != "ohlc":
            return [_failure(method, "Unsupported field: 'channel' for the given msg type", None, number, now)]
        if params.get("interval", 1) != 1:
            return [_failure(method, "Subscription ohlc interval not supported", None, number, now)]
        history = params.get("snapshot", True) is not False
        answer = self._subscribe if method == "subscribe" else self._unsubscribe
        return [line for symbol in symbols for line in answer(session, symbol, number, now, history)]

    def _subscribe(self, session: Session, native: str, number: object, now: datetime, history: bool) -> list[str]:
        if native not in self._by_channel:
            return [_failure("subscribe", f"Currency pair not supported {native}", native, number, now)]
        if native in session.channels:
            return [_failure("subscribe", "Already subscribed", native, number, now)]
        session.channels[native] = None
        result = {"channel": "ohlc", "interval": 1, "snapshot": history, "symbol": native}
        warnings = {"warnings": ["timestamp is deprecated, use interval_begin"]}
        acknowledged = _success("subscribe", {**result, **warnings}, number, now)
        candles = self._latest(self._by_channel[native], now) if history else []
        return [acknowledged, _pushed("snapshot", native, candles, now)] if candles else [acknowledged]

    def _unsubscribe(self, session: Session, native: str, number: object, now: datetime, _: bool) -> list[str]:
        if native not in session.channels:
            return [_failure("unsubscribe", "Subscription Not Found", native, number, now)]
        del session.channels[native]
        return [_success("unsubscribe", {"channel": "ohlc", "interval": 1, "symbol": native}, number, now)]

    def _latest(self, symbol: str, now: datetime) -> list[Bar]:
        """Oldest first; minutes without trades are left out, and so is the open one until somebody trades."""
        current = minute = floor(now, MINUTE)
        traded: list[Bar] = []
        while len(traded) < _SNAPSHOT and minute > current - _LOOK_BACK:
            traded = [bar for bar in self.market.bars(symbol, minute, minute, now) if bar.trade_count] + traded
            minute -= MINUTE
        return traded

    def channel(self, symbol: str) -> str:
        """`BTC-USDT` → `BTC/USDT`."""
        return symbol.replace("-", "/")

    def planned(self, bar: Bar) -> list[Emission]:
        """The updates, and nothing at all for a silent minute; what closes it is only known here."""
        return [Emission(offset, offset, "push", state, closing=state == bar) for offset, state in updates(bar)]

    def message(self, symbol: str, emission: Emission) -> str:
        """One update."""
        assert emission.bar is not None
        moment = emission.bar.start + timedelta(seconds=emission.stamped)
        return _pushed("update", self.channel(symbol), [emission.bar], moment)

    def framed(self, session: Session, symbol: str, message: str) -> str:  # noqa: ARG002  # part of the protocol
        """As it is."""
        return message

    def get(self, path: str, query: dict[str, str], now: datetime) -> Answer:
        """`OHLC`, `Trades`, `AssetPairs`, `Assets`, `Time` and `SystemStatus`; errors come with status 200."""
        handlers: dict[str, Callable[[str, dict[str, str], datetime], object]] = {
            "/0/public/OHLC": self._ohlc,
            "/0/public/Trades": self._trades,
        }
        if path in handlers:
            symbol = self._by_pair.get(query.get("pair", ""))
            if symbol is None:
                return _unwell("EQuery:Unknown asset pair")
            try:
                return Answer({"error": [], "result": handlers[path](symbol, query, now)})
            except (ValueError, ArithmeticError):
                return _unwell("EGeneral:Invalid arguments")
        if path == "/0/public/AssetPairs":
            return Answer({"error": [], "result": {altname(symbol): _listed(symbol) for symbol in self.symbols}})
        if path == "/0/public/Assets":
            assets = dict.fromkeys(_LEGACY.get(one, one) for symbol in self.symbols for one in symbol.split("-"))
            return Answer({"error": [], "result": {_PREFIXED.get(one, one): _asset(one) for one in assets}})
        if path == "/0/public/Time":
            return Answer(
                {"error": [], "result": {"unixtime": since_epoch(now, _SECOND), "rfc1123": format_datetime(now)}}
            )
        if path == "/0/public/SystemStatus":
            return Answer({"error": [], "result": {"status": "online", "timestamp": f"{now:%Y-%m-%dT%H:%M:%SZ}"}})
        return _unwell("EGeneral:Unknown method")

    def refused(self) -> Answer:
        """An error with status 200."""
        return _unwell("EGeneral:Too many requests")

    def _ohlc(self, symbol: str, query: dict[str, str], now: datetime) -> dict[str, object]:
        """At most 720 finished rows and the open one, whatever `since` says; `last` is the newest finished one."""
        if query.get("interval", "1") != "1":
            raise ValueError(query["interval"])
        current = floor(now, MINUTE)
        since = EPOCH + timedelta(seconds=int(query.get("since", "0")))
        bars = self.market.bars(symbol, current - _ROWS * MINUTE, current, now)
        if bars and bars[-1].start < current:  # the recorded market is over, the exchange is not
            bars.append(flat(current, bars[-1].close))
        rows = [_row(bar) for bar in bars[:-1] if bar.start > since] + [_row(bar) for bar in bars[-1:]]
        return {altname(symbol): rows, "last": since_epoch(current - MINUTE, _SECOND)}

    def _trades(self, symbol: str, query: dict[str, str], now: datetime) -> dict[str, object]:
        """At most 1,000 trades after `since`, oldest first; `last` is the next page's `since`, in nanoseconds."""
        count = min(int(query.get("count", _TRADES)), _TRADES)
        since = _since(query.get("since", str(since_epoch(now - timedelta(hours=1), _SECOND))))
        listed, delisted = self.market.span(symbol)
        minute = max(floor(since, MINUTE), listed)
        found: list[Trade] = []
        while minute <= now and minute < delisted and len(found) < count:
            bar = self.market.bar(symbol, minute)
            found += [one for one in trades(bar) if since < one.moment <= now] if bar else []
            minute += MINUTE
        page = found[:count]
        last = page[-1].moment if page else since
        return {altname(symbol): [_trade(one) for one in page], "last": str(since_epoch(last, _MICROSECOND) * 1000)}


def altname(symbol: str) -> str:
    """`BTC-USDT` → `XBTUSDT`: REST kept the old names of two assets."""
    return "".join(_LEGACY.get(part, part) for part in symbol.split("-"))


def _listed(symbol: str) -> dict[str, object]:
    base, quote = (_LEGACY.get(part, part) for part in symbol.split("-"))
    names = {"altname": f"{base}{quote}", "wsname": f"{base}/{quote}", "status": "online"}
    sides = {"aclass_base": "currency", "base": _PREFIXED.get(base, base), "aclass_quote": "currency"}
    digits = {"pair_decimals": 8, "cost_decimals": 8, "lot_decimals": 8, "lot_multiplier": 1}
    return {**names, **sides, "quote": _PREFIXED.get(quote, quote), "lot": "unit", **digits}


def _asset(name: str) -> dict[str, object]:
    return {"aclass": "currency", "altname": name, "decimals": 10, "display_decimals": 5, "status": "enabled"}


def _pushed(kind: str, native: str, bars: list[Bar], moment: datetime) -> str:
    data = ",".join(_element(native, bar) for bar in bars)
    return f'{{"channel":"ohlc","type":"{kind}","timestamp":"{moment:%Y-%m-%dT%H:%M:%S.%f}000Z","data":[{data}]}}'


def _element(native: str, bar: Bar) -> str:
    """The deprecated `timestamp` is the interval's end."""
    return (
        f'{{"symbol":"{native}","open":{_number(bar.open)},"high":{_number(bar.high)},"low":{_number(bar.low)},'
        f'"close":{_number(bar.close)},"trades":{bar.trade_count},"volume":{_number(bar.volume)},'
        f'"vwap":{_number(bar.vwap)},"interval_begin":"{bar.start:%Y-%m-%dT%H:%M:%S}.000000000Z","interval":1,'
        f'"timestamp":"{bar.start + MINUTE:%Y-%m-%dT%H:%M:%S}.000000Z"}}'
    )


def _number(value: Decimal) -> str:
    text = f"{value:.8f}".rstrip("0")
    return f"{text}0" if text.endswith(".") else text


def _row(bar: Bar) -> list[object]:
    prices = [f"{value:f}" for value in (bar.open, bar.high, bar.low, bar.close, bar.vwap)]
    return [since_epoch(bar.start, _SECOND), *prices, f"{bar.volume:.8f}", bar.trade_count]


def _trade(trade: Trade) -> list[object]:
    side = "b" if trade.trade_id % 2 else "s"
    return [
        f"{trade.price:f}",
        f"{trade.size:.8f}",
        since_epoch(trade.moment, _MICROSECOND) / 1_000_000,
        side,
        "m",
        "",
        trade.trade_id,
    ]


def _success(method: str, result: dict[str, object], number: object, now: datetime) -> str:
    return encode({"method": method, "result": result, "success": True, **_times(now), **_numbered(number)})


def _failure(method: str, error: str, native: str | None, number: object, now: datetime) -> str:
    named = {"symbol": native} if native is not None else {}
    return encode({"error": error, "method": method, "success": False, **named, **_times(now), **_numbered(number)})


def _numbered(number: object) -> dict[str, object]:
    return {} if number is None else {"req_id": number}


def _times(now: datetime) -> dict[str, object]:
    text = f"{now:%Y-%m-%dT%H:%M:%S.%f}Z"
    return {"time_in": text, "time_out": text}


def _unwell(error: str) -> Answer:
    return Answer({"error": [error]})


def _since(text: str) -> datetime:
    """Seconds, or the nanoseconds of a `last`."""
    value = Decimal(text)
    microseconds = value / 1000 if value > 10**12 else value * 10**6
    return EPOCH + timedelta(microseconds=int(microseconds))
