"""The rules of choosing, filling and judging, each with the case that would break it."""

from __future__ import annotations

import random
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.rules import choose
from tests.evidence_rows import HOUR, SYMBOL, alive, answered, at, bronze, candle, evidence, rest, sessions


def judged(evidence: choose.Evidence, **options: Any) -> choose.Judged:
    """The hour's outcome for the one symbol of these tests."""
    return choose.judge("kraken", [SYMBOL], HOUR, evidence, **options)


def verdict(evidence: choose.Evidence, minute: int) -> tuple[str, str | None]:
    """Verdict and cause of one minute."""
    row = judged(evidence).verdicts.filter(pl.col("interval_start") == at(minute))
    return row["verdict"].item(), row["cause"].item()


def closes(evidence: choose.Evidence) -> dict[int, float]:
    """Minute → close of what silver has."""
    frame = judged(evidence).candles
    return {start.minute: close for start, close in frame.select("interval_start", "close").iter_rows()}


def test_a_flagged_candle_is_finished_without_any_other_proof() -> None:
    """k.x says it all."""
    assert verdict(evidence([candle(7, is_final=True)]), 7) == ("stream", None)


def test_an_open_candle_is_never_finished() -> None:
    """The last update before a disconnect is not the candle."""
    assert verdict(evidence([candle(7, is_final=False)], [alive(7)]), 7)[0] == "missing"


def test_who_flags_some_candles_is_not_believed_without_a_flag() -> None:
    """One unflagged message between flagged ones is no last word: the finished candle has a flag here."""
    stream = [candle(7, is_final=False, ingestion_ts=at(7, 20)), candle(7, ingestion_ts=at(7, 40))]
    assert verdict(evidence(stream, [alive(7)]), 7)[0] == "missing"
    assert verdict(evidence([*stream, candle(7, is_final=True)], [alive(7)]), 7)[0] == "stream"


def test_a_flag_of_one_connection_is_the_exchange_s() -> None:
    """What another connection says without it is no last word either, however long that one lived."""
    stream = [candle(7, is_final=False, conn="rec/2"), candle(7)]
    assert verdict(evidence(stream, [alive(7)]), 7)[0] == "missing"


def test_an_alive_line_can_be_taken_back() -> None:
    """A second one about the minute with a later `since` says that something in it was lost: silence proves nothing."""
    said = [alive(5), alive(6), alive(7), alive(8)]
    taken_back = [alive(minute, since=at(8, 10), recv_ts=at(8, 10)) for minute in (6, 7)]
    world = evidence(lines=[*said, *taken_back], answers=[answered(previous_close=100.0)])
    assert [verdict(world, minute)[0] for minute in (5, 6, 7)] == ["empty", "missing", "missing"]


def test_the_last_update_counts_when_its_connection_lived_to_the_end() -> None:
    """Without a flag: last update, and an alive line of the same connection."""
    stream = [candle(7, trade_count=n, close=100.0 + n / 10, event_ts=at(7, n)) for n in (1, 3, 2)]
    assert closes(evidence(stream, [alive(7)]))[7] == 100.3


def test_what_is_taken_back_proves_no_last_update_either() -> None:
    """Something of the minute was lost after the update: it is not the last. Its neighbours are untouched."""
    stream = [candle(6), candle(7)]
    said = [alive(6), alive(7), alive(8)]
    assert verdict(evidence(stream, said), 7)[0] == "stream"
    world = evidence(stream, [*said, alive(7, since=at(8, 10), recv_ts=at(8, 10))])
    assert [verdict(world, minute)[0] for minute in (6, 7)] == ["stream", "missing"]


def test_an_update_that_takes_trades_away_is_not_believed() -> None:
    """The last word has fewer trades than an earlier one: one of them is wrong, and REST is asked."""
    stream = [candle(7, trade_count=5, event_ts=at(7, 10)), candle(7, trade_count=3, event_ts=at(7, 40))]
    assert verdict(evidence(stream, [alive(7)]), 7)[0] == "missing"


def test_two_last_updates_at_once_are_told_apart_by_their_values() -> None:
    """The same moments and counts, different prices: the choice does not depend on the order of reading."""
    updates = [candle(7, close=99.0 + n / 8) for n in range(24)]
    found = set()
    for seed in range(6):
        random.Random(seed).shuffle(updates)
        found.add(closes(evidence(updates, [alive(7)]))[7])
    assert found == {99.0 + 23 / 8}


@pytest.mark.parametrize(
    "line",
    [
        alive(7, conn="rec/2"),
        alive(7, since=at(7, 31)),
        alive(6),
        alive(7, recv_ts=at(7, 20)),
        alive(7, symbol="ETH-USDT"),
    ],
    ids=[
        "another connection",
        "joined after the update",
        "an earlier minute",
        "said before the update",
        "another pair",
    ],
)
def test_an_alive_line_that_proves_nothing(line: dict[str, Any]) -> None:
    """Each part of the proof is needed."""
    assert verdict(evidence([candle(7)], [line]), 7)[0] == "missing"


def test_joining_in_mid_minute_is_enough_because_the_exchange_builds_the_candle() -> None:
    """`since` may lie inside the minute, as long as it lies before the update."""
    assert verdict(evidence([candle(7)], [alive(7, since=at(7, 10))]), 7)[0] == "stream"


def test_a_later_alive_line_of_the_same_subscription_proves_the_earlier_minutes_too() -> None:
    """It says: live without a break from `since` until its own minute's end."""
    assert verdict(evidence([candle(7)], [alive(9)]), 7)[0] == "stream"


def test_a_late_update_needs_a_later_proof() -> None:
    """An update after the alive line shows that the earlier one was not the last."""
    late = candle(7, trade_count=5, ingestion_ts=at(8, 10), event_ts=at(8, 10))
    assert verdict(evidence([candle(7), late], [alive(7)]), 7)[0] == "missing"
    assert verdict(evidence([candle(7), late], [alive(7), alive(8)]), 7)[0] == "stream"


def test_a_snapshot_row_is_not_finished_but_can_disprove() -> None:
    """A snapshot never counts by itself; one with more trades shows that the connection had missed some."""
    snapshot = candle(7, event_type="snapshot", trade_count=9, conn="rec/2", ingestion_ts=at(30))
    assert verdict(evidence([snapshot], [alive(7, conn="rec/2")]), 7)[0] == "missing"
    assert verdict(evidence([candle(7), snapshot], [alive(7)]), 7)[0] == "missing"


def test_of_several_finished_candles_the_one_with_most_trades_wins_in_any_order() -> None:
    """Contradictory finals: most trades, then latest; the order of reading plays no part."""
    finals = [
        candle(7, is_final=True, trade_count=4, close=100.0),
        candle(7, is_final=True, trade_count=6, close=101.5, conn="rec/2"),
        candle(7, is_final=True, trade_count=6, close=100.5, event_ts=at(7, 20), conn="rec/3"),
    ]
    for seed in range(6):
        random.Random(seed).shuffle(finals)
        assert closes(evidence(finals))[7] == 101.5


def test_rest_never_replaces_a_stream_candle() -> None:
    """Whatever REST says later, and however many trades it has."""
    outcome = evidence([candle(7, is_final=True, close=100.0)], [], [rest(7, close=101.9, trade_count=99)])
    assert verdict(outcome, 7) == ("stream", None)
    assert closes(outcome)[7] == 100.0


def test_rest_fills_what_the_stream_did_not_finish() -> None:
    """The unfinished update gives way to the row that was read after the hour."""
    assert verdict(evidence([candle(7)], [], [rest(7)]), 7) == ("rest", None)


def test_a_rest_row_read_before_the_hour_was_over_does_not_count() -> None:
    """It may be the unfinished one."""
    assert verdict(evidence([], [], [rest(59, ingestion_ts=at(59, 30))]), 59)[0] == "missing"


def test_a_flat_rest_row_is_an_empty_minute() -> None:
    """The exchange's own word that nobody traded: price kept, no vwap, nothing traded."""
    flat = rest(7, open=5.0, high=5.0, low=5.0, close=5.0, volume=0.0, trade_count=0, vwap=None)
    row = judged(evidence([], [], [flat])).candles.row(0, named=True)
    assert (row["source"], row["close"], row["volume"], row["quote_volume"]) == ("empty", 5.0, 0.0, 0.0)
    assert (row["vwap"], row["trade_count"]) == (None, 0)


def test_a_flat_candle_of_the_stream_stays_a_stream_candle() -> None:
    """Binance sends flat candles with the flag; they are as finished as others, and have no vwap."""
    flat = candle(7, is_final=True, open=5.0, high=5.0, low=5.0, close=5.0, volume=0.0, trade_count=0, vwap=0.0)
    row = judged(evidence([flat])).candles.row(0, named=True)
    assert (row["source"], row["vwap"], row["quote_volume"]) == ("stream", None, 0.0)


def test_proven_silence_is_empty_at_the_previous_close() -> None:
    """Alive and silent, with REST rows on both sides that leave the minute out."""
    known = [candle(6, is_final=True, close=100.25)]
    assert verdict(evidence(known, [alive(7)], [], [answered()]), 7) == ("empty", None)
    assert closes(evidence(known, [alive(7)], [], [answered()]))[7] == 100.25


@pytest.mark.parametrize(
    ("stream", "lines", "answers"),
    [
        ([], [], [answered()]),
        ([], [alive(7)], []),
        ([], [alive(7)], [answered(end=7)]),
        ([], [alive(7, since=at(7, 1))], [answered()]),
        ([candle(7)], [alive(7, conn="rec/2")], [answered()]),
        ([], [alive(7)], [answered(silence="no_data")]),
    ],
    ids=["not alive", "not asked", "not covered", "joined late", "a trade was seen", "the exchange has flat rows"],
)
def test_silence_that_is_not_proven_is_missing(
    stream: list[dict[str, Any]], lines: list[dict[str, Any]], answers: list[dict[str, Any]]
) -> None:
    """Each part of the proof is needed; otherwise nothing is made up."""
    known = [candle(6, is_final=True)]
    assert verdict(evidence([*known, *stream], lines, [], answers), 7)[0] == "missing"


def test_a_trade_too_small_to_have_a_volume_is_a_trade() -> None:
    """Its count shows it: the minute is not silent, and a candle of such trades keeps its vwap."""
    tiny = {"volume": 0.0, "trade_count": 1, "vwap": 100.5}
    known = [candle(6, is_final=True), candle(7, **tiny)]
    assert verdict(evidence(known, [alive(7, conn="rec/2")], [], [answered()]), 7)[0] == "missing"
    row = judged(evidence([candle(7, is_final=True, **tiny)])).candles.row(0, named=True)
    assert (row["vwap"], row["quote_volume"]) == (100.5, 0.0)


def test_an_answer_about_other_minutes_leaves_an_empty_one_as_it_was() -> None:
    """Reception is that of the answer which proved the silence, not of the latest one about anything."""
    known = [candle(6, is_final=True)]
    answers = [answered(end=10), answered(first=20, recv_ts=at(90))]
    candles = judged(evidence(known, [alive(7)], [], answers)).candles
    assert candles.filter(pl.col("interval_start") == at(7))["ingestion_ts"].item() == at(65)


def test_trades_prove_silence_by_themselves() -> None:
    """A range that was read trade by trade needs no alive line."""
    answers = [answered(silence="no_trade", previous_close=77.0)]
    assert closes(evidence([], [], [], answers)) == dict.fromkeys(range(60), 77.0)


def test_a_price_is_not_carried_across_a_missing_minute() -> None:
    """Somebody may have traded there at another price."""
    known = [candle(5, is_final=True)]
    outcome = evidence(known, [alive(7)], [], [answered(first=7, end=60)])
    assert verdict(outcome, 6)[0] == verdict(outcome, 7)[0] == "missing"


def test_empty_minutes_can_be_counted_without_being_stored() -> None:
    """[hours] empty_minutes = absent"""
    outcome = judged(evidence([candle(6, is_final=True)], [alive(7)], [], [answered()]), keep_empty=False)
    assert outcome.verdicts["verdict"].to_list().count("empty") == 1
    assert outcome.candles.height == 1


def test_quote_volume_and_vwap_come_from_each_other() -> None:
    """The exchange's where it sends them; never volume times close."""
    rows = [
        candle(1, is_final=True, vwap=None, quote_volume=202.0, volume=2.0),
        candle(2, is_final=True, vwap=100.5, quote_volume=None, volume=2.0),
        candle(3, is_final=True, vwap=None, quote_volume=None),
    ]
    found = judged(evidence(rows)).candles.select("quote_volume", "vwap").rows()
    assert found == [(202.0, 101.0), (201.0, 100.5), (None, None)]


@pytest.mark.parametrize(
    ("lines", "answers", "cause"),
    [
        ([], [], "rest_unavailable"),
        ([], [answered(covered_start=None, covered_end=None, beyond_history=True)], "beyond_rest_history"),
        ([], [answered(silence="no_data")], "not_recording"),
        ([alive(20)], [answered(silence="no_data")], "unknown"),
        ([alive(20, since=at(10))], [answered(silence="no_data")], "disconnected"),
    ],
)
def test_a_missing_minute_has_a_cause(lines: list[dict[str, Any]], answers: list[dict[str, Any]], cause: str) -> None:
    """What the recorder and REST left behind tells why."""
    assert verdict(evidence([], lines, [], answers), 7) == ("missing", cause)


def test_who_recorded_candles_was_recording() -> None:
    """A killed recorder may leave candles without any line about itself; an unfinished flat one is enough."""
    flat = candle(3, open=5.0, high=5.0, low=5.0, close=5.0, volume=0.0, trade_count=0)
    assert verdict(evidence([flat], [], [], [answered(silence="no_data")]), 7) == ("missing", "disconnected")


def test_maintenance_is_a_cause() -> None:
    """The exchange said so before the minute was over, and nothing else since."""
    status = alive(0) | {"event_type": "status", "status": "exchange", "recv_ts": at(6, 30), "since": None}
    lines = [alive(20), status | {"detail": "maintenance: status channel"}]
    outcome = evidence([], lines, [], [answered(silence="no_data")])
    assert verdict(outcome, 7) == ("missing", "exchange_status")
    assert verdict(outcome, 5) == ("missing", "unknown")


def test_what_the_stream_left_is_asked_for_from_first_to_last() -> None:
    """One range per pair; a pair without gaps is not asked about."""
    done = bronze([candle(n, symbol="A-B", is_final=True) for n in range(60)])
    some = bronze([candle(n, symbol="C-D", is_final=True) for n in range(60) if n not in (5, 9)])
    gaps = choose.unfinished(["A-B", "C-D"], HOUR, pl.concat([done, some]))
    assert gaps.rows() == [("C-D", at(5), at(9))]


def test_what_lies_apart_is_asked_for_apart() -> None:
    """Where what lies between would cost requests: the stretches of each pair, in order."""
    some = [candle(n, symbol="A-B", is_final=True) for n in range(60) if n not in (0, 10, 21, 22, 59)]
    other = [candle(n, symbol="C-D", is_final=True) for n in range(59)]
    gaps = choose.unfinished(["C-D", "A-B"], HOUR, bronze(some + other), at(10) - at(0))
    assert gaps.rows() == [
        ("A-B", at(0), at(10)),
        ("A-B", at(21), at(22)),
        ("A-B", at(59), at(59)),
        ("C-D", at(59), at(59)),
    ]


_rows = st.lists(
    st.builds(
        candle,
        st.integers(0, 3),
        trade_count=st.integers(1, 3),
        close=st.sampled_from([100.0, 101.0]),
        is_final=st.sampled_from([True, False, None]),
        conn=st.sampled_from(["a/1", "a/2", "b/1"]),
        event_type=st.sampled_from(["update", "snapshot"]),
        symbol=st.sampled_from(["BTC-USDT", "ETH-USDT"]),
    ),
    max_size=12,
)
_lines = st.lists(
    st.builds(
        alive,
        st.integers(0, 4),
        conn=st.sampled_from(["a/1", "a/2", "b/1"]),
        since=st.sampled_from([at(-1), at(1, 40)]),
        symbol=st.sampled_from(["BTC-USDT", "ETH-USDT"]),
    ),
    max_size=8,
)
_rest = st.lists(
    st.builds(rest, st.integers(0, 3), volume=st.sampled_from([0.0, 1.0]), trade_count=st.sampled_from([0, 2])),
    max_size=5,
)
_answers = st.lists(
    st.builds(answered, silence=st.sampled_from(["no_data", "no_trade_if_alive"]), previous_close=st.just(9.0)),
    max_size=2,
)


@given(_rows, _lines, _rest, _answers, st.randoms(use_true_random=False))
def test_every_minute_has_one_verdict_and_the_order_of_evidence_plays_no_part(
    rows: list[Any], lines: list[Any], rest_rows: list[Any], answers: list[Any], order: random.Random
) -> None:
    """For all evidence: 60 verdicts a pair, a candle for each that is not missing, a cause for each that is."""
    symbols = ["BTC-USDT", "ETH-USDT"]
    first = choose.judge("kraken", symbols, HOUR, evidence(rows, lines, rest_rows, answers))
    for shuffled in (rows, lines, rest_rows, answers):
        order.shuffle(shuffled)
    second = choose.judge("kraken", symbols, HOUR, evidence(rows, lines, rest_rows, answers))
    assert first.candles.equals(second.candles)
    assert first.verdicts.equals(second.verdicts)
    verdicts = first.verdicts
    assert verdicts.height == 120
    assert verdicts.select("symbol", "interval_start").is_unique().all()
    assert verdicts.filter(pl.col("cause").is_null() != (pl.col("verdict") != "missing")).is_empty()
    found = verdicts.filter(pl.col("verdict") != "missing")
    assert first.candles.select("symbol", "interval_start").rows() == found.select("symbol", "interval_start").rows()
    assert first.candles["source"].to_list() == found["verdict"].to_list()


@given(_rows, _lines)
def test_nothing_unfinished_is_ever_called_finished(rows: list[Any], lines: list[Any]) -> None:
    """For all evidence: finished candles are flagged, or updates without a flag whose connection has an alive line."""
    done = choose.finished(bronze(rows), sessions(lines))
    lived = {(line["symbol"], line["conn"]) for line in lines}
    for row in done.iter_rows(named=True):
        assert row["is_final"] or (
            row["is_final"] is None and row["event_type"] == "update" and (row["symbol"], row["conn"]) in lived
        )
