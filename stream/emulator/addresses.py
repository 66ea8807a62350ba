"""Where the emulator listens: what `luigi.cfg` has the recorder dial, provided that it is this machine."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from stream.errors import SettingsError
from stream.settings import Settings


@dataclass(frozen=True)
class Address:
    """One configured URL: which exchange answers there, and to which of the two protocols."""

    exchange: str
    key: str
    host: str
    port: int
    prefix: str


def addresses(settings: Settings) -> list[Address]:
    """Both URLs of every exchange that has pairs; SettingsError when one of them is not on loopback."""
    found = [
        _address(exchange, key, url)
        for exchange in settings.pairs
        for key, url in (
            ("ws_url", settings.exchanges[exchange].ws_url),
            ("rest_url", settings.exchanges[exchange].rest_url),
        )
    ]
    if not found:
        raise SettingsError(
            f"{settings.path}: [pairs] names no pair, so there is nothing to emulate. "
            'Write, for instance, binance = ["BTC-USDT"].'
        )
    taken: dict[tuple[str, str, int, str], Address] = {}
    for address in found:
        other = taken.setdefault((address.key, address.host, address.port, address.prefix), address)
        if other is not address:
            raise SettingsError(
                f"{settings.path}: [exchange_{other.exchange}] and [exchange_{address.exchange}] have the same "
                f"{address.key}. Give each its own port."
            )
    return found


def _address(exchange: str, key: str, url: str) -> Address:
    parts = urlsplit(url)
    scheme = "ws" if key == "ws_url" else "http"
    host, port = parts.hostname or "", _port(url)
    if parts.scheme != scheme or port is None or not _is_loopback(host):
        raise SettingsError(
            f"[exchange_{exchange}] {key} = {url!r} is not an address that the emulator can serve. "
            f"Write {key} = {scheme}://127.0.0.1:<port> in [exchange_{exchange}], with a free port."
        )
    return Address(exchange, key, host, port, parts.path.rstrip("/"))


def _port(url: str) -> int | None:
    try:
        return urlsplit(url).port
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
