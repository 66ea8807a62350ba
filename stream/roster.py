"""The roster: which of the configured pairs an exchange lists, and how it spells them."""

from __future__ import annotations

import asyncio
import difflib
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

from stream.any_rest import open_any
from stream.clock import Clock
from stream.exchanges import EXCHANGES
from stream.long_tail import dialect
from stream.wire import Instrument

log = logging.getLogger(__name__)

_PATIENCE = 15.0
"""Wall seconds that the start of recording waits for the list of pairs."""
_T = TypeVar("_T")


Ask = Callable[[str, str, Clock], Awaitable[list[Instrument]]]
"""Exchange, rest_url and clock → the exchange's list of pairs."""


async def ask_rest(exchange: str, rest_url: str, clock: Clock) -> list[Instrument]:
    """The list of pairs, over REST; RestError when it cannot be had."""

    def ask() -> list[Instrument]:
        with open_any(exchange, rest_url, clock) as client:
            return client.instruments()

    return await _in_thread(ask)


async def call_roll(
    exchange: str, symbols: tuple[str, ...], rest_url: str, clock: Clock, ask: Ask = ask_rest
) -> dict[str, str]:
    """Native → canonical spelling of the pairs to record: those that the exchange lists; all, where it cannot say."""
    try:
        async with asyncio.timeout(_PATIENCE):
            listed = await ask(exchange, rest_url, clock)
    except Exception as error:  # noqa: BLE001  # whatever it was, recording matters more than the list
        reason = str(error) or f"no answer within {_PATIENCE:.0f} s"
        log.warning("%s: its list of pairs could not be read, all configured pairs are tried: %s", exchange, reason)
        listed = []
    if not listed:
        spell = EXCHANGES[exchange].native_symbol if exchange in EXCHANGES else dialect.native_symbol
        return {spell(symbol): symbol for symbol in symbols}
    return _chosen(exchange, symbols, {one.symbol: one for one in listed})


def _chosen(exchange: str, symbols: tuple[str, ...], listed: dict[str, Instrument]) -> dict[str, str]:
    chosen = {}
    for symbol in symbols:
        instrument = listed.get(symbol)
        if instrument is None:
            log.error("%s", unknown(exchange, symbol, list(listed)))
            continue
        if not instrument.trading:
            log.warning("%s: %s is listed but not open for trading; it is recorded all the same", exchange, symbol)
        chosen[instrument.native_symbol] = symbol
    return chosen


def unknown(exchange: str, symbol: str, listed: list[str]) -> str:
    """The sentence about a pair that the exchange does not list."""
    near = difflib.get_close_matches(symbol, listed, n=3)
    question = f"Did you mean {' or '.join(near)}? " if near else ""
    return f"{exchange} does not list {symbol}: it is not recorded. {question}Correct [pairs] {exchange} in luigi.cfg."


async def _in_thread(function: Callable[[], _T]) -> _T:
    """As asyncio.to_thread, but in a daemon: an exchange that does not answer must not hold up the process's end."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def settle(result: _T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # None only where _T has it

    def run() -> None:
        result, failure = None, None
        try:
            result = function()
        except Exception as error:  # noqa: BLE001  # it is raised where it is awaited
            failure = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="roster", daemon=True).start()
    return await future
