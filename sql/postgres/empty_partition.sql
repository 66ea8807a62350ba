-- For when readers hold on to the partition of an hour that is to go: take its rows away under them, which they do not
-- see before their next snapshot. Identifiers: partition.
DELETE FROM {partition};
