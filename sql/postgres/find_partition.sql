-- Whether the hour has its partition, and whether there is a stage for another.
-- Parameters: partition text, stage text (schema-qualified names).
SELECT
    count(*) > 0 AS attached,
    to_regclass(%(stage)s) IS NOT NULL AS staged
FROM pg_inherits
WHERE inhparent = to_regclass('silver.fact_ohlcv') AND inhrelid = to_regclass(%(partition)s);
