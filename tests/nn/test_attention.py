"""Attention against JAX's own, and the patterns against a dense mask: who sees whom."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.nn import attention
from sora_jax.nn.norm import rms_norm
from sora_jax.nn.rope import SECONDS, angles, grid_angles, rotate

GRID = (3, 4, 6)  # T, H, W


def qkv(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), (3, *shape))


def dense(q, k, v, sees):
    """Attention of all tokens under a mask bool [tokens, tokens], by JAX's own function."""
    flat = (q.shape[0], -1, *q.shape[3:])
    out = jax.nn.dot_product_attention(
        *(x.reshape(flat) for x in (q, k, v)), mask=jnp.asarray(sees)[None, None]
    )
    return out.reshape(q.shape)


def window_of(position, window, shift):
    return [(p + s) // w for p, w, s in zip(position, window, shift, strict=True)]


@pytest.mark.parametrize(
    "pattern", ["space", "time", "all", "windows", "shifted windows", "windows of all frames"]
)
def test_patterns_see_what_they_should(pattern):
    T, H, W = GRID
    positions = list(np.ndindex(GRID))
    window = (0, 2, 4) if pattern == "windows of all frames" else (2, 2, 4)
    over = {"space": attention.over_space, "time": attention.over_time, "all": attention.over_all}
    over = over.get(pattern) or attention.over_windows(GRID, window, "shifted" in pattern)
    shift = (1, 1, 2) if "shifted" in pattern else (0, 0, 0)
    rule = {
        "space": lambda a, b: a[0] == b[0],
        "time": lambda a, b: a[1:] == b[1:],
        "all": lambda a, b: True,
        "windows of all frames": lambda a, b: (
            window_of(a[1:], (2, 4), (0, 0)) == window_of(b[1:], (2, 4), (0, 0))
        ),
    }.get(pattern, lambda a, b: window_of(a, window, shift) == window_of(b, window, shift))
    sees = np.array([[rule(a, b) for b in positions] for a in positions])
    q, k, v = qkv(2, T, H * W, 2, 8)
    q_scale, k_scale = 1 + 0.2 * jax.random.normal(jax.random.key(1), (2, 8))
    phi = 3 * jax.random.normal(jax.random.key(2), (T, H * W, 4))
    given, phi = {"space": (phi[0], phi[:1]), "time": (phi[:, 0], phi[:, :1])}.get(
        pattern, (phi, phi)
    )
    ready = (rotate(rms_norm(x, scale), phi) for x, scale in ((q, q_scale), (k, k_scale)))
    np.testing.assert_allclose(
        over(q, k, v, q_scale, k_scale, given), dense(*ready, v, sees), atol=3e-6
    )


def test_hidden_keys_do_not_count():
    q, k, v = qkv(2, 5, 2, 8)
    visible = jnp.array([[1, 1, 0, 1, 0], [1, 0, 0, 0, 0]], bool)
    out = attention.attend(q, k, v, visible[:, None])
    shown = visible[..., None, None]
    changed = attention.attend(
        q, jnp.where(shown, k, 9.0), jnp.where(shown, v, -7.0), visible[:, None]
    )
    np.testing.assert_array_equal(out, changed)
    np.testing.assert_allclose(out[1], jnp.broadcast_to(v[1, :1], out[1].shape), atol=1e-6)
    grads = jax.grad(
        lambda q, k, v: attention.attend(q, k, v, jnp.zeros((5, 5), bool)).sum(), argnums=(0, 1, 2)
    )(q, k, v)
    assert all(bool(jnp.isfinite(g).all()) for g in grads)


def test_each_query_sees_its_own_keys():
    q, k, v = qkv(2, 5, 2, 8)
    sees = np.random.default_rng(0).random((2, 5, 5)) < 0.5
    sees |= np.eye(5, dtype=bool)
    out = attention.attend(q, k, v, jnp.asarray(sees))
    wanted = jax.nn.dot_product_attention(q, k, v, mask=jnp.asarray(sees)[:, None])
    np.testing.assert_allclose(out, wanted, atol=3e-6)


def test_half_precision_keeps_the_softmax_in_float32():
    q, k, v = qkv(2, 64, 2, 16)
    half = attention.attend(*(x.astype(jnp.bfloat16) for x in (q, k, v)))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), attention.attend(q, k, v), atol=0.03)


def test_rotation_keeps_length_and_sees_only_differences():
    q, k, _ = qkv(1, 7, 2, 16)
    times = jnp.linspace(0.02, 6.0, 7)

    def products(offset):
        phi = angles(times + offset, 8, SECONDS)
        return jnp.einsum("blhd,bmhd->bhlm", rotate(q, phi), rotate(k, phi))

    np.testing.assert_allclose(products(0.0), products(3.25), atol=2e-4)
    assert float(jnp.abs(products(0.0) - jnp.einsum("blhd,bmhd->bhlm", q, k)).max()) > 0.1
    norms = [jnp.linalg.norm(x, axis=-1) for x in (q, rotate(q, angles(times, 8, SECONDS)))]
    np.testing.assert_allclose(*norms, rtol=1e-5)


def test_rotation_resolves_an_audio_latent_and_a_long_clip():
    """Neighbouring audio latents (40 ms) and the two ends of a 20 s clip all turn by clearly
    different angles.
    """
    phi = np.asarray(angles(jnp.array([0.0, 0.04, 10.0, 20.0]), 16, SECONDS))
    difference = np.abs(np.exp(1j * phi[:, None]) - np.exp(1j * phi[None])).max(-1)
    assert (difference + np.eye(4) > 0.5).all()


@pytest.mark.parametrize("axes,moves", [("t", "t"), ("yx", "yx"), ("tyx", "tyx")])
def test_grid_angles_turn_with_their_axes_only(axes, moves):
    phi = np.asarray(grid_angles(jnp.array([0.1, 0.5, 1.0]), 4, 6, 16, axes)).reshape(3, 4, 6, 8)
    varies = {name: bool(np.ptp(phi, axis=i).max() > 0) for i, name in enumerate("tyx")}
    assert varies == {name: name in moves for name in "tyx"}
