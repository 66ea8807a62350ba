-- The recorded lines of some pairs of one exchange-hour, typed, in the order of the files and of the lines in them.
-- $files: paths of JSONL or JSONL.zst files; $exchange: id; $symbols: canonical symbols; $hour: timestamptz.
-- `valid` is false for a line that does not belong here: nothing may be read as NULL and then go on as a candle.
SELECT
    symbol,
    interval_start,
    open,
    high,
    low,
    close,
    volume,
    vwap,
    trade_count,
    recv_ts,
    quote_volume,
    event_type,
    event_ts,
    is_final,
    conn,
    since,
    status,
    detail,
    trade_id,
    price,
    size,
    side,
    coalesce(
        exchange = $exchange
        AND list_contains($symbols, symbol)
        AND interval_minutes = 1
        AND recv_ts IS NOT NULL
        AND CASE
            WHEN event_type IN ('snapshot', 'update') THEN
                date_trunc('hour', interval_start) = $hour
                AND date_trunc('minute', interval_start) = interval_start
                AND low > 0 AND low <= least(open, close) AND greatest(open, close) <= high AND isfinite(high)
                AND volume >= 0 AND isfinite(volume)
            WHEN event_type = 'alive' THEN
                date_trunc('hour', interval_start) = $hour AND since IS NOT NULL AND conn IS NOT NULL
            WHEN event_type = 'trade' THEN
                date_trunc('hour', interval_start) = $hour
                AND date_trunc('minute', event_ts) = interval_start
                AND price > 0 AND isfinite(price) AND size > 0 AND isfinite(size)
            ELSE event_type = 'status'
        END,
        false
    ) AS valid
FROM read_json(
    $files,
    format = 'newline_delimited',
    hive_partitioning = false,  -- else the folder's names would replace the line's own words
    maximum_object_size = 8388608,
    columns = {
        exchange: 'VARCHAR', symbol: 'VARCHAR', interval_minutes: 'INTEGER', event_type: 'VARCHAR',
        event_ts: 'TIMESTAMPTZ', recv_ts: 'TIMESTAMPTZ', interval_start: 'TIMESTAMPTZ', is_final: 'BOOLEAN',
        open: 'DOUBLE', high: 'DOUBLE', low: 'DOUBLE', close: 'DOUBLE', volume: 'DOUBLE', quote_volume: 'DOUBLE',
        trade_count: 'INTEGER', vwap: 'DOUBLE', conn: 'VARCHAR', since: 'TIMESTAMPTZ', status: 'VARCHAR',
        detail: 'VARCHAR', trade_id: 'BIGINT', price: 'DOUBLE', size: 'DOUBLE', side: 'VARCHAR'
    }
)
