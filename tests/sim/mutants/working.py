"""Rules of what the tasks choose, prove, build and publish: tasks/."""

from __future__ import annotations

from tests.sim.mutants.mutant import Mutant

MUTANTS = (
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
        "self._swap(hour, lambda: self._attach(hour, ledger)):\n",
        'self._swap(hour, lambda: self._session.execute("attach_stage", **names, start=hour, end=hour + HOUR)):\n',
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
