-- Make the hour's entries exactly the ones given. Entries that say the same already are left alone, with their
-- published_at; bars_hash stays, and tells by being different that the larger candles are to be made anew.
-- Parameters: start timestamptz, end timestamptz, ledger json (an array of entries).
WITH given AS (
    SELECT * FROM jsonb_to_recordset(%(ledger)s::jsonb) AS entry (
        exchange text, symbol text, hour timestamptz,
        expected integer, stream integer, rest integer, empty integer, missing integer,
        missing_minutes timestamptz[], causes text[], content_hash text
    )
),
gone AS (
    DELETE FROM gold.completeness_hourly AS had
    WHERE had.hour = %(start)s
        AND NOT EXISTS (SELECT FROM given WHERE given.exchange = had.exchange AND given.symbol = had.symbol)
    RETURNING had.exchange, had.symbol
),
gone_5m AS (
    DELETE FROM gold.ohlcv_5m AS bar USING gone
    WHERE bar.exchange = gone.exchange AND bar.symbol = gone.symbol
        AND bar.interval_start >= %(start)s AND bar.interval_start < %(end)s
),
gone_15m AS (
    DELETE FROM gold.ohlcv_15m AS bar USING gone
    WHERE bar.exchange = gone.exchange AND bar.symbol = gone.symbol
        AND bar.interval_start >= %(start)s AND bar.interval_start < %(end)s
),
gone_30m AS (
    DELETE FROM gold.ohlcv_30m AS bar USING gone
    WHERE bar.exchange = gone.exchange AND bar.symbol = gone.symbol
        AND bar.interval_start >= %(start)s AND bar.interval_start < %(end)s
),
gone_1h AS (
    DELETE FROM gold.ohlcv_1h AS bar USING gone
    WHERE bar.exchange = gone.exchange AND bar.symbol = gone.symbol
        AND bar.interval_start >= %(start)s AND bar.interval_start < %(end)s
)
INSERT INTO gold.completeness_hourly AS had (
    exchange, symbol, hour, expected, stream, rest, empty, missing, missing_minutes, causes, content_hash, published_at
)
SELECT
    exchange, symbol, hour, expected, stream, rest, empty, missing, missing_minutes, causes, content_hash, now()
FROM given
ON CONFLICT (exchange, symbol, hour) DO UPDATE SET
    expected = excluded.expected,
    stream = excluded.stream,
    rest = excluded.rest,
    empty = excluded.empty,
    missing = excluded.missing,
    missing_minutes = excluded.missing_minutes,
    causes = excluded.causes,
    content_hash = excluded.content_hash,
    published_at = excluded.published_at
WHERE (had.expected, had.stream, had.rest, had.empty, had.missing, had.missing_minutes, had.causes, had.content_hash)
    IS DISTINCT FROM (
        excluded.expected, excluded.stream, excluded.rest, excluded.empty, excluded.missing,
        excluded.missing_minutes, excluded.causes, excluded.content_hash
    );
