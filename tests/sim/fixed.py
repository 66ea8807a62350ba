"""Worlds that are always tried: each tells a story, and some rule of the product is noticed missing only there."""

from __future__ import annotations

from collections.abc import Iterator

from tests.sim.world import ANSWERS, Ill, Incident, Killed, Line, Rest, Run, Set, Store, World


def at(minute: int, second: float = 0.0) -> float:
    """That moment of the hour."""
    return 240.0 + 60 * minute + second


LONG = 900.0
"""Seconds after which no snapshot knows any more what was missed."""


def _spoilt(exchange: str) -> Iterator[Incident]:
    """Answers that are wrong in one way after the other, and runs that get them."""
    for n, kind in enumerate(ANSWERS):
        yield Rest(at=at(62 + 4 * n), exchange=exchange, lasting=200, kind=kind)
        yield Run(at=at(62 + 4 * n, 5))


WORLDS = {
    "calm": World(
        seed=1, exchanges=("binance", "coinbase", "kraken"), pairs=2, minutes=25, without_rest=("binance", "kraken")
    ),
    "a clock hours ahead": World(
        seed=2, exchanges=("coinbase", "kraken", "okx"), ahead=(10_800.0,), minutes=15, faults={"disconnects": 0.1}
    ),
    "a clock hours behind": World(seed=3, exchanges=("bybit", "gate", "kraken"), ahead=(-7_200.0,), minutes=15),
    "clock set while recording": World(
        seed=4,
        exchanges=("binance", "kraken"),
        flush=120.0,
        minutes=20,
        incidents=(Set(at=at(4, 20), by=835.0), Set(at=at(9), by=-7_200.0)),
    ),
    "clock set, trades lost": World(
        seed=107,
        exchanges=("coinbase",),
        minutes=20,
        ahead=(-14.1,),
        faults={"stalls": 0.2},
        incidents=(Set(at=at(3, 30), by=835.0), Set(at=at(9, 30), by=835.0)),
    ),
    "clock hours ahead, trades lost": World(
        seed=140, exchanges=("coinbase",), ahead=(17_974.9,), drift=5e-4, minutes=20, faults={"lost_finals": 0.3}
    ),
    "killed as a late final is on its way": World(
        seed=5,
        exchanges=("kraken",),
        faults={"late_finals": 1.0},
        incidents=tuple(Killed(at=at(minute, 0.16), away=LONG) for minute in (3, 20, 37, 54)),
    ),
    "killed in mid-minute": World(
        seed=5,
        exchanges=("coinbase", "kraken"),
        incidents=tuple(Killed(at=at(minute, 30), away=LONG) for minute in (3, 20, 37, 54)),
    ),
    "joined in mid-minute, by a clock that is behind": World(
        seed=16,
        exchanges=("coinbase", "kraken"),
        pairs=2,
        ahead=(-58.0,),
        minutes=32,
        incidents=tuple(Killed(at=at(minute, 20), away=35) for minute in range(3, 27, 3)),
    ),
    "last messages lost, then killed": World(
        seed=17,
        exchanges=("coinbase",),
        pairs=6,
        faults={"lost_finals": 1.0, "silent": 0.6},
        incidents=tuple(Killed(at=at(minute, 7), away=LONG) for minute in (4, 21, 38, 55)),
    ),
    "the hour's last trades lost": World(
        seed=18, exchanges=("coinbase",), pairs=3, faults={"lost_finals": 1.0, "silent": 0.3}, incidents=()
    ),
    "full for an instant": World(
        seed=19,
        exchanges=("binance", "okx"),
        pairs=4,
        minutes=20,
        incidents=tuple(
            Ill(at=at(minute, second), lasting=0.05, illness="full") for minute in range(2, 14) for second in (20, 40)
        ),
    ),
    "broken for an instant": World(
        seed=20,
        exchanges=("binance", "okx"),
        pairs=4,
        minutes=20,
        incidents=tuple(Ill(at=at(minute, 40), lasting=0.4, illness="broken") for minute in range(2, 14, 2)),
    ),
    "contradictions": World(
        seed=21,
        exchanges=("binance", "bybit", "okx"),
        pairs=3,
        minutes=15,
        faults={"contradictions": 0.5, "duplicates": 0.3, "late_finals": 0.3},
    ),
    "misfits": World(
        seed=31,
        exchanges=("coinbase", "kraken", "okx"),
        pairs=2,
        minutes=20,
        faults={"misfits": 0.5, "late_finals": 0.5, "silent": 0.2},
    ),
    "cut, silent and reordered": World(
        seed=22,
        exchanges=("coinbase", "kraken"),
        pairs=2,
        minutes=40,
        faults={"disconnects": 0.1, "silent": 0.5, "reordering": 0.3, "stalls": 0.1},
    ),
    "two recorders": World(
        seed=23,
        exchanges=("coinbase", "kraken"),
        recorders=2,
        minutes=30,
        faults={"lost_finals": 0.2},
        incidents=(
            *(Killed(at=at(minute, 31), away=400, who=0) for minute in (2, 17)),
            *(Killed(at=at(minute, 31), away=400, who=1) for minute in (7, 22)),
        ),
    ),
    "two workers at once": World(
        seed=24,
        exchanges=("kraken", "okx"),
        pairs=2,
        minutes=20,
        incidents=(
            Rest(at=at(60), exchange="kraken", lasting=200, kind="503"),
            *(Run(at=at(62, 10 + second / 7)) for second in range(4)),
            *(Run(at=at(66, second / 7)) for second in range(3)),
            *(Run(at=at(68, second / 3)) for second in range(3)),
        ),
    ),
    "answered when another was, then killed": World(
        seed=32,
        exchanges=("kraken",),
        minutes=30,
        incidents=(
            Rest(at=at(60), exchange="kraken", lasting=150, kind="503"),
            # These have to ask again and again; the last one does not, and is done before they are answered.
            *(Run(at=at(62, 27.5 + n / 5), killed=14) for n in range(4)),
            Run(at=at(62, 29.6)),
        ),
    ),
    "workers killed": World(
        seed=25,
        exchanges=("coinbase", "kraken"),
        minutes=30,
        incidents=tuple(Run(at=at(62 + n), killed=7 * n + 5) for n in range(8)),
    ),
    "answers that are wrong": World(
        seed=26, exchanges=("binance", "kraken"), minutes=10, incidents=(*_spoilt("binance"), *_spoilt("kraken"))
    ),
    "early, by a clock that is ahead": World(
        seed=27,
        exchanges=("coinbase", "kraken"),
        minutes=25,
        incidents=(Run(at=at(20, 30), ahead=3_600), Run(at=at(45, 12), ahead=3_600)),
    ),
    "killed behind a half-open line": World(
        seed=6,
        exchanges=("kraken",),
        incidents=tuple(
            one
            for minute in (3, 20, 37, 54)
            for one in (
                Line(at=at(minute, 54), exchange="kraken", kind="half-open"),
                Killed(at=at(minute + 1, 7), away=LONG),
            )
        ),
    ),
    "slow lines": World(
        seed=33,
        exchanges=("binance", "coinbase", "kraken"),
        minutes=40,
        incidents=tuple(
            Line(at=at(minute, 35), exchange=exchange, kind="slow", lasting=100)
            for minute in (2, 10, 18, 26)
            for exchange in ("binance", "coinbase", "kraken")
        ),
    ),
    "no room for a rename": World(
        seed=7,
        exchanges=("binance", "okx"),
        flush=120.0,
        minutes=20,
        incidents=(Ill(at=at(3, 40), lasting=50, illness="rename"),),
    ),
    "no room for a write": World(
        seed=8, exchanges=("binance", "okx"), minutes=20, incidents=(Ill(at=at(3, 40), lasting=50, illness="full"),)
    ),
    "a broken disk": World(
        seed=9, exchanges=("binance", "okx"), minutes=20, incidents=(Ill(at=at(3, 40), lasting=50, illness="broken"),)
    ),
    "power lost": World(
        seed=10,
        exchanges=("binance", "okx"),
        flush=120.0,
        minutes=20,
        incidents=(Killed(at=at(5, 33), away=30, power=True), Killed(at=at(9, 33), away=30, power=True)),
    ),
    "power lost while the store is away": World(
        seed=11,
        exchanges=("binance", "okx"),
        pairs=2,
        flush=120.0,
        minutes=20,
        incidents=(
            Store(at=at(3), lasting=600, kind="refused"),
            *(Killed(at=at(minute, 45), away=30, power=True) for minute in (4, 6, 8, 10)),
        ),
    ),
    "killed in the middle of a write": World(
        seed=12,
        exchanges=("binance", "okx"),
        flush=120.0,
        minutes=20,
        incidents=(Killed(at=at(5), away=30, doing="torn"), Killed(at=at(9), away=30, doing="torn")),
    ),
    "the store fails": World(
        seed=13,
        exchanges=("binance", "okx"),
        flush=120.0,
        minutes=25,
        incidents=(
            Store(at=at(3), lasting=200, kind="refused"),
            Store(at=at(9), lasting=200, kind="unanswered"),
            Store(at=at(15), lasting=200, kind="slow"),
        ),
    ),
    "the disk fills up while the store is away": World(
        seed=34,
        exchanges=("binance",),
        pairs=4,
        flush=120.0,
        room=3 << 19,
        minutes=50,
        incidents=(Store(at=at(3), lasting=2400, kind="refused"),),
    ),
    "late evidence": World(
        seed=14,
        exchanges=("binance", "kraken"),
        without_rest=("binance", "kraken"),
        incidents=(
            Store(at=at(50), lasting=1500, kind="refused", workers=False),
            Run(at=at(62, 30)),
            Run(at=at(80)),
        ),
    ),
    "published again and again": World(
        seed=31,
        exchanges=("coinbase",),
        pairs=2,
        publishes=True,
        minutes=75,
        incidents=(
            Rest(at=at(60), exchange="coinbase", lasting=600, kind="503"),
            Store(at=at(40), lasting=1500, kind="refused", workers=False),
            *(Run(at=at(62, 30 + n / 7)) for n in range(2)),
            Run(at=at(64), killed=40),
            *(Run(at=at(66, n / 5)) for n in range(2)),
        ),
    ),
    "REST came first": World(
        seed=30,
        exchanges=("binance", "coinbase"),
        incidents=(Store(at=at(40), lasting=2100, kind="refused", workers=False), Run(at=at(62, 30))),
    ),
    "killed, then the power is lost, while the store is away": World(
        seed=28,
        exchanges=("binance", "okx"),
        pairs=4,
        minutes=20,
        incidents=(
            Store(at=at(3), lasting=600, kind="refused"),
            Killed(at=at(5, 33.9), away=5),
            Killed(at=at(6, 30), away=30, power=True),
        ),
    ),
    "uploaded from a disk that fails, which forgets it": World(
        seed=801876,
        exchanges=("coinbase",),
        flush=900.0,
        minutes=56,
        incidents=(
            Ill(at=1738.03, lasting=199.9, illness="fsync"),
            Ill(at=1983.0, lasting=87.8, illness="rename"),
            Ill(at=2060.33, lasting=560.0, illness="quota"),
            Killed(at=2337.1, away=300.0, power=True, doing="create", nth=2),
        ),
    ),
    "rows that REST leaves out": World(
        seed=29,
        exchanges=("coinbase", "kraken"),
        pairs=2,
        minutes=30,
        faults={"silent": 0.3},
        incidents=(
            *(Rest(at=at(60), exchange=name, lasting=400, kind="holes") for name in ("coinbase", "kraken")),
            Run(at=at(63)),
        ),
    ),
    "an exchange that is silent for a while": World(
        seed=15,
        exchanges=("kraken", "okx"),
        minutes=20,
        faults={"silent": 0.3},
        incidents=(Rest(at=at(50), exchange="kraken", lasting=1200, kind="503"), Run(at=at(63))),
    ),
}
