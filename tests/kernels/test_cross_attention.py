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
from conformance import Op, assert_caught, assert_conforms, broken, run
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
TURNED = Spec(2, 3, 11, 2, 16, 21, dtype="float32", turned=True, masks=1)
SHOTS = Spec(1, 5, 9, 1, 16, 70, dtype="float32", turned=True, masks=5)
FAST = [
    PLAIN,
    TURNED,
    SHOTS,
    Spec(1, 3, 25, 1, 72, 70, dtype="float16", turned=True, masks=3),
    Spec(1, 1, 1, 1, 16, 1, dtype="float32"),
]
SLOW = [
    *(dataclasses.replace(spec, B=1, T=3, S=45, H=1, masks=3 * (spec.masks > 1) or spec.masks)
      for spec in SPECS.values()),
    Spec(2, 7, 19, 2, 128, 33, dtype="float32", turned=True, masks=7),
    Spec(1, 2, 600, 1, 16, 200, dtype="float32", masks=1),
    Spec(2, 65, 1, 1, 64, 129, dtype="bfloat16", masks=1),
]  # fmt: skip


@pytest.mark.parametrize("spec", FAST, ids=str)
def test_conforms(spec):
    assert_conforms(OP, spec, "triton")


@pytest.mark.slow
@pytest.mark.parametrize("spec", SLOW, ids=str)
def test_conforms_at_other_sizes(spec):
    assert_conforms(OP, spec, "triton")


def test_reference_is_attention():
    """`jax.nn.dot_product_attention` of normalised, rotated queries, under the mask as a table."""
    given = inputs(SHOTS)
    T, S, M = SHOTS.T, SHOTS.S, SHOTS.M

    @jax.jit
    def want(given):
        q = normalise_and_rotate(given["q"], given["q_scale"], given["angles"][:, None, None])
        sees = jnp.repeat(given["visible"], S, axis=1)
        q = q.reshape(1, T * S, 1, -1)
        return jax.nn.dot_product_attention(q, given["k"], given["v"], mask=sees[:, None])

    assert not given["visible"].all() and (given["visible"][:, 0] != given["visible"][:, -1]).any()
    got = run(OP, SHOTS, "xla", given)["result 0"].reshape(1, T * S, 1, -1)
    assert M > 64  # more than one block of keys
    np.testing.assert_allclose(got, want(given), atol=3e-6)


def in_float64(given, do):
    """The result and the gradients of q, k, v and q_scale, by hand."""
    q, k, v, g, do = (np.asarray(x, np.float64) for x in (*map(given.get, ARRAYS), do))
    phi = np.asarray(given["angles"], np.float64)[:, None, None]
    sees = np.asarray(given["visible"])[:, :, None, None]
    half = q.shape[-1] // 2
    r = 1 / np.sqrt((q**2).mean(-1, keepdims=True) + 1e-6)
    z = (q * r * g)[..., :half] + 1j * (q * r * g)[..., half:]
    z = z * np.exp(1j * phi)
    turned = np.concatenate([z.real, z.imag], -1)
    logits = np.einsum("btshd,buhd->btshu", turned, k) / np.sqrt(2 * half)
    e = np.where(sees, np.exp(logits), 0)
    p = e / np.maximum(e.sum(-1, keepdims=True), 1e-300)
    dp = np.einsum("btshd,buhd->btshu", do, v)
    ds = p * (dp - (p * dp).sum(-1, keepdims=True)) / np.sqrt(2 * half)
    back = np.einsum("btshu,buhd->btshd", ds, k)
    z = (back[..., :half] + 1j * back[..., half:]) * np.exp(-1j * phi)
    u = np.concatenate([z.real, z.imag], -1)
    w = g * u
    gradients = (
        r * (w - q * r * (w * q * r).mean(-1, keepdims=True)),
        np.einsum("btshu,btshd->buhd", ds, turned),
        np.einsum("btshu,btshd->buhd", p, do),
        (u * q * r).sum((0, 1, 2, 3)),
    )
    return np.einsum("btshu,buhd->btshd", p, v), *gradients


ARRAYS = ("q", "k", "v", "q_scale")


@pytest.mark.parametrize("implementation", ["xla", "triton"])
def test_equals_float64(implementation):
    """And queries that see nothing give 0, with gradients of 0."""
    given = dict(inputs(SHOTS))
    given["visible"] = given["visible"].at[:, 2].set(False)
    do = jax.random.normal(jax.random.key(3), given["q"].shape)

    @jax.jit
    def both(free):
        out, pull = jax.vjp(lambda free: call(given | free, SHOTS, implementation), free)
        return out, pull(do)[0]

    out, gradients = both({name: given[name] for name in ARRAYS})
    got = (out, *(gradients[name] for name in ARRAYS))
    for x, want in zip(got, in_float64(given, do), strict=True):
        np.testing.assert_allclose(x, want, rtol=2e-5, atol=2e-6 * np.abs(want).max())
    assert (out[:, 2] == 0).all() and (gradients["q"][:, 2] == 0).all()


# A kernel with one line changed must not pass: what is replaced, by what, and a spec that shows it.
FEW = Spec(1, 4, 16, 1, 16, 13, dtype="float32")
MANY = Spec(1, 2, 80, 1, 16, 70, dtype="float16")
MUTATIONS = {
    "hidden keys are seen": (
        "!= 0)\n        return exists",
        "> -1)\n        return exists",
        TURNED,
    ),
    "keys of other shots are seen": ("return seen & (tl.load", "return seen | (tl.load", SHOTS),
    "the first frame's mask": ("frame[:, None] * M + u", "frame[:, None] * 0 + u", SHOTS),
    "keys that do not exist": ("& (u < M)[None, :]", "& (u < M + 1)[None, :]", FEW),
    "the last keys are left out": ("if REST > 0:", "if REST > 99:", MANY),
    "sums are not rescaled": ("o * shrink[:, None] +", "o +", MANY),
    "one frame for all": ("i // S, exists", "i // (S + 1), exists", TURNED),
    "angles of the first frame": ("turns_ptr, frame % TURNS[0]", "turns_ptr, frame % 1", TURNED),
    "delta is left out": ("- delta[:, None]", "- 0", PLAIN),
    "delta of the result alone": ("o.to(tl.float32) * do.to", "o.to(tl.float32) * o.to", PLAIN),
    "top of another head": ("head) * (T * S)\n    if", "0) * (T * S)\n    if", TURNED),
    "a tile of another chunk": ("(chunk * EACH + step,", "(chunk + step,", MANY),
    "a share of the queries": ("step * BLOCKS + part", "step * BLOCKS + 0 * part + 1", MANY),
    "keys of the first block alone": ("v_ptr, part * KEYS", "v_ptr, 0 * KEYS", MANY),
    "gradient with log2(e)": ("da / LOG2_E", "da", PLAIN),
    "the other half": ("db += _dot(tl.trans(ds), qb)", "db += _dot(tl.trans(ds), qa)", PLAIN),
    "queries without their scale": ("D**-0.5, TURNS, D, HALF,", "1.0, TURNS, D, HALF,", PLAIN),
    "partial sums of one chunk": ("d.sum(1).astype", "d[:, 0].astype", MANY),
    "scale of one tile": ("dscale.sum((1, 2))", "dscale[:, 0].sum(1)", MANY),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_broken_kernel_is_caught(mutation, tmp_path, monkeypatch):
    *change, spec = MUTATIONS[mutation]
    broken(OP, "triton", change, tmp_path, monkeypatch)
    assert_caught(OP, spec)


def test_same_gradients_every_time():
    first, second = (run(OP, MANY, "triton", inputs(MANY)) for _ in range(2))
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    assert "atomic_" not in inspect.getsource(
        importlib.import_module("kernels.cross_attention.triton")
    )


def test_one_key_however_unlikely():
    """It gets all the weight, though its logits are far below where 2^s is zero."""
    given = dict(inputs(PLAIN))
    given["k"], given["visible"] = 1000 * given["k"], jnp.arange(PLAIN.M)[None] == 3
    out = call(given, PLAIN, "triton")
    np.testing.assert_allclose(out, jnp.broadcast_to(given["v"][:, None, 3:4], out.shape))


def test_a_second_derivative_is_refused():
    given = inputs(PLAIN)

    def slope(q):
        return jax.grad(lambda q: jnp.sin(call({**given, "q": q}, PLAIN, "triton")).sum())(q).sum()

    with pytest.raises(Unsupported, match=r"triton: differentiates once; .*'xla'"):
        jax.eval_shape(jax.grad(slope), given["q"])


@pytest.mark.slow
@pytest.mark.parametrize("implementation", ["xla", "triton"])
def test_batching_by_leading_axes_and_by_vmap(implementation):
    """[2, 3, ...], and [3, ...] mapped twice, against [6, ...]; the scale gets the sum over all."""
    spec = Spec(6, 3, 5, 2, 16, 7, dtype="float32", masks=3, turned=True)
    given = dict(inputs(spec))
    fixed = {name: given.pop(name) for name in ("q_scale", "angles")}
    split = {name: x.reshape(2, 3, *x.shape[1:]) for name, x in given.items()}

    def loss(arrays, q_scale, visible):
        free = {**arrays, "q_scale": q_scale, "angles": fixed["angles"], "visible": visible}
        return jnp.sin(cross_attention(**free, implementation=implementation)).sum()

    def mapped(arrays, q_scale, visible):
        return jax.vmap(loss, in_axes=(0, None, 0))(arrays, q_scale, visible).sum()

    def slopes(function, given):
        arrays = {name: given[name] for name in "qkv"}
        gradient = jax.jit(jax.grad(function, argnums=(0, 1)))
        arrays, scale = gradient(arrays, fixed["q_scale"], given["visible"])
        return {name: x.reshape(6, -1) for name, x in arrays.items()} | {"q_scale": scale}

    want = slopes(loss, given)
    for function in (loss, mapped):
        for name, x in slopes(function, split).items():
            np.testing.assert_allclose(x, want[name], rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("device", "changes", "name"),
    [
        (target.H200, {}, "triton"),
        (target.H200, {"D": 8}, "xla"),
        (target.H200, {"M": 1025}, "xla"),
        (target.Target("tpu", "TPU v6 lite"), {}, "pallas_tpu"),
        (target.Target("tpu", "TPU v6 lite"), {"dtype": "float16"}, "xla"),
        (target.Target("tpu", "TPU v6 lite"), {"M": 1025}, "xla"),
        (target.CPU, {}, "xla"),
    ],
)
def test_chosen(device, changes, name):
    spec = dataclasses.replace(SPECS["nano"], **changes)
    with target.assume(device):
        assert dispatch.select("cross_attention", api.IMPLEMENTATIONS, spec)[0] == name


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"q": jnp.zeros((5, 2, 16))}, r"q is \(5, 2, 16\); give \[\.\.\., T, S, H, D\]"),
        (
            {"v": jnp.zeros((1, 15, 1, 16))},
            r"v is \(1, 15, 1, 16\); beside q \(1, 4, 16, 1, 16\) it must be \(1, 16, 1, 16\)",
        ),
        ({"angles": jnp.zeros((3, 8))}, r"angles is \(3, 8\); .* it must be \(4, 8\)"),
        ({"visible": jnp.ones((1, 3, 16), bool)}, r"visible is .* must be \(1, 4, 16\)"),
        ({"visible": jnp.ones((1, 16))}, "visible is float32; give bool"),
        ({"k": jnp.zeros((1, 0, 1, 16)), "v": jnp.zeros((1, 0, 1, 16))}, "nothing to attend to"),
        (
            {"v": jnp.zeros((1, 16, 1, 16), jnp.bfloat16)},
            "q is float32 and v bfloat16; give one dtype",
        ),
        (
            {"implementation": "flash"},
            "no implementation 'flash'; there are triton, pallas_tpu, xla",
        ),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(unchecked_shapes, changes, says):
    with pytest.raises(ValueError, match=says) as info:
        cross_attention(**{**inputs(PLAIN), **changes})
    assert "\n" not in str(info.value)


def test_head_width_must_be_whole():
    mesh = jax.make_mesh((1,), ("a",), axis_types=(AxisType.Auto,))
    given = inputs(TURNED)
    with pytest.raises(ValueError, match="head width must not be sharded"):
        cross_attention(**given, sharding=NamedSharding(mesh, jax.P(*(None,) * 4, "a")))
    frames_apart = NamedSharding(mesh, jax.P(None, "a"))
    whole = jax.jit(lambda given: cross_attention(**given, sharding=frames_apart))(given)
    np.testing.assert_allclose(whole, run(OP, TURNED, "xla", given)["result 0"], atol=1e-6)
