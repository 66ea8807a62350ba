-- What REST answered about some pairs of one exchange-hour: candles, trades, and an `answered` line per request.
-- $files: paths of JSONL files. The order of the rows does not depend on the order of reading.
SELECT
    exchange,
    symbol,
    60 AS interval_seconds,
    interval_start,
    interval_start + INTERVAL 1 MINUTE AS interval_end,
    open,
    high,
    low,
    close,
    volume,
    vwap,
    trade_count,
    'rest' AS source,
    recv_ts AS ingestion_ts,
    quote_volume,
    event_type,
    event_ts,
    is_final,
    conn,
    trade_id,
    price,
    size,
    side,
    NULL::TIMESTAMPTZ AS since,
    status,
    detail,
    asked_start,
    asked_end,
    covered_start,
    covered_end,
    previous_close,
    silence,
    beyond_history
FROM read_json(
    $files,
    format = 'newline_delimited',
    hive_partitioning = false,  -- else the folder's names would replace the line's own words
    maximum_object_size = 8388608,
    columns = {
        exchange: 'VARCHAR', symbol: 'VARCHAR', event_type: 'VARCHAR', event_ts: 'TIMESTAMPTZ',
        recv_ts: 'TIMESTAMPTZ', interval_start: 'TIMESTAMPTZ', is_final: 'BOOLEAN', open: 'DOUBLE', high: 'DOUBLE',
        low: 'DOUBLE', close: 'DOUBLE', volume: 'DOUBLE', quote_volume: 'DOUBLE', trade_count: 'INTEGER',
        vwap: 'DOUBLE', conn: 'VARCHAR', trade_id: 'BIGINT', price: 'DOUBLE', size: 'DOUBLE', side: 'VARCHAR', status: 'VARCHAR',
        detail: 'VARCHAR', asked_start: 'TIMESTAMPTZ', asked_end: 'TIMESTAMPTZ', covered_start: 'TIMESTAMPTZ',
        covered_end: 'TIMESTAMPTZ', previous_close: 'DOUBLE', silence: 'VARCHAR', beyond_history: 'BOOLEAN'
    }
)
ORDER BY symbol, interval_start, recv_ts, event_ts, trade_id, event_type, price, size, open, high, low, close, volume
