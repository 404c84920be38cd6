"""Spatial attention: the reference against JAX's own attention, splash attention in its
interpreter, and who is chosen where.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conformance import Op, assert_conforms
from jax.experimental.pallas import tpu as pltpu
from jax.sharding import AxisType, NamedSharding

from kernels import dispatch, pallas_call, target
from kernels.errors import Unsupported
from kernels.spatial_attention import api, pallas_tpu, spatial_attention
from kernels.spatial_attention.specs import SPECS, Spec, inputs

OP = Op(
    "spatial_attention",
    lambda given, spec, implementation: spatial_attention(**given, implementation=implementation),
    fixed=("angles",),
)
SMALL = Spec(2, 5, 2, 16, dtype="float32")


def test_reference_is_attention():
    given = inputs(SMALL)

    def turned(x, scale):
        x = x / jnp.sqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-6) * scale
        z = (x[..., :8] + 1j * x[..., 8:]) * jnp.exp(1j * given["angles"])[:, None]
        return jnp.concatenate([z.real, z.imag], -1)

    want = jax.nn.dot_product_attention(
        turned(given["q"], given["q_scale"]), turned(given["k"], given["k_scale"]), given["v"]
    )
    np.testing.assert_allclose(spatial_attention(**given, implementation="xla"), want, atol=3e-6)


def test_leading_axes_and_no_gradient_of_angles():
    given = inputs(Spec(6, 5, 2, 16, dtype="float32"))
    split = {
        name: x.reshape(2, 3, *x.shape[1:]) if name in "qkv" else x for name, x in given.items()
    }
    np.testing.assert_array_equal(
        spatial_attention(**split).reshape(given["q"].shape), spatial_attention(**given)
    )
    run = lambda angles: spatial_attention(**{**given, "angles": angles}).sum()
    assert (jax.grad(run)(given["angles"]) == 0).all()


def test_triton_conforms():
    assert_conforms(OP, Spec(5, 16, 1, 16, dtype="float32"), "triton")


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec", [Spec(1, 128, 1, 64, dtype="float32"), Spec(2, 150, 2, 72)], ids=str
)
def test_splash_conforms(spec):
    with pallas_call.interpreted(pltpu.InterpretParams()):
        assert_conforms(OP, spec, "pallas_tpu")


@pytest.mark.parametrize(
    ("sites", "rows"), [(128, 128), (200, 256), (1024, 1024), (1560, 896), (3600, 768)]
)
def test_blocks_fill_up_little(sites, rows):
    assert pallas_tpu.block(sites) == rows


@pytest.mark.parametrize(
    ("device", "spec", "name"),
    [
        (target.H200, SPECS["xl"], "cudnn"),
        (target.H200, SPECS["nano"], "triton"),
        (target.H200, dataclasses.replace(SPECS["nano"], S=65), "xla"),
        (target.H200, dataclasses.replace(SPECS["xl"], D=136), "xla"),
        (target.Target("gpu", "Tesla V100", 70), SPECS["xl"], "xla"),
        (target.Target("tpu", "TPU v6 lite"), SPECS["xl"], "pallas_tpu"),
        (target.Target("tpu", "TPU v6 lite"), SPECS["nano"], "xla"),
        (target.CPU, SPECS["xl"], "xla"),
    ],
)
def test_chosen(device, spec, name):
    with target.assume(device):
        assert dispatch.select("spatial_attention", api.IMPLEMENTATIONS, spec)[0] == name


@pytest.mark.parametrize("name", ["cudnn", "pallas_tpu"])
def test_asked_by_name_never_falls_back(name):
    with pytest.raises(
        Unsupported, match=f"^spatial_attention, {name}: needs .*, and this is cpu$"
    ):
        spatial_attention(**inputs(SMALL), implementation=name)


@pytest.mark.parametrize(
    "changes,says",
    [
        ({"q": jnp.zeros((5, 16))}, r"q is \(5, 16\); give \[\.\.\., S, H, D\]"),
        (
            {"k": jnp.zeros((2, 4, 2, 16))},
            r"k is \(2, 4, 2, 16\); beside q \(2, 5, 2, 16\) it must be \(2, 5, 2, 16\)",
        ),
        ({"angles": jnp.zeros((2, 5, 8))}, r"angles is \(2, 5, 8\); .* it must be \(5, 8\)"),
        (
            {"v": jnp.zeros((2, 5, 2, 16), jnp.bfloat16)},
            "q is float32 and v bfloat16; give one dtype",
        ),
        (
            {"implementation": "flash"},
            "no implementation 'flash'; there are triton, cudnn, pallas_tpu, xla",
        ),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(unchecked_shapes, changes, says):
    with pytest.raises(ValueError, match=says) as info:
        spatial_attention(**{**inputs(SMALL), **changes})
    assert "\n" not in str(info.value)


def test_sharded_over_sites_is_refused():
    mesh = jax.make_mesh((1,), ("a",), axis_types=(AxisType.Auto,))
    given = inputs(SMALL)
    with pytest.raises(ValueError, match="sites and head width must not be sharded"):
        spatial_attention(**given, sharding=NamedSharding(mesh, jax.P(None, "a")))
    whole = spatial_attention(**given, sharding=NamedSharding(mesh, jax.P("a", None, None)))
    np.testing.assert_allclose(whole, spatial_attention(**given), atol=1e-6)
