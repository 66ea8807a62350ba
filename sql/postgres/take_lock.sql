-- Wait for a lock of our own making, held until released or until the session ends: of two publishers of one hour,
-- on one host or two, the second waits. Parameters: family integer, subject integer.
SELECT pg_advisory_lock(%(family)s, %(subject)s);
