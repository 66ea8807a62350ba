-- Note from which content, and by which rule, the larger candles of one hour are made.
-- Parameters: hour timestamptz, rule text.
UPDATE gold.completeness_hourly
SET bars_hash = %(rule)s || ':' || content_hash
WHERE hour = %(hour)s;
