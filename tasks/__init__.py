"""The hourly pipeline: `luigi --module tasks <Task>` finds its tasks here; tasks/graph.py has them."""

from tasks import sentences
from tasks.graph import BronzeRest, BronzeStream, GoldHour, Hourly, SilverHour, SilverPair

__all__ = ["BronzeRest", "BronzeStream", "GoldHour", "Hourly", "SilverHour", "SilverPair"]

sentences.install()
