"""Triton's interpreter stands in for a GPU; it must be chosen before triton is imported.

Triton exists for Linux only.
"""

import os
import sys

import jaxtyping
import pytest

os.environ["TRITON_INTERPRET"] = "1"

if sys.platform != "linux":
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def unchecked_shapes(monkeypatch):
    """Lets wrong shapes through the hook of `tests/conftest.py`, to the checks of the functions."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def interpreter():
    """Runs Pallas kernels for TPUs in their interpreter; the test fails if the last has a race."""
    from watchful import without_races  # it loads JAX's Pallas

    with without_races():
        yield
