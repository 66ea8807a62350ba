-- Note from which content the larger candles are made, for the pairs that still hold that content.
-- Parameters: hour timestamptz, hashes json (an array of objects with exchange, symbol, content_hash).
UPDATE gold.completeness_hourly AS had
SET bars_hash = had.content_hash
FROM jsonb_to_recordset(%(hashes)s::jsonb) AS given (exchange text, symbol text, content_hash text)
WHERE had.hour = %(hour)s
    AND had.exchange = given.exchange
    AND had.symbol = given.symbol
    AND had.content_hash = given.content_hash;
