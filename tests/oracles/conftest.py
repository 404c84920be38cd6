"""Talks for the oracles of faces, lips and speakers."""

import pytest

from sora_jax.oracles.examples import STAGES


@pytest.fixture(scope="session")
def talks(clips):
    """8 rendered talks, two in each style."""
    return STAGES["talk"](clips[:8])
