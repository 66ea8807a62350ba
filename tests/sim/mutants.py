"""Rules of the product, each to be taken out in turn: the fixed worlds must notice every one.

A mutant that lives means a missing world, or a rule that nobody needs. `python -m tests.sim mutants` tries them all.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import NamedTuple


class Mutant(NamedTuple):
    """A change of a module's text, which must occur there once."""

    module: str
    rule: str
    """What is taken out."""
    old: str
    new: str
    world: str
    """Which of the fixed worlds notices it."""


def faults_of(number: int, server: str) -> list[str]:
    """What its world notices when the rule is taken out. `server`: a Postgres. In a process of its own."""
    mutant = MUTANTS[number]
    _install(mutant)
    from tests.sim.explore import tried
    from tests.sim.fixed import WORLDS

    return list(tried(WORLDS[mutant.world], server).values())


def _install(mutant: Mutant) -> None:
    """From now on the module is loaded with the change."""
    assert not [name for name in sys.modules if name.partition(".")[0] in ("stream", "tasks")], (
        "it is too late for that"
    )
    sys.meta_path.insert(0, _Finder(mutant))


class _Finder(MetaPathFinder):
    """Finds one module."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As usual, but for that one's loader."""
        if fullname != self._mutant.module:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        assert spec is not None and spec.origin is not None
        spec.loader = _Loader(fullname, spec.origin, self._mutant)
        return spec


class _Loader(SourceFileLoader):
    """Compiles another text than there is."""

    def __init__(self, fullname: str, path: str, mutant: Mutant) -> None:
        super().__init__(fullname, path)
        self._mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        """Of the text with the change."""
        text = self.get_source(fullname) or ""
        count = text.count(self._mutant.old)
        assert count == 1, f"{fullname} has {self._mutant.old!r} {count} times"
        return compile(text.replace(self._mutant.old, self._mutant.new), self.path, "exec")


MUTANTS = (
    # What a connection claims
    Mutant(
        "stream.live.exchange_clock",
        "minutes are over by the exchange's clock",
        "return None if lag is None else now - lag",
        "return now",
        "a clock hours ahead",
    ),
    Mutant(
        "stream.live.minutes",
        "a clock that was set makes the minutes doubtful",
        "                return None\n",
        "                pass\n",
        "clock set while recording",
    ),
    Mutant(
        "stream.live.minutes",
        "a minute is claimed a while after its end",
        "GRACE = timedelta(seconds=5)",
        "GRACE = timedelta(seconds=0)",
        "killed as a late final is on its way",
    ),
    Mutant(
        "stream.live.connection",
        "a minute is claimed after a pong",
        "            if not await self._answers():\n                return _UNANSWERED\n            if lines",
        "            if lines",
        "killed behind a half-open line",
    ),
    Mutant(
        "stream.live.intake",
        "messages left out may have been about any pair",
        '        self.since.update(dict.fromkeys(self.since, now))\n        return self.lines.status("lost", f"message',
        '        return self.lines.status("lost", f"message',
        "last messages lost, then killed",
    ),
    Mutant(
        "stream.live.intake",
        "a misfit may have been the last word",
        "        self._doubt(natives, now)\n        back",
        "        back",
        "misfits",
    ),
    Mutant(
        "stream.live.intake",
        "since is told by both clocks",
        "since - min(self.clock.lag or timedelta(), timedelta()), now)",
        "since, now)",
        "joined in mid-minute, by a clock that is behind",
    ),
    Mutant(
        "stream.recorder",
        "segments end in time, while recording",
        "            await asyncio.to_thread(self._seal)\n            if hour_of",
        "            if hour_of",
        "calm",
    ),
    Mutant(
        "stream.recorder",
        "what was written is brought to the disk every second",
        "            await asyncio.to_thread(self._spool.sync)\n",
        "",
        "power lost",
    ),
    # The journal
    Mutant(
        "stream.spool",
        "no torn line stays behind",
        "            self._file.truncate(self.size)\n",
        "            pass\n",
        "full for an instant",
    ),
    Mutant(
        "stream.spool",
        "a sync brings the bytes to the disk",
        "            file.sync()\n            self._disk.sync()\n",
        "            self._disk.sync()\n",
        "power lost",
    ),
    Mutant(
        "stream.spool",
        "a sync brings the names to the disk",
        "            file.sync()\n            self._disk.sync()\n",
        "            file.sync()\n",
        "power lost",
    ),
    Mutant(
        "stream.spool",
        "what ends is synced first",
        "                    file.sync()\n                finally",
        "                    pass\n                finally",
        "power lost while the store is away",
    ),
    Mutant(
        "stream.spool",
        "what an earlier process left is recovered",
        "        self.recover()\n",
        "",
        "killed in the middle of a write",
    ),
    Mutant(
        "stream.spool",
        "a torn tail is mended",
        "            self._mend(_name(segment, _OPEN))\n",
        "            pass\n",
        "killed, then the power is lost, while the store is away",
    ),
    Mutant(
        "stream.spool",
        "what could not be sealed is sealed later",
        "                self._left += left\n",
        "                pass\n",
        "no room for a rename",
    ),
    Mutant(
        "stream.spool",
        "one that could not be cut is not written behind",
        "            self._file.close()\n            self._left.append",
        "            return\n            self._left.append",
        "broken for an instant",
    ),
    # The upload
    Mutant(
        "stream.uploader",
        "a segment is removed when it is in the lake",
        "            return self._clock.wall_seconds(next(self._failing))\n",
        "            self._spool.remove(waiting[0])\n            return 0.0\n",
        "the store fails",
    ),
    Mutant(
        "stream.uploader",
        "a line goes by its minute",
        "(head.interval_start or head.recv_ts)[:13]",
        "head.recv_ts[:13]",
        "calm",
    ),
    Mutant(
        "stream.uploader",
        "what a disk has forgotten of a segment stays in the lake",
        "            if segment in self._spool.inherited:\n                body = self._added(key, body)\n",
        "",
        "uploaded from a disk that fails, which forgets it",
    ),
    Mutant(
        "stream.uploader",
        "each segment has objects of its own",
        "_key(place, recorder, segment, suffix), array",
        "_key(place, recorder, 7, suffix), array",
        "the store fails",
    ),
    Mutant(
        "stream.uploader",
        "all of a segment's objects are put",
        "self._lake.each(put, sorted(places))",
        "self._lake.each(put, sorted(places)[1:])",
        "the store fails",
    ),
    # Evidence
    Mutant(
        "tasks.hour.evidence",
        "late objects are new evidence",
        'fingerprint(*(f"{one.key} {one.size}" for one in found))',
        'fingerprint(*(f"{one.key} {one.size}" for one in found[:1]))',
        "late evidence",
    ),
    Mutant(
        "tasks.hour.rest_hour",
        "answers are made in view of the lines there are",
        'facts["stream"].get(symbol) == lines[symbol] and ',
        "",
        "REST came first",
    ),
    Mutant(
        "tasks.hour.silver_hour",
        "silver is made from what REST said",
        'evidence.fingerprint(lines[symbol], read["evidence"].get(symbol, ""))',
        'evidence.fingerprint(lines[symbol], "")',
        "no room for a write",
    ),
    Mutant(
        "tasks.hour.rest_hour",
        "an answer never takes another's place",
        "while not lake.create(layout.rest_key(exchange, symbol, hour, number), data):",
        "while lake.put(layout.rest_key(exchange, symbol, hour, number), data):",
        "answered when another was, then killed",
    ),
    # Choosing
    Mutant(
        "tasks.rules.choose",
        "an unflagged candle needs the proof of life",
        '.join(lived, on=_LINE, how="semi")\n        .join(most',
        ".join(most",
        "killed in mid-minute",
    ),
    Mutant(
        "tasks.rules.choose",
        "the last update counts",
        '.unique(_LINE, keep="last", maintain_order=True)',
        '.unique(_LINE, keep="first", maintain_order=True)',
        "calm",
    ),
    Mutant(
        "tasks.rules.choose",
        "a flagged candle is finished only if the flag says so",
        'candles.filter(pl.col("is_final").fill_null(value=False))',
        'candles.filter(pl.col("is_final").is_not_null())',
        "contradictions",
    ),
    Mutant(
        "tasks.rules.choose",
        "REST never stands over the stream",
        '.join(stream, on=_KEY, how="anti")\n        .with_columns(verdict',
        ".with_columns(verdict",
        "early, by a clock that is ahead",
    ),
    Mutant(
        "tasks.rules.choose",
        "of two finished candles, the one with more trades",
        "descending=[False, False, True, True, True, False",
        "descending=[False, False, False, True, True, False",
        "contradictions",
    ),
    Mutant(
        "tasks.rules.choose",
        "of two finished candles, the later one",
        "descending=[False, False, True, True, True, False",
        "descending=[False, False, True, False, False, False",
        "contradictions",
    ),
    Mutant(
        "tasks.rules.choose",
        "REST that has no row for lost minutes needs a living connection",
        'if_alive.join(proof.heard(open_minutes, evidence.sessions), on=_KEY, how="semi")',
        "if_alive",
        "rows that REST leaves out",
    ),
    Mutant(
        "tasks.rules.choose",
        "REST that was not had is a cause of its own",
        'pl.when(pl.col("beyond").is_null())\n            .then(pl.lit("rest_unavailable"))',
        'pl.when(pl.col("beyond").is_null())\n            .then(pl.lit("unknown"))',
        "late evidence",
    ),
    # The proof
    Mutant(
        "tasks.rules.proof",
        "a life begins before what it proves",
        '(pl.col("since") <= pl.col("begin"))\n            & ',
        "",
        "killed in mid-minute",
    ),
    Mutant(
        "tasks.rules.proof",
        "a life is proven to the minute's end",
        '            & (pl.col("alive_minute") >= pl.col("interval_start"))\n',
        "",
        "killed in mid-minute",
    ),
    # Trades
    Mutant(
        "tasks.rules.trades",
        "each trade counts once",
        '.unique(["symbol", "trade_id"], keep="first")',
        "",
        "two recorders",
    ),
    Mutant(
        "tasks.rules.trades",
        "the first and last minute of a run are not within it",
        'pl.col("first") + MINUTE, pl.col("last") - MINUTE, interval="1m"',
        'pl.col("first"), pl.col("last"), interval="1m"',
        "killed in mid-minute",
    ),
    Mutant(
        "tasks.rules.trades",
        "a run ends where a number is left out",
        '(pl.col("trade_id").diff().fill_null(0) != 1)',
        '(pl.col("trade_id").diff().fill_null(0) < 1)',
        "killed in mid-minute",
    ),
    Mutant(
        "tasks.rules.trades",
        "trades that are not proven whole are no candle",
        'is_final=pl.col("is_final").fill_null(value=False)',
        'is_final=pl.col("is_final").fill_null(value=True)',
        "killed in mid-minute",
    ),
    Mutant(
        "tasks.rules.trades",
        "open and close go by time",
        'return pl.concat([numbered, others]).sort("symbol", *_IN_TIME)',
        'return pl.concat([numbered, others]).sort("symbol", "ingestion_ts")',
        "cut, silent and reordered",
    ),
    # Publishing
    Mutant(
        "tasks.hour.publish_hour",
        "an hour is published when Postgres has just what silver has",
        "return published == silver",
        "return bool(published)",
        "published again and again",
    ),
    Mutant(
        "tasks.hour.publish_hour",
        "bars are made from what is published",
        'bars == f"{rule}:{content}" for',
        "bars is not None for",
        "published again and again",
    ),
    Mutant(
        "tasks.warehouse.publish",
        "an hour that changed is replaced",
        'return found["attached"] and set(self._read(hour, hour + HOUR)) == set(ledger)',
        'return bool(found["attached"])',
        "published again and again",
    ),
    Mutant(
        "tasks.warehouse.publish",
        "candles and ledger are replaced together",
        "                    self._attach(hour, ledger)\n",
        '                    self._session.execute("attach_stage", **names, start=hour, end=hour + HOUR)\n',
        "published again and again",
    ),
    Mutant(
        "tasks.warehouse.publish",
        "bars that are no more are removed",
        '                self._session.execute("delete_bars", bars=name, start=hour, end=hour + HOUR)\n',
        "",
        "published again and again",
    ),
)
