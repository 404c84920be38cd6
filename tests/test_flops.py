"""FLOPs from the jaxpr: by hand where a hand can, and a scanned program against the same program
unrolled.
"""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, AxisType
from jax.sharding import PartitionSpec as P

from sora_jax.flops import count_flops, stored_bytes


def test_products_by_hand():
    a, b = jnp.zeros((3, 5, 7)), jnp.zeros((3, 7, 11))
    assert count_flops(jnp.matmul, a, b) == 2 * 3 * 5 * 7 * 11
    image, kernel = jnp.zeros((2, 8, 9, 4)), jnp.zeros((3, 3, 2, 6))

    def conv(x, k):
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, k, (1, 1), "SAME", dimension_numbers=layout, feature_group_count=2
        )

    assert count_flops(conv, image, kernel) == 2 * (2 * 8 * 9 * 6) * (3 * 3 * 2)


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit, jax.checkpoint, jax.vmap])
def test_scan_is_its_unrolled_program(transform):
    weights, x = jnp.zeros((5, 6, 6)), jnp.zeros((4, 6))

    def scanned(w, x):
        return jax.lax.scan(lambda c, k: (jnp.tanh(c @ k), None), x, w)[0].sum()

    def unrolled(w, x):
        for i in range(5):
            x = jnp.tanh(x @ w[i])
        return x.sum()

    arguments = (weights[None], x[None]) if transform is jax.vmap else (weights, x)
    assert (
        count_flops(transform(scanned), *arguments)
        == count_flops(transform(unrolled), *arguments)
        == 5 * 2 * 4 * 6 * 6
    )
    if transform is not jax.vmap:
        grads = [
            count_flops(jax.grad(transform(f), argnums=(0, 1)), *arguments)
            for f in (scanned, unrolled)
        ]
        assert grads[0] == grads[1] >= 3 * 5 * 2 * 4 * 6 * 6


def test_cond_takes_the_dearest_branch():
    x = jnp.zeros((4, 4))
    assert (
        count_flops(lambda p, x: jax.lax.cond(p, lambda x: x @ x, lambda x: x, x), True, x)
        == 2 * 4**3
    )


def test_unknown_length_is_refused():
    with pytest.raises(NotImplementedError, match="while"):
        count_flops(
            lambda x: jax.lax.while_loop(lambda x: x[0, 0] > 0, lambda x: x @ x, x),
            jnp.zeros((4, 4)),
        )
    assert (
        count_flops(
            lambda x: jax.lax.while_loop(lambda x: x[0, 0] > 0, lambda x: x - 1, x),
            jnp.zeros((4, 4)),
        )
        == 0
    )


def test_kernels_that_hide_their_products_are_refused():
    x = jax.ShapeDtypeStruct((4, 4), jnp.float32)
    with pytest.raises(NotImplementedError, match="ffi_call hides its FLOPs"):
        count_flops(lambda x: jax.ffi.ffi_call("triton_kernel_call_ffi", x)(x), x)


def test_stored_bytes_by_hand():
    """d(sum of tanh(x w) u) needs tanh's output twice at most, and x, which is given; under
    checkpoint only what is given.
    """
    x, w = jnp.zeros((8, 16)), {"w": jnp.zeros((16, 32)), "u": jnp.zeros((32, 4))}

    def function(p, x):
        return (jnp.tanh(x @ p["w"]) @ p["u"]).sum()

    one = 8 * 32 * 4
    assert one <= stored_bytes(function, w, x) <= 2 * one
    assert stored_bytes(jax.checkpoint(function), w, x) == 0


def test_stored_bytes_grow_with_a_scan():
    def function(ws, x):
        return jax.lax.scan(lambda c, w: (jnp.tanh(c @ w), None), x, ws)[0].sum()

    x = jnp.zeros((8, 16))
    sizes = [stored_bytes(function, jnp.zeros((n, 16, 16)), x) for n in (2, 4)]
    assert sizes[1] == 2 * sizes[0] >= 4 * 8 * 16 * 4


def test_a_shard_map_is_all_its_devices():
    mesh = AbstractMesh((2, 3), ("a", "b"), axis_types=(AxisType.Auto,) * 2)
    product = jax.shard_map(
        lambda x, y: x @ y, mesh=mesh, in_specs=(P("a", None), P(None, "b")), out_specs=P("a", "b")
    )
    assert count_flops(product, jnp.zeros((4, 5)), jnp.zeros((5, 6))) == 2 * 4 * 5 * 6
