"""What goes wrong, by option: every decision is a function of the seed and the name of the thing, so a run replays."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields, replace
from typing import Literal

from stream.emulator.bar import Bar
from stream.emulator.chance import chance
from stream.emulator.trades import Trade
from stream.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Emission:
    """Something that happens to a pair's subscribers, `sent` seconds after the minute began.

    A push (the candle `bar` as it stands, or `trades`) says that it was made at `stamped`; it is later than that when
    it was held up. `garbage` is a text that nobody can read, `cut` is the end of every connection that is subscribed
    to the pair, `loss` is a push that was numbered and did not arrive. `closing` marks the minute's last push.
    """

    sent: float
    stamped: float
    kind: Literal["push", "garbage", "cut", "loss"]
    bar: Bar | None = None
    closing: bool = False
    trades: tuple[Trade, ...] = ()


Finality = Literal["flag", "none", "numbered"]
"""How a client can tell that it has the whole minute: the exchange flags it, not at all, or messages are numbered."""


@dataclass(frozen=True, slots=True)
class Faults:
    """Probabilities, all 0 unless said otherwise."""

    seed: int = 0
    disconnects: float = 0.0
    """Per connection and minute: it is cut in mid-minute."""
    lost_finals: float = 0.0
    """Per pair and minute: its last push is not sent. Where nothing would tell, the connection goes with it."""
    late_finals: float = 0.0
    """Per pair and minute: it is sent after the minute, 3 to 20 s with a flag, less than 3 s without."""
    duplicates: float = 0.0
    """Per message: it is sent twice."""
    reordering: float = 0.0
    """Per message: the pair's next message overtakes it."""
    contradictions: float = 0.0
    """Per pair and minute, where candles are flagged: an earlier state is flagged as final too, just before it."""
    stalls: float = 0.0
    """Per pair and minute: its messages stop in mid-minute. Where nothing would tell, the connection goes with them."""
    silent: float = 0.0
    """Per minute of a walk: nobody trades, more often than they do not anyway."""
    rate_limits: float = 0.0
    """Per REST request: it is refused."""
    garbage: float = 0.0
    """Per pair and minute: an unreadable message."""
    misfits: float = 0.0
    """Per pair and minute: in the place of one of its pushes comes something that no candle, or no trade, can be."""
    struck: Counter[str] = field(default_factory=Counter, init=False, compare=False)
    """How often each has struck so far."""

    def __post_init__(self) -> None:
        for name in (one.name for one in fields(self) if one.name not in ("seed", "struck")):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise SettingsError(f"The fault {name} = {value} is a probability: write a number from 0 to 1.")

    def strikes(self, kind: str, *words: object) -> bool:
        """Whether this fault happens to the thing of that name."""
        probability: float = getattr(self, kind)
        strikes = probability > 0 and chance(self.seed, kind, *words) < probability
        self.struck[kind] += strikes
        return strikes

    def draw(self, kind: str, *words: object) -> float:
        """How hard it strikes: a number in [0, 1)."""
        return chance(self.seed, kind, "draw", *words)


def distort(faults: Faults, name: tuple[object, ...], planned: list[Emission], finality: Finality) -> list[Emission]:
    """What is really sent in the place of one pair's minute, in the order of sending.

    Without a flag or a number nobody can tell that the last update is missing, and an exchange that lost it on a living
    connection would be lying: there it takes the connection along, before the minute is over.
    """
    sent = _end(faults, name, planned, finality)
    if sent and faults.strikes("misfits", *name):
        index = int(len(sent) * faults.draw("misfits", *name))
        sent[index] = _impossible(sent[index])
    for index in range(len(sent) - 1):
        following = sent[index + 1]
        if following.kind == "push" and faults.strikes("reordering", *name, index):
            sent[index] = replace(sent[index], sent=following.sent + 0.001)
    for index, emission in enumerate(sent[:]):
        if emission.kind == "push" and faults.strikes("duplicates", *name, index):
            sent.append(replace(emission, sent=emission.sent + 0.002))
    if faults.strikes("garbage", *name):
        at = 60 * faults.draw("garbage", *name)
        sent.append(Emission(at, at, "garbage"))
    return sorted(sent, key=lambda emission: emission.sent)


def _end(faults: Faults, name: tuple[object, ...], planned: list[Emission], finality: Finality) -> list[Emission]:
    """What becomes of the end of the minute: at most one of these."""
    sent = list(planned)
    if sent and faults.strikes("stalls", *name):
        return _stall(sent, 60 * faults.draw("stalls", *name), finality)
    if sent and faults.strikes("lost_finals", *name):
        lost = sent.pop()
        if finality != "flag":
            sent.append(Emission(lost.sent, lost.sent, "cut") if finality == "none" else replace(lost, kind="loss"))
    elif sent and faults.strikes("late_finals", *name):
        draw = faults.draw("late_finals", *name)
        late = 60 + (3 + 17 * draw if finality == "flag" else 0.2 + 2.3 * draw)
        sent[-1] = replace(sent[-1], sent=late, stamped=late)
    elif finality == "flag" and (earlier := _before_the_last(sent)) and faults.strikes("contradictions", *name):
        final = sent[-1]
        sent.insert(-1, replace(earlier, sent=final.sent - 0.01, stamped=final.stamped - 0.01, closing=True))
    return sent


def _impossible(emission: Emission) -> Emission:
    """With a high below the low; a trade at no price."""
    bar, trades = emission.bar, emission.trades
    return replace(
        emission,
        bar=bar and replace(bar, high=bar.low / 2),
        trades=tuple(replace(trade, price=0 * trade.price) for trade in trades),
    )


def _before_the_last(sent: list[Emission]) -> Emission | None:
    """The last message that says something else than the last one."""
    return next((one for one in reversed(sent) if one.bar != sent[-1].bar), None)


def _stall(planned: list[Emission], since: float, finality: Finality) -> list[Emission]:
    """The messages up to a moment; what shows that the others are missing, if anything does."""
    sent = [one for one in planned if one.sent < since]
    lost = planned[len(sent) :]
    if finality == "numbered":
        return sent + [replace(one, kind="loss") for one in lost]
    return sent + [Emission(one.sent, one.sent, "cut") for one in lost[:1] if finality == "none"]
