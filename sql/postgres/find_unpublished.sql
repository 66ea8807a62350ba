-- Hours of which nothing is published, from since on, or from the first published hour that has candles on where that is
-- later, until before until. Parameters: since timestamptz, until timestamptz.
WITH first AS (SELECT min(hour) AS hour FROM gold.completeness_hourly WHERE missing < expected)
SELECT candidate.hour
FROM first, generate_series(greatest(%(since)s, first.hour), %(until)s - interval '1 hour', interval '1 hour')
    AS candidate (hour)
WHERE first.hour IS NOT NULL
    AND NOT EXISTS (SELECT FROM gold.completeness_hourly AS entry WHERE entry.hour = candidate.hour)
ORDER BY candidate.hour;
