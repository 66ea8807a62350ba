"""Exchanges without a module of their own, read through the library ccxt: from its cache to lines, and its REST."""
