-- Fill the stage in the transaction that emptied it. FREEZE makes the rows visible to every snapshot, so that
-- a REPEATABLE READ reader whose snapshot is older than a swap sees the new hour and not an empty one.
-- Identifiers: stage, columns.
COPY {stage} ({columns}) FROM STDIN (FORMAT csv, FREEZE);
