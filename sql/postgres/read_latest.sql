-- The published entries of the latest hours that there are. Parameters: hours integer.
SELECT
    exchange, symbol, hour, expected, stream, rest, empty, missing, missing_minutes, causes, content_hash
FROM gold.completeness_hourly
WHERE hour IN (SELECT DISTINCT hour FROM gold.completeness_hourly ORDER BY hour DESC LIMIT %(hours)s)
ORDER BY hour, exchange, symbol;
