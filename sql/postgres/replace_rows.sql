-- For when readers hold on to the old partition: change its rows under them, which they do not see before
-- their next snapshot. Slower than a swap and leaves dead rows to vacuum. Identifiers: stage, partition.
DELETE FROM {partition};
INSERT INTO {partition} SELECT * FROM {stage};
DROP TABLE {stage};
