-- The published candles of one hour. Parameters: start timestamptz, end timestamptz. Identifiers: columns.
SELECT {columns}
FROM silver.fact_ohlcv
WHERE interval_start >= %(start)s
    AND interval_start < %(end)s
ORDER BY exchange, symbol, interval_start;
