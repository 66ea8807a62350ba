-- Bars of any length from 1-minute candles. A bar says in `minutes` how many candles stand behind it.
-- $seconds: length of a bar. Reads the view or table silver.fact_ohlcv. Sums run in time order: floats add up the same.
CREATE OR REPLACE MACRO roll_up_bars(seconds) AS TABLE
SELECT
    exchange,
    symbol,
    any_value(quote_asset) AS quote_asset,
    min(seconds)::INTEGER AS interval_seconds,
    time_bucket(to_seconds(seconds), interval_start) AS interval_start,
    time_bucket(to_seconds(seconds), interval_start) + to_seconds(seconds) AS interval_end,
    arg_min(open, interval_start) AS open,
    max(high) AS high,
    min(low) AS low,
    arg_max(close, interval_start) AS close,
    sum(volume ORDER BY interval_start) AS volume,
    sum(quote_volume ORDER BY interval_start) AS quote_volume,
    sum(trade_count)::INTEGER AS trade_count,
    CASE
        WHEN sum(volume ORDER BY interval_start) > 0
            THEN sum(vwap * volume ORDER BY interval_start) / sum(volume ORDER BY interval_start)
    END AS vwap,
    count(*)::INTEGER AS minutes
FROM silver.fact_ohlcv
WHERE interval_seconds = 60
GROUP BY exchange, symbol, time_bucket(to_seconds(seconds), interval_start)
ORDER BY exchange, symbol, time_bucket(to_seconds(seconds), interval_start)
