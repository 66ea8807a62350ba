-- Per pair: what the hour holds, and from what its larger candles were made. Parameters: hour timestamptz.
SELECT exchange, symbol, content_hash, bars_hash
FROM gold.completeness_hourly
WHERE hour = %(hour)s;
