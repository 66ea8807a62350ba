-- The published entries of the hours from since until before until. Parameters: since timestamptz, until timestamptz.
SELECT
    exchange, symbol, hour, expected, stream, rest, empty, missing, missing_minutes, causes, content_hash
FROM gold.completeness_hourly
WHERE hour >= %(since)s AND hour < %(until)s
ORDER BY hour, exchange, symbol;
