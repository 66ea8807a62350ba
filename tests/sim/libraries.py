"""What the product imports and no mutant changes: loaded once for all of their processes."""

import duckdb  # noqa: F401
import httpx  # noqa: F401
import msgspec  # noqa: F401
import polars  # noqa: F401
import psycopg  # noqa: F401
import pyarrow.parquet  # noqa: F401
import pytest  # noqa: F401
import websockets.asyncio.client  # noqa: F401
