-- The lake's own tables for people: bronze.*, silver.*. Needs the session variables of tasks/tables/views.py.
CREATE SCHEMA IF NOT EXISTS bronze;
CREATE SCHEMA IF NOT EXISTS silver;
CREATE SCHEMA IF NOT EXISTS gold;

CREATE OR REPLACE VIEW bronze.bronze_ohlcv_native AS
SELECT
    exchange, symbol, interval_seconds, interval_start, interval_end, open, high, low, close, volume, vwap,
    trade_count, source, ingestion_ts
FROM read_parquet(getvariable('bronze_files'), hive_partitioning = false);

CREATE OR REPLACE VIEW bronze.bronze_trades AS
FROM read_parquet(getvariable('trades_files'), hive_partitioning = false);

CREATE OR REPLACE VIEW bronze.bronze_sessions AS
FROM read_parquet(getvariable('sessions_files'), hive_partitioning = false);

CREATE OR REPLACE VIEW silver.fact_ohlcv AS
FROM read_parquet(getvariable('silver_files'), hive_partitioning = false);
