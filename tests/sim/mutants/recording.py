"""Rules of what a recorder writes, claims, keeps and uploads: stream/."""

from __future__ import annotations

from tests.sim.mutants.mutant import Mutant

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
)
