-- Make the stage the hour's partition. Blocks no reader: ATTACH excludes only other changes of the parent.
-- Identifiers: stage, name (unqualified), partition. Parameters: start timestamptz, end timestamptz.
ALTER TABLE {stage} RENAME TO {name};
ALTER TABLE silver.fact_ohlcv ATTACH PARTITION {partition} FOR VALUES FROM (%(start)s) TO (%(end)s);
