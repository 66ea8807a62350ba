"""SQL texts, one statement group per file, foldered by engine. This package only reads them."""

from __future__ import annotations

import functools
from importlib import resources


@functools.cache
def load(name: str) -> str:
    """The text of one file, such as `load("postgres/create_schema")`."""
    return resources.files(__name__).joinpath(f"{name}.sql").read_text(encoding="utf-8")
