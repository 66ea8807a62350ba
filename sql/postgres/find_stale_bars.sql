-- Hours whose larger candles were made from the content that is published, but not by today's rule; the latest first.
-- A bars_hash without a rule is from before there was one. Parameters: rule text, hours integer (at most so many).
SELECT DISTINCT hour
FROM gold.completeness_hourly
WHERE right(bars_hash, length(content_hash)) = content_hash
    AND bars_hash <> %(rule)s || ':' || content_hash
ORDER BY hour DESC
LIMIT %(hours)s;
