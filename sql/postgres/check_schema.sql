-- Whether create_schema has been run here, by a version that knew all of these tables. No parameters.
SELECT count(to_regclass(name)) = count(*) AS initialised
FROM unnest(ARRAY[
    'silver.fact_ohlcv', 'gold.completeness_hourly',
    'gold.ohlcv_5m', 'gold.ohlcv_15m', 'gold.ohlcv_30m', 'gold.ohlcv_1h'
]) AS name;
