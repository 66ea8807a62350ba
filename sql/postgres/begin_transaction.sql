-- What every transaction of ours relies on, whatever the database's or the role's own defaults are. Of the transaction and
-- not of the session, which behind a pooler is not ours alone. No parameters.
SET LOCAL TIME ZONE 'UTC';
SET LOCAL DateStyle = 'ISO';
