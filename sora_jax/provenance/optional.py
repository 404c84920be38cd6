"""Imports packages of the optional dependency group `studio`, which the rest of the library does
without.
"""

import importlib
from typing import Any

REMEDY = "pip install -e '.[studio]'"


def module(name: str) -> Any:
    """Returns a module, or None if its package is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
