-- What every session of ours relies on, whatever the database's or the role's own defaults are. No parameters.
SET TIME ZONE 'UTC';
SET DateStyle = 'ISO';
