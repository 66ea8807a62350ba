-- Who holds a lock that take_lock waits for. Parameters: family integer, subject integer.
SELECT held.pid, coalesce(client_addr::text, 'this machine') AS host, coalesce(state, 'unknown') AS state, xact_start
FROM pg_locks AS held
JOIN pg_stat_activity USING (pid)
WHERE held.locktype = 'advisory' AND held.granted AND held.objsubid = 2
    AND held.classid = %(family)s::bigint::oid AND held.objid = %(subject)s::bigint::oid
    AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database());
