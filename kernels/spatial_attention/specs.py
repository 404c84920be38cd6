"""Shapes of a `spatial_attention` call, and the named workloads of tests and benchmarks."""

import dataclasses
import functools

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Spec:
    """The shapes and the dtype of a call of `spatial_attention`.

    Attributes:
        N: sequences.
        S: sites.
        H: heads.
        D: width of a head.
        dtype: dtype of q, k, v and the result. Default "bfloat16".
    """

    N: int
    S: int
    H: int
    D: int
    dtype: str = "bfloat16"

    def __str__(self) -> str:
        return f"N={self.N} S={self.S} H={self.H} D={self.D} {self.dtype}"

    @property
    def array_bytes(self) -> int:
        """The bytes of q. k, v and the result have the same size."""
        return self.N * self.S * self.H * self.D * jnp.dtype(self.dtype).itemsize

    @property
    def forward_flops(self) -> int:
        """The FLOPs of the two matrix products over all pairs of sites."""
        return 4 * self.N * self.H * self.S**2 * self.D


@functools.partial(jax.jit, static_argnums=(0, 1))
def inputs(spec: Spec, seed: int = 0) -> dict[str, jax.Array]:
    """Returns random arguments of `spatial_attention` by name.

    q, k, v [N, S, H, D] are standard normal, scales [D] near one, angles [S, D/2] those of sites in
    a row. The default seed is 0.
    """
    keys = jax.random.split(jax.random.key(seed), 5)
    shape = (spec.N, spec.S, spec.H, spec.D)
    given = {
        name: jax.random.normal(key, shape).astype(spec.dtype)
        for name, key in zip("qkv", keys, strict=False)
    }
    given |= {
        name: 1 + 0.2 * jax.random.normal(key, (spec.D,))
        for name, key in zip(("q_scale", "k_scale"), keys[3:], strict=True)
    }
    return given | {"angles": jnp.arange(spec.S)[:, None] * jnp.geomspace(1.0, 0.01, spec.D // 2)}


SPECS = {
    # 256 x 256 pixels at patch 1, and the presets of sora_jax: XL at 720p, 14B at 480p.
    "s1024": Spec(2 * 16, 1024, 16, 64),
    "xl": Spec(16, 3600, 16, 72),
    "wide": Spec(21, 1560, 40, 128),
    # Frames of few tokens: of small models, and of coarse levels.
    "frame16": Spec(2 * 64, 16, 16, 64),
    "frame64": Spec(2 * 16, 64, 16, 64),
    "nano": Spec(16 * 5, 16, 6, 32, dtype="float32"),
}
