"""Renders shared by the oracle tests: 24 scenes of the val split, made once."""

import pytest

from sora_jax.modality import FORMATS
from sora_jax.oracles import conditions


@pytest.fixture(scope="session")
def clips():
    return conditions.ground_truth("val", range(24), FORMATS["nano"], batch=24)
