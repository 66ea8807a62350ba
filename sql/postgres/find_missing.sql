-- What is missing in the published hours from since on, by exchange and cause. Parameters: since timestamptz.
SELECT
    entry.exchange,
    found.cause,
    count(*)::integer AS minutes,
    count(DISTINCT entry.symbol)::integer AS pairs,
    min(entry.hour) AS first_hour,
    max(entry.hour) AS last_hour
FROM gold.completeness_hourly AS entry, unnest(entry.causes) AS found (cause)
WHERE entry.hour >= %(since)s AND entry.missing > 0
GROUP BY entry.exchange, found.cause
ORDER BY entry.exchange, found.cause;
