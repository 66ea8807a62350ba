-- Wait for a lock of our own making, but not for ever, and hold it until the transaction ends: of two publishers of one
-- hour, on one host or two, the second waits. Behind a pooler, a session's lock would stay with somebody else's session.
-- Parameters: family integer, subject integer, milliseconds integer.
SET LOCAL lock_timeout = %(milliseconds)s;
SELECT pg_advisory_xact_lock(%(family)s, %(subject)s);
SET LOCAL lock_timeout = DEFAULT;
