-- Take the hour's old partition out. The parent is locked first, as everywhere; while this waits for its readers, new
-- ones queue behind it, hence the timeout. The partition itself must be free at once: waiting for it too would
-- make them wait twice. Identifiers: partition. Parameters: milliseconds integer.
SET LOCAL lock_timeout = %(milliseconds)s;
LOCK TABLE ONLY silver.fact_ohlcv IN ACCESS EXCLUSIVE MODE;
LOCK TABLE ONLY {partition} IN ACCESS EXCLUSIVE MODE NOWAIT;
ALTER TABLE silver.fact_ohlcv DETACH PARTITION {partition};
DROP TABLE {partition};
