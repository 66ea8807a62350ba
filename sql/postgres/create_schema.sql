-- Everything that the warehouse is made of, apart from the partitions of silver.fact_ohlcv, which each publish brings.
-- Can be run any number of times. No parameters.
CREATE SCHEMA IF NOT EXISTS silver;
COMMENT ON SCHEMA silver IS 'One finished candle per exchange, symbol and minute';

CREATE SCHEMA IF NOT EXISTS gold;
COMMENT ON SCHEMA gold IS 'What is made from silver: larger candles, and how complete each hour is';

-- No DEFAULT partition: with one, every ATTACH scans it, and a row with a wrong time finds a home instead of an error.
CREATE TABLE IF NOT EXISTS silver.fact_ohlcv (
    exchange text NOT NULL,
    symbol text NOT NULL,
    quote_asset text NOT NULL,
    interval_seconds integer NOT NULL,
    interval_start timestamptz NOT NULL,
    interval_end timestamptz NOT NULL,
    open double precision NOT NULL,
    high double precision NOT NULL,
    low double precision NOT NULL,
    close double precision NOT NULL,
    volume double precision NOT NULL,
    quote_volume double precision,
    trade_count integer,
    vwap double precision,
    source text NOT NULL CHECK (source IN ('stream', 'rest', 'empty')),
    ingestion_ts timestamptz NOT NULL,
    PRIMARY KEY (exchange, symbol, interval_seconds, interval_start)
) PARTITION BY RANGE (interval_start);
COMMENT ON TABLE silver.fact_ohlcv IS
    'Finished 1-minute candles. Put a literal bound on interval_start in every query: only then are partitions pruned';
COMMENT ON COLUMN silver.fact_ohlcv.exchange IS 'Where it was traded, such as binance';
COMMENT ON COLUMN silver.fact_ohlcv.symbol IS 'BASE-QUOTE in capitals, such as BTC-USDT';
COMMENT ON COLUMN silver.fact_ohlcv.quote_asset IS 'What the prices are in: the second word of the symbol';
COMMENT ON COLUMN silver.fact_ohlcv.interval_seconds IS 'Length of the candle: 60';
COMMENT ON COLUMN silver.fact_ohlcv.interval_start IS 'First moment of the candle';
COMMENT ON COLUMN silver.fact_ohlcv.interval_end IS 'First moment after the candle';
COMMENT ON COLUMN silver.fact_ohlcv.open IS 'First price';
COMMENT ON COLUMN silver.fact_ohlcv.high IS 'Highest price';
COMMENT ON COLUMN silver.fact_ohlcv.low IS 'Lowest price';
COMMENT ON COLUMN silver.fact_ohlcv.close IS 'Last price';
COMMENT ON COLUMN silver.fact_ohlcv.volume IS 'Traded amount in base currency';
COMMENT ON COLUMN silver.fact_ohlcv.quote_volume IS 'Traded amount in quote currency; null where it is not known';
COMMENT ON COLUMN silver.fact_ohlcv.trade_count IS 'Number of trades; null where the exchange does not send it';
COMMENT ON COLUMN silver.fact_ohlcv.vwap IS 'Average price weighted by volume; null where nobody traded or it is not known';
COMMENT ON COLUMN silver.fact_ohlcv.source IS
    'stream: recorded live; rest: fetched afterwards; empty: proven to be without trades, at the previous close';
COMMENT ON COLUMN silver.fact_ohlcv.ingestion_ts IS 'When the chosen evidence was received; not when it was loaded';

CREATE TABLE IF NOT EXISTS gold.completeness_hourly (
    exchange text NOT NULL,
    symbol text NOT NULL,
    hour timestamptz NOT NULL,
    expected integer NOT NULL,
    stream integer NOT NULL,
    rest integer NOT NULL,
    empty integer NOT NULL,
    missing integer NOT NULL,
    completion_rate double precision NOT NULL GENERATED ALWAYS AS (
        CASE WHEN expected = 0 THEN 1 ELSE (expected - missing)::double precision / expected END
    ) STORED,
    missing_minutes timestamptz[] NOT NULL,
    causes text[] NOT NULL,
    content_hash text NOT NULL,
    bars_hash text,
    published_at timestamptz NOT NULL,
    PRIMARY KEY (exchange, symbol, hour)
);
-- The key begins with the pair; publishing and `klines status` ask by hour.
CREATE INDEX IF NOT EXISTS completeness_hourly_hour ON gold.completeness_hourly (hour);
COMMENT ON TABLE gold.completeness_hourly IS 'What is known about each published hour of each pair';
COMMENT ON COLUMN gold.completeness_hourly.exchange IS 'Where it was traded, such as binance';
COMMENT ON COLUMN gold.completeness_hourly.symbol IS 'BASE-QUOTE in capitals, such as BTC-USDT';
COMMENT ON COLUMN gold.completeness_hourly.hour IS 'First moment of the hour';
COMMENT ON COLUMN gold.completeness_hourly.expected IS 'Minutes that should have a candle';
COMMENT ON COLUMN gold.completeness_hourly.stream IS 'Minutes whose candle was recorded live';
COMMENT ON COLUMN gold.completeness_hourly.rest IS 'Minutes whose candle was fetched afterwards';
COMMENT ON COLUMN gold.completeness_hourly.empty IS 'Minutes proven to be without trades';
COMMENT ON COLUMN gold.completeness_hourly.missing IS 'Minutes about which nothing is known';
COMMENT ON COLUMN gold.completeness_hourly.completion_rate IS 'Share of the expected minutes that are not missing, 0 to 1';
COMMENT ON COLUMN gold.completeness_hourly.missing_minutes IS 'The missing minutes';
COMMENT ON COLUMN gold.completeness_hourly.causes IS 'Why each of missing_minutes is missing, in the same order';
COMMENT ON COLUMN gold.completeness_hourly.content_hash IS 'Digest of the published content; equal digests, equal content';
COMMENT ON COLUMN gold.completeness_hourly.bars_hash IS
    'By which rule, and from which content_hash, the larger candles were last made: rule:content_hash';
COMMENT ON COLUMN gold.completeness_hourly.published_at IS 'When this content became visible';

CREATE TABLE IF NOT EXISTS gold.ohlcv_5m (
    exchange text NOT NULL,
    symbol text NOT NULL,
    quote_asset text NOT NULL,
    interval_seconds integer NOT NULL,
    interval_start timestamptz NOT NULL,
    interval_end timestamptz NOT NULL,
    open double precision NOT NULL,
    high double precision NOT NULL,
    low double precision NOT NULL,
    close double precision NOT NULL,
    volume double precision NOT NULL,
    quote_volume double precision,
    trade_count integer,
    vwap double precision,
    minutes integer NOT NULL,
    PRIMARY KEY (exchange, symbol, interval_start)
);
COMMENT ON TABLE gold.ohlcv_5m IS '5-minute candles, made from silver.fact_ohlcv';
COMMENT ON COLUMN gold.ohlcv_5m.exchange IS 'Where it was traded, such as binance';
COMMENT ON COLUMN gold.ohlcv_5m.symbol IS 'BASE-QUOTE in capitals, such as BTC-USDT';
COMMENT ON COLUMN gold.ohlcv_5m.quote_asset IS 'What the prices are in: the second word of the symbol';
COMMENT ON COLUMN gold.ohlcv_5m.interval_seconds IS 'Length of the candle';
COMMENT ON COLUMN gold.ohlcv_5m.interval_start IS 'First moment of the candle';
COMMENT ON COLUMN gold.ohlcv_5m.interval_end IS 'First moment after the candle';
COMMENT ON COLUMN gold.ohlcv_5m.open IS 'First price';
COMMENT ON COLUMN gold.ohlcv_5m.high IS 'Highest price';
COMMENT ON COLUMN gold.ohlcv_5m.low IS 'Lowest price';
COMMENT ON COLUMN gold.ohlcv_5m.close IS 'Last price';
COMMENT ON COLUMN gold.ohlcv_5m.volume IS 'Traded amount in base currency';
COMMENT ON COLUMN gold.ohlcv_5m.quote_volume IS 'Traded amount in quote currency; null where it is not known';
COMMENT ON COLUMN gold.ohlcv_5m.trade_count IS 'Number of trades; null where it is not known';
COMMENT ON COLUMN gold.ohlcv_5m.vwap IS 'Average price weighted by volume; null where nobody traded or it is not known';
COMMENT ON COLUMN gold.ohlcv_5m.minutes IS 'How many of the expected 1-minute candles stand behind this one';

-- LIKE copies columns, their comments and the key.
CREATE TABLE IF NOT EXISTS gold.ohlcv_15m (LIKE gold.ohlcv_5m INCLUDING ALL);
COMMENT ON TABLE gold.ohlcv_15m IS '15-minute candles, made from silver.fact_ohlcv';
CREATE TABLE IF NOT EXISTS gold.ohlcv_30m (LIKE gold.ohlcv_5m INCLUDING ALL);
COMMENT ON TABLE gold.ohlcv_30m IS '30-minute candles, made from silver.fact_ohlcv';
CREATE TABLE IF NOT EXISTS gold.ohlcv_1h (LIKE gold.ohlcv_5m INCLUDING ALL);
COMMENT ON TABLE gold.ohlcv_1h IS 'Hourly candles, made from silver.fact_ohlcv';
