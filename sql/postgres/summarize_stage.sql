-- What arrived in the stage, to be compared with what was sent. Identifiers: stage.
SELECT
    count(*) AS candles,
    count(DISTINCT (exchange, symbol)) AS pairs,
    min(interval_start) AS first,
    max(interval_start) AS last
FROM {stage};
