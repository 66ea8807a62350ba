-- Hours of which nothing is published, from since on, or from the first published hour on where that is later, until
-- before until. Parameters: since timestamptz, until timestamptz.
SELECT candidate.hour
FROM generate_series(
    greatest(%(since)s, (SELECT min(hour) FROM gold.completeness_hourly)),
    %(until)s - interval '1 hour',
    interval '1 hour'
) AS candidate (hour)
WHERE EXISTS (SELECT FROM gold.completeness_hourly)
    AND NOT EXISTS (SELECT FROM gold.completeness_hourly AS entry WHERE entry.hour = candidate.hour)
ORDER BY candidate.hour;
