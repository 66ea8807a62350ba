-- Remove the larger candles of one hour of some pairs. Identifiers: bars.
-- Parameters: start timestamptz, end timestamptz, hashes json (an array of objects with exchange, symbol).
DELETE FROM {bars} AS bar
USING jsonb_to_recordset(%(hashes)s::jsonb) AS given (exchange text, symbol text)
WHERE bar.exchange = given.exchange
    AND bar.symbol = given.symbol
    AND bar.interval_start >= %(start)s
    AND bar.interval_start < %(end)s;
