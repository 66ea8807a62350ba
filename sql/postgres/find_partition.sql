-- Whether the hour has its partition. Parameters: partition text (schema-qualified name).
SELECT count(*) > 0 AS attached
FROM pg_inherits
WHERE inhparent = to_regclass('silver.fact_ohlcv') AND inhrelid = to_regclass(%(partition)s);
