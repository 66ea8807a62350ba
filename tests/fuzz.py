"""Recorded payloads, spoilt at random: what a parser must make of them, whatever the exchange comes to send.

A case is decided by its exchange and its number. The element that is spoilt is found by its text, which is the
`payload` of what the sound message becomes.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from stream.errors import MessageError
from stream.exchanges import EXCHANGES
from stream.wire import MINUTE, Candle, Exchange, Misfit, Novelty, Response, Trade, from_milliseconds, from_seconds

_PAYLOADS = Path(__file__).parent / "payloads"
Fields = list[tuple[str | None, Any]]
"""An element: names and values; without names, a row."""
Read = Callable[[str], list[Any]]
"""A text → candles, trades and misfits."""

_ODD: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        "",
        "x",
        "NaN",
        "-Infinity",
        "true",
        "0x10",
        "1_000",
        " 7 ",
        "²",
        [],
        {},
        [[1]],
        {"a": {"b": 1}},
    ),
    *(0, -1, 7, 2**31, 2**63, 10**30, 3.0, 0.5, -0.0, 1e-320, 1.7e308, "1e400", "1970-01-01T00:00:00Z"),
)


def spoilt(exchange: str, number: int) -> Iterator[str]:
    """A sentence for each thing that a parser does wrong in that case."""
    chance = random.Random(f"{exchange}/{number}")
    name, text, read = chance.choice(_sources(exchange))
    sound = _elements(read(text), text)
    victim = chance.choice(sound)
    before = _fields(victim.payload)
    after, sent = _change(before, chance)
    spoiled = text.replace(victim.payload, _text(after), 1)
    if chance.random() < 0.1:
        spoiled = _rearranged(spoiled, chance)
    where = f"{exchange} {name}, case {number}: {victim.payload} became {_text(after)}"
    try:
        found = read(spoiled)
    except MessageError:
        if len(sound) > 1:
            yield f"{where}, and its neighbours were lost"
        return
    except Exception as error:  # noqa: BLE001  # that is what is looked for
        yield f"{where}: {type(error).__name__}: {error}"
        return
    said = any(isinstance(one, Misfit | Novelty) for one in found)
    faults = _wrong(sound, victim, _elements(found, spoiled), sent, said=said)
    yield from (f"{where}: {fault}" for fault in faults)


def _wrong(
    sound: list[Candle | Trade], victim: Candle | Trade, found: list[Candle | Trade], sent: list[Any], *, said: bool
) -> Iterator[str]:
    rest = list(found)
    for other in [_bare(one) for one in sound if one is not victim]:
        same = next((one for one in rest if _bare(one) == other), None)
        if same is None:
            yield f"a neighbour was lost: {other}"
        else:
            rest.remove(same)
    for one in rest:
        yield from _unsent(victim, one, sent)
    if not rest and not said and not any(map(_unfinished, sent)):
        yield "it was dropped without a word"


def _unfinished(value: Any) -> bool:
    """Put into a row, it may say that the candle is not over: a flag that is not set, or a time to come."""
    return any(one is False or (isinstance(one, datetime) and one.year > 2030) for one in _meanings(value))


def _unsent(victim: Candle | Trade, found: Candle | Trade, sent: list[Any]) -> Iterator[str]:
    """Values that neither the sound element had at that place, nor the spoilt one anywhere that was changed."""
    allowed = [value for one in sent for value in _meanings(one)]
    for name in victim.__struct_fields__:
        value = getattr(found, name, None)
        if name in ("payload", "event_type") or value == getattr(victim, name) or value in allowed:
            continue
        if not any(isinstance(value, str) and value in str(one) for one in sent):
            yield f"{name} is {value}, which was not sent"


def _meanings(value: Any) -> Iterator[Any]:
    """All that a value may mean, as a number, a text, a time or a flag."""
    yield value
    if value in ("", None):
        yield None
    if isinstance(value, str):
        yield {"true": True, "false": False, "1": True, "0": False}.get(value.lower())
        with suppress(ValueError):
            yield datetime.fromisoformat(value)
    if isinstance(value, int) and value in (0, 1):
        yield bool(value)
    with suppress(ValueError, TypeError, OverflowError):
        number = float(value)
        yield number
        for unit in (from_seconds, from_milliseconds):
            with suppress(ValueError, OverflowError):
                yield unit(int(number))


def _change(fields: Fields, chance: random.Random) -> tuple[Fields, list[Any]]:
    """The element with one thing changed, and the values that are new in it."""
    changed, at = list(fields), chance.randrange(len(fields))
    name, value = changed[at]
    kind = chance.choice(("dropped", "doubled", "odd", "odd", "odd", "written", "renamed", "nested", "longer"))
    if kind == "dropped":
        del changed[at]
        return changed, [None]
    if kind == "doubled":
        changed.insert(at, (name, value))
        return changed, []
    if kind == "longer":
        return changed + [(name and f"new{n}", chance.choice(_ODD)) for n in range(chance.choice((1, 3)))], []
    if kind == "renamed" and name is not None:
        changed[at] = (chance.choice((name.swapcase(), f"{name}2")), value)
        return changed, [None]
    new: Any = chance.choice(_ODD)
    if kind == "nested":
        new = {"value": value} if chance.random() < 0.5 else [value]
    elif kind == "written":
        new = _otherwise(value)
    changed[at] = (name, new)
    return changed, [new]


def _otherwise(value: Any) -> Any:
    """The same number as text, or the text as a number; a whole one with a decimal point."""
    if isinstance(value, str):
        with suppress(ValueError):
            return float(value)
        return value.lower()
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _rearranged(text: str, chance: random.Random) -> str:
    """The longest list in it in another order, and some of it twice."""
    whole = json.loads(text)
    rows = max(_lists(whole), key=len, default=[])
    chance.shuffle(rows)
    return _dump(whole)


def _lists(part: Any) -> Iterator[list[Any]]:
    if isinstance(part, list):
        if all(isinstance(one, list | dict) for one in part):
            yield part
        else:
            return
    for value in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _lists(value)


def _fields(payload: str) -> Fields:
    element = json.loads(payload)
    return list(element.items()) if isinstance(element, dict) else [(None, value) for value in element]


def _text(fields: Fields) -> str:
    if fields and fields[0][0] is not None:
        return "{" + ",".join(f"{_dump(name)}:{_dump(value)}" for name, value in fields) + "}"
    return "[" + ",".join(_dump(value) for _, value in fields) + "]"


def _dump(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "1e999"
    return json.dumps(value, separators=(",", ":"))


def _bare(record: Candle | Trade) -> Candle | Trade:
    """Without the text, which may be written otherwise."""
    return msgspec.structs.replace(record, payload="")


def _elements(records: list[Any], text: str) -> list[Candle | Trade]:
    """Those that come from this text."""
    return [record for record in records if isinstance(record, Candle | Trade) and record.payload in text]


@cache
def _sources(exchange: str) -> list[tuple[str, str, Read]]:
    """The payloads with elements: name, text, and how they are read."""
    module, folder = EXCHANGES[exchange], _PAYLOADS / exchange
    found: list[tuple[str, str, Read]] = []
    for file in sorted(folder.glob("ws/*.json")):
        if file.stem.startswith(("candle", "trade")):
            found.append((file.stem, file.read_text(), module.parse_message))
    about = json.loads((folder / "about.json").read_text())
    for file in sorted(folder.glob("rest/*.json")):
        if file.stem in ("candles", "trades"):
            found.append((f"rest {file.stem}", file.read_text(), _fetch(module, about, file.stem)))
    return [one for one in found if _elements(one[2](one[1]), one[1])]


def _fetch(module: Exchange, about: dict[str, Any], spoilt: str) -> Read:
    """Reads a body as the answer to each request of its kind; the others are answered as recorded."""
    folder, when = _PAYLOADS / module.ID / "rest", datetime.fromisoformat(about["server_time"])
    start = datetime.fromisoformat(about["minute"]) - 5 * MINUTE
    recorded = {
        kind: (folder / f"{kind}.json").read_bytes()
        for kind in ("candles", "trades")
        if (folder / f"{kind}.json").exists()
    }

    def read(text: str) -> list[Any]:
        bodies = recorded | {spoilt: text.encode(errors="surrogatepass")}
        dialogue = module.fetch_candles(about["symbol"], start, start + timedelta(minutes=30))
        asked = first = next(dialogue)
        try:
            for _ in range(20):
                kind = "candles" if asked.path == first.path or "candles" in asked.path else "trades"
                asked = dialogue.send(Response(status=200, body=bodies[kind], server_time=when, recv_ts=when))
        except StopIteration as done:
            return [*done.value.candles, *done.value.trades, *done.value.odd]
        raise AssertionError("it goes on asking")

    return read
