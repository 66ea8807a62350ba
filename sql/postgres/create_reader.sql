-- The group role for dashboards: reads silver and gold, now and in future, and nothing else. It cannot log in;
-- `GRANT klines_reader TO some_login` makes a reader of a login. Can be run any number of times. No parameters.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'klines_reader') THEN
        CREATE ROLE klines_reader NOLOGIN;
    END IF;
EXCEPTION
    -- Roles belong to the whole server: another database's init may have been quicker.
    WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;
GRANT USAGE ON SCHEMA silver, gold TO klines_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA silver, gold TO klines_reader;
-- The partitions that are still to come.
ALTER DEFAULT PRIVILEGES IN SCHEMA silver, gold GRANT SELECT ON TABLES TO klines_reader;
