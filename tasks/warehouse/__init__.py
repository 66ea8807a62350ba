"""Postgres: a session with the warehouse, which publishes whole hours. `connect` is the door."""

from tasks.warehouse.publish import Published, Warehouse, address, connect

__all__ = ["Published", "Warehouse", "address", "connect"]
