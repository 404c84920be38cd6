"""Renders shared by the oracle tests: 24 scenes of the val split, made once."""

import pytest

from sora_jax.modality import FORMATS
from sora_jax.oracles import examples


@pytest.fixture(scope="session")
def clips():
    return examples.ground_truth("val", range(24), FORMATS["nano"], batch=24)
