-- Bars of any length from 1-minute candles. A bar says in `minutes` how many candles stand behind it.
-- $seconds: length of a bar. Reads the view or table silver.fact_ohlcv. Sums run in time order: floats add up the same.
-- A sum is exact or null: what one traded minute does not tell, its bar cannot know. A minute without trades adds nothing.
CREATE OR REPLACE MACRO roll_up_bars(seconds) AS TABLE
WITH minutes AS (
    SELECT
        *,
        time_bucket(to_seconds(seconds), interval_start) AS bar_start,
        volume > 0 OR coalesce(trade_count, 0) > 0 AS is_traded
    FROM silver.fact_ohlcv
    WHERE interval_seconds = 60
)
SELECT
    exchange,
    symbol,
    any_value(quote_asset) AS quote_asset,
    min(seconds)::INTEGER AS interval_seconds,
    bar_start AS interval_start,
    bar_start + to_seconds(seconds) AS interval_end,
    arg_min(open, interval_start) AS open,
    max(high) AS high,
    min(low) AS low,
    arg_max(close, interval_start) AS close,
    sum(volume ORDER BY interval_start) AS volume,
    CASE
        WHEN count(*) FILTER (WHERE is_traded AND quote_volume IS NULL) = 0
            THEN sum(quote_volume ORDER BY interval_start)
    END AS quote_volume,
    CASE
        WHEN count(*) FILTER (WHERE is_traded AND trade_count IS NULL) = 0
            THEN sum(trade_count)::INTEGER
    END AS trade_count,
    CASE
        WHEN count(*) FILTER (WHERE is_traded AND vwap IS NULL) = 0 AND sum(volume ORDER BY interval_start) > 0
            -- The mean of what was paid lies between the lowest and the highest price; only rounding leads out of there.
            THEN greatest(
                min(low),
                least(max(high), sum(vwap * volume ORDER BY interval_start) / sum(volume ORDER BY interval_start))
            )
    END AS vwap,
    count(*)::INTEGER AS minutes
FROM minutes
GROUP BY exchange, symbol, bar_start
ORDER BY exchange, symbol, bar_start
