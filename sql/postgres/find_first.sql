-- The first published hour that has candles; null where none has: hours of which all is missing make nothing known.
-- No parameters.
SELECT min(hour) AS hour FROM gold.completeness_hourly WHERE missing < expected;
