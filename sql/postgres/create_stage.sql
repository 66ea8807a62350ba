-- A table shaped like the parent that no query reads yet. What a killed publish left behind is dropped.
-- The CHECK says what the partition's bounds will say, so that ATTACH need not scan the rows while it holds locks.
-- It is a transaction of its own, because LIKE holds on to the parent, which the swap has to lock.
-- Identifiers: stage. Parameters: start timestamptz, end timestamptz.
DROP TABLE IF EXISTS {stage};
CREATE TABLE {stage} (LIKE silver.fact_ohlcv INCLUDING ALL);
ALTER TABLE {stage} ADD CONSTRAINT hour_bounds
    CHECK (interval_start >= %(start)s AND interval_start < %(end)s);
