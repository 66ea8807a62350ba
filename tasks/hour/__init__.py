"""An hour's steps in their order: stream_hour, rest_hour, silver_hour, publish_hour; and what they share."""
