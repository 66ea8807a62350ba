-- Give back what take_lock took. Parameters: family integer, subject integer.
SELECT pg_advisory_unlock(%(family)s, %(subject)s);
