"""Cross-attention: the Triton kernels against the reference, forward and backward, and broken ones
that must be caught. The reference in turn is held against JAX's own attention.
"""

import dataclasses
import importlib
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conformance import Op, assert_caught, assert_conforms, broken, quick_jit, run
from jax.sharding import AxisType, NamedSharding

from kernels import dispatch, target
from kernels.cross_attention import api, cross_attention
from kernels.cross_attention.specs import SPECS, Spec, inputs
from kernels.errors import Unsupported
from kernels.temporal_attention.reference import normalise_and_rotate


def call(given, spec, implementation):
    return cross_attention(**given, implementation=implementation)


OP = Op("cross_attention", call, fixed=("angles", "visible"))

# Tokens fill the last tile or not, keys their last block or not.
PLAIN = Spec(1, 4, 16, 1, 16, 16, dtype="float32")
TURNED = Spec(2, 3, 23, 2, 32, 21, dtype="float32", turned=True, masks=1)
SHOTS = Spec(1, 5, 27, 1, 16, 85, dtype="float32", turned=True, masks=5)
FAST = [
    PLAIN,
    TURNED,
    SHOTS,
    Spec(1, 3, 50, 1, 72, 70, dtype="float16", turned=True, masks=3),
    Spec(2, 65, 1, 1, 64, 129, dtype="bfloat16", masks=1),
    Spec(1, 1, 1, 1, 16, 1, dtype="float32"),
]
SLOW = [
    *(dataclasses.replace(spec, B=1, T=3, S=45, H=1, masks=3 * (spec.masks > 1) or spec.masks)
      for spec in SPECS.values()),
    Spec(2, 7, 19, 2, 128, 33, dtype="float32", turned=True, masks=7),
    Spec(1, 2, 600, 1, 16, 200, dtype="float32", masks=1),
]  # fmt: skip


@pytest.mark.parametrize("spec", FAST, ids=str)
def test_conforms(spec):
    assert_conforms(OP, spec, "triton")


@pytest.mark.slow
@pytest.mark.parametrize("spec", SLOW, ids=str)
def test_conforms_at_other_sizes(spec):
    assert_conforms(OP, spec, "triton")
