-- Lets DuckDB read the lake's bucket. Needs the session variables of tasks/tables/views.py; credentials are never written down.
CREATE OR REPLACE TEMPORARY SECRET lake (
    TYPE s3,
    PROVIDER config,
    SCOPE getvariable('lake'),
    KEY_ID getvariable('key_id'),
    SECRET getvariable('secret'),
    SESSION_TOKEN getvariable('session_token'),
    REGION getvariable('region'),
    ENDPOINT getvariable('endpoint'),
    URL_STYLE getvariable('url_style'),
    USE_SSL getvariable('use_ssl')
);
