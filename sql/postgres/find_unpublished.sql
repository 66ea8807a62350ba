-- Hours of which nothing is published, from since on, until before until. Parameters: since timestamptz,
-- until timestamptz.
SELECT candidate.hour
FROM generate_series(%(since)s, %(until)s - interval '1 hour', interval '1 hour') AS candidate (hour)
WHERE NOT EXISTS (SELECT FROM gold.completeness_hourly AS entry WHERE entry.hour = candidate.hour)
ORDER BY candidate.hour;
