"""Checks the shapes in annotations while the tests run, and renders clips for the oracle tests."""

import pytest
from jaxtyping import install_import_hook
from shape_checks import CHECKED_MODULES

# Before the first import of the package: modules imported earlier stay unchecked.
install_import_hook(CHECKED_MODULES, "shape_checks.check")

from sora_jax.modality import FORMATS  # noqa: E402
from sora_jax.oracles import examples  # noqa: E402


@pytest.fixture(scope="session")
def clips():
    """24 rendered scenes of the val split."""
    return examples.ground_truth("val", range(24), FORMATS["nano"], batch=24)
