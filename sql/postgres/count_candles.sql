-- How many candles of the hours from since until before until are there. Parameters: since, until timestamptz.
SELECT count(*) AS candles FROM silver.fact_ohlcv WHERE interval_start >= %(since)s AND interval_start < %(until)s;
