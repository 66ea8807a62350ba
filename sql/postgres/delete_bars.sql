-- Remove the larger candles of one hour. Identifiers: bars. Parameters: start timestamptz, end timestamptz.
DELETE FROM {bars}
WHERE interval_start >= %(start)s
    AND interval_start < %(end)s;
