"""Parquet and DuckDB."""
