-- The latest published hours, all pairs together. Parameters: hours integer.
SELECT
    hour,
    count(*)::integer AS pairs,
    sum(expected)::integer AS expected,
    sum(stream)::integer AS stream,
    sum(rest)::integer AS rest,
    sum(empty)::integer AS empty,
    sum(missing)::integer AS missing
FROM gold.completeness_hourly
WHERE hour IN (SELECT DISTINCT hour FROM gold.completeness_hourly ORDER BY hour DESC LIMIT %(hours)s)
GROUP BY hour
ORDER BY hour;
