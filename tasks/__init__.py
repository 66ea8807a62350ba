"""The hourly pipeline: `luigi --module tasks <Task>` finds its tasks here; tasks/graph.py has them.

They are loaded for Luigi, or for who names one. `klines status` answers before they would be.
"""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or "luigi" in sys.modules:
    from tasks.graph import BronzeRest, BronzeStream, GoldHour, Hourly, SilverHour, SilverPair

__all__ = ["BronzeRest", "BronzeStream", "GoldHour", "Hourly", "SilverHour", "SilverPair"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tasks import graph

    return getattr(graph, name)
