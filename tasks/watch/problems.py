"""What needs a person: from what is seen to sentences with a remedy, the worst first. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from tasks.watch.failures import Failure
from tasks.watch.published import Published
from tasks.watch.recorder import Connection, Recorder

_PASSING = timedelta(minutes=2)
"""A connection that is down for less is being replaced."""
_STOPPED = timedelta(hours=1)
"""Who stopped a recorder may be working on it for as long."""
_UPLOADS = timedelta(minutes=10)
"""A store may be away for as long; so much is recorded easily."""
_TIGHT = timedelta(hours=12)
"""A disk that will be full sooner is a problem as long as nothing is uploaded."""
_LATE = timedelta(minutes=30)
"""An hour, or a failure, may be waiting for the next attempt for as long."""
_SOON = timedelta(hours=3)
"""What will be lost sooner is a problem."""
_SHOWN = 5


def of_recorder(seen: Recorder, now: datetime) -> Iterator[str]:
    """About the recorder, its connections and uploads, and its disk."""
    waiting = ""
    if seen.backlog_bytes:
        waiting = f" {size(seen.backlog_bytes)} wait in {seen.spool}; the next start brings them into the lake."
    if seen.state == "dead":
        assert seen.said is not None
        yield (
            f"Nothing is recorded: the recorder {seen.name} ended without a word (killed, or the machine went down) at "
            f"{moment(seen.said)}, {span(now - seen.said)} ago. Start it: klines record.{waiting}"
        )
        return
    if seen.state == "stopped":
        assert seen.said is not None
        if now - seen.said > _STOPPED:
            yield (
                f"Nothing is recorded: the recorder {seen.name} was stopped at {moment(seen.said)}, "
                f"{span(now - seen.said)} ago. Start it: klines record.{waiting}"
            )
        return
    if seen.state == "hanging":
        assert seen.said is not None
        yield (
            f"The recorder {seen.name} runs, but has said nothing since {moment(seen.said)}, for "
            f"{span(now - seen.said)}: it hangs, or its disk is full ({size(seen.disk_free_bytes)} free). "
            "Make room, else restart it."
        )
    if seen.stopped is not None:
        since = seen.stopped.since
        yield f"Nothing is recorded since {moment(since)}, for {span(now - since)}: {seen.stopped.reason}"
    yield from _uploads(seen, now)
    yield from _connections(seen, now)
    for exchange in dict.fromkeys(pair.exchange for pair in seen.silent_pairs):
        silent = [pair for pair in seen.silent_pairs if pair.exchange == exchange]
        names = [
            f"{pair.symbol} (since {moment(pair.last_heard)})" if pair.last_heard else f"{pair.symbol} (never heard)"
            for pair in silent
        ]
        yield (
            f"{exchange}: nothing comes of {_some(names)} for longer than is normal. It is asked for again and again; "
            "see whether the exchange still trades it, else take it out of [pairs]."
        )


def _uploads(seen: Recorder, now: datetime) -> Iterator[str]:
    lasts = None if seen.disk_lasts_seconds is None else timedelta(seconds=seen.disk_lasts_seconds)
    if seen.uploads is None:
        return
    lasting = now - seen.uploads.since
    if lasting > _UPLOADS or (lasts is not None and lasts < _TIGHT):
        room = "" if lasts is None else f", and the disk is full in about {span(lasts)}"
        yield (
            f"Nothing is uploaded since {moment(seen.uploads.since)}, for {span(lasting)}: {seen.uploads.reason} "
            f"{size(seen.backlog_bytes)} wait{room}."
        )


def _connections(seen: Recorder, now: datetime) -> Iterator[str]:
    down: dict[str, list[Connection]] = defaultdict(list)
    for one in seen.connections:
        if not one.up and now - one.since > _PASSING:
            down[one.exchange].append(one)
    for exchange, links in down.items():
        since = min(one.since for one in links)
        total = sum(one.exchange == exchange for one in seen.connections)
        pairs, reason = (
            sum(one.pairs for one in links),
            next((one.reason for one in links if one.reason), "no answer yet"),
        )
        yield (
            f"{exchange}: {len(links)} of {total} connections ({pairs} pairs) are down since {moment(since)}, for "
            f"{span(now - since)}: {reason}. They are tried again and again; look at the network, at the exchange's "
            f"status page, and at [exchange_{exchange}]."
        )


def of_tasks(failing: Sequence[Failure], now: datetime) -> Iterator[str]:
    """About tasks that fail, by cause: the same outage of Postgres makes every hour fail alike."""
    causes: dict[tuple[str, str], list[Failure]] = defaultdict(list)
    for one in failing:
        if now - one.since > _LATE:
            causes[one.task, one.cause].append(one)
    for (task, cause), failures in causes.items():
        hours = [one.hour for one in failures if one.hour is not None]
        since = min(one.since for one in failures)
        about = f" for {_hours(hours)}" if hours else ""
        again = f"SilverHour --hour {max(hours):%Y-%m-%dT%H}" if hours else task
        yield f"{task} fails{about} since {moment(since)}: {cause} Then run it again: luigi --module tasks {again}"


def of_hours(seen: Published, failing: Sequence[Failure], now: datetime) -> Iterator[str]:
    """About hours that nobody published, but those that fail, and about minutes that will be lost."""
    known = {one.hour for one in failing}
    idle = [hour for hour in seen.unpublished if hour not in known and now - hour > timedelta(hours=1) + _LATE]
    if idle:
        yield (f"Nobody has published {_hours(idle)}: is klines hourly running? By hand: luigi --module tasks Hourly")
    for missing in seen.missing:
        if missing.lost_at is not None and missing.lost_at - now < _SOON:
            yield (
                f"{missing.exchange}: {missing.minutes} minutes of {missing.pairs} pairs, in hours from "
                f"{missing.first_hour:%Y-%m-%dT%H} on, are lost at {moment(missing.lost_at)} and after that "
                f"({missing.why_then}). Make its REST answer before that: look at the network, and at "
                f"[exchange_{missing.exchange}]."
            )


def span(duration: timedelta) -> str:
    """`42 s`, `7 min`, `3.5 h`, `12 days`"""
    seconds = max(0.0, duration.total_seconds())
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days"


def size(count: int) -> str:
    """`0 B`, `12 kB`, `3.4 MB`, `1.2 GB`"""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit in ("B", "kB") else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def moment(when: datetime) -> str:
    """`2026-11-22 03:12`, UTC"""
    return f"{when:%Y-%m-%d %H:%M}"


def _hours(hours: list[datetime]) -> str:
    if len(hours) == 1:
        return f"the hour {hours[0]:%Y-%m-%dT%H}"
    return f"{len(hours)} hours, {min(hours):%Y-%m-%dT%H} to {max(hours):%Y-%m-%dT%H}"


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
