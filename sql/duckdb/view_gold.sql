-- What is derived from silver, for people: gold.*. Needs view_lake.sql and roll_up_bars.sql to have run.
CREATE OR REPLACE VIEW gold.ohlcv_5m AS FROM roll_up_bars(300);
CREATE OR REPLACE VIEW gold.ohlcv_15m AS FROM roll_up_bars(900);
CREATE OR REPLACE VIEW gold.ohlcv_30m AS FROM roll_up_bars(1800);
CREATE OR REPLACE VIEW gold.ohlcv_1h AS FROM roll_up_bars(3600);

CREATE OR REPLACE VIEW gold.completeness_hourly AS
SELECT
    regexp_extract(file_name, 'exchange=([^/]+)', 1) AS exchange,
    regexp_extract(file_name, 'symbol=([^/]+)', 1) AS symbol,
    regexp_replace(
        file_name, '.*year=(\d+)/month=(\d+)/day=(\d+)/hour=(\d+)/.*', '\1-\2-\3T\4:00:00Z'
    )::TIMESTAMPTZ AS hour,
    (facts ->> 'expected')::INTEGER AS expected,
    (facts ->> 'stream')::INTEGER AS stream,
    (facts ->> 'rest')::INTEGER AS rest,
    (facts ->> 'empty')::INTEGER AS empty,
    (facts ->> 'missing')::INTEGER AS missing,
    1.0 - (facts ->> 'missing')::DOUBLE / (facts ->> 'expected')::DOUBLE AS completion_rate,
    list_transform(json_keys(facts -> 'causes'), lambda minute: minute::TIMESTAMPTZ) AS missing_minutes,
    list_transform(json_keys(facts -> 'causes'), lambda minute: (facts -> 'causes') ->> minute) AS causes,
    facts ->> 'content' AS content_hash
FROM (
    SELECT file_name, decode(value)::JSON AS facts
    FROM parquet_kv_metadata(getvariable('silver_files'))
    WHERE decode(key) = 'klines'
);
