"""What a task works with: the settings, the lake, REST clients, and the warehouse, opened once per process."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from stream import settings
from stream.any_rest import Rest, open_any
from stream.errors import SettingsError
from stream.lake import Lake, open_lake


class Context:
    """One settings file's world. `load` gives the same one again until the file changes."""

    def __init__(self, found: settings.Settings) -> None:
        self.settings = found
        self.lake: Lake = open_lake(found.lake)

    @classmethod
    def load(cls) -> Context:
        """The context of this process's settings; SettingsError when they cannot be used."""
        global _latest
        found = settings.load()
        if _latest is None or _latest.settings is not found:
            _latest = Context(found)
        return _latest

    def pairs(self) -> list[tuple[str, str]]:
        """(exchange, symbol) of [pairs]."""
        return [(exchange, symbol) for exchange, symbols in self.settings.pairs.items() for symbol in symbols]

    def configured_pairs(self) -> list[tuple[str, str]]:
        """The same; SettingsError when there are none."""
        pairs = self.pairs()
        if not pairs:
            raise SettingsError(
                f'{self.settings.path}: [pairs] names no pair. Add a line such as: binance = ["BTC-USDT"]'
            )
        return pairs

    def symbols(self, exchange: str) -> tuple[str, ...]:
        """The exchange's configured pairs; SettingsError when there are none."""
        symbols = self.settings.pairs.get(exchange, ())
        if not symbols:
            known = ", ".join(self.settings.pairs) or "none"
            raise SettingsError(
                f"{self.settings.path}: [pairs] has no pairs of the exchange {exchange!r}; it has: {known}."
            )
        return symbols

    def check_pairs(self, exchange: str, symbols: Sequence[str]) -> None:
        """SettingsError for a symbol that is not configured."""
        known = self.symbols(exchange)
        for symbol in symbols:
            if symbol not in known:
                near = difflib.get_close_matches(symbol, known, n=3, cutoff=0.4)
                hint = f" Did you mean {' or '.join(near)}?" if near else ""
                raise SettingsError(f"{self.settings.path}: [pairs] {exchange} does not name {symbol!r}.{hint}")

    @contextmanager
    def rest(self, exchange: str) -> Iterator[Rest]:
        """A client of the exchange's REST interface."""
        with open_any(exchange, self.settings.exchanges[exchange].rest_url, self.settings.clock) as client:
            yield client


_latest: Context | None = None
