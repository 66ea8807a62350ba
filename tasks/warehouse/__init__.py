"""Postgres: a session with the warehouse, which publishes whole hours. `connect` is the door; `read`, who only reads.

What publishing needs is loaded when somebody publishes: `klines status` answers before it would be.
"""

from typing import TYPE_CHECKING, Any

from tasks.warehouse.ledger import Ledger, address, read

if TYPE_CHECKING:
    from tasks.warehouse.publish import Published, Warehouse, connect

__all__ = ["Ledger", "Published", "Warehouse", "address", "connect", "read"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tasks.warehouse import publish

    return getattr(publish, name)
