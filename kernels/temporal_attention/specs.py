"""What one call of `temporal_attention` is, and named ones: the workloads that tests, benchmarks
and tuning share.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Spec:
    """Everything static: B batch, T frames, S sites, H heads, D head width, A shared keys; dtype of
    q, k, v and the result.
    """

    B: int
    T: int
    S: int
    H: int
    D: int
    A: int = 0
    dtype: str = "bfloat16"
    causal: bool = False
    masked: bool = False

    def __str__(self) -> str:
        more = f" A={self.A}" * bool(self.A) + " causal" * self.causal + " masked" * self.masked
        return f"B={self.B} T={self.T} S={self.S} H={self.H} D={self.D} {self.dtype}{more}"

    @property
    def array_bytes(self) -> int:
        """X: the bytes of q, and of k, v and the result."""
        return self.B * self.T * self.S * self.H * self.D * jnp.dtype(self.dtype).itemsize

    @property
    def forward_bytes(self) -> int:
        """The least that must be moved: q, k, v read and the result written.

        Shared keys are small.
        """
        return 4 * self.array_bytes

    @property
    def backward_bytes(self) -> int:
        """q, k, v and the result's gradient read, three gradients written."""
        return 7 * self.array_bytes

    @property
    def forward_flops(self) -> int:
        """The two products, of T queries with T + A keys each; no mask is deducted."""
        return 4 * self.B * self.S * self.H * self.T * (self.T + self.A) * self.D

    @property
    def backward_flops(self) -> int:
        """The five products of the gradient: q k^T again, and those for dv, dp, dq and dk."""
        return self.forward_flops * 5 // 2


@functools.partial(jax.jit, static_argnums=(0, 1))
def inputs(spec: Spec, seed: int = 0) -> dict[str, jax.Array]:
    """Arguments of `temporal_attention`, but `causal`: normal numbers, scales about one, a frame
    every quarter second; for a masked spec the last third of the frames is hidden in every second
    batch element.
    """
    keys = jax.random.split(jax.random.key(seed), 7)
    shape, shared = (spec.B, spec.T, spec.S, spec.H, spec.D), (spec.B, spec.A, spec.H, spec.D)
    given = {
        name: jax.random.normal(key, shape, jnp.float32)
        for name, key in zip("qkv", keys, strict=False)
    }
    if spec.A:
        given |= {
            name: jax.random.normal(key, shared, jnp.float32)
            for name, key in zip(("shared_k", "shared_v"), keys[3:], strict=False)
        }
    given = {name: array.astype(spec.dtype) for name, array in given.items()}
    for name, key in zip(("q_scale", "k_scale"), keys[5:], strict=True):
        given[name] = 1 + 0.2 * jax.random.normal(key, (spec.D,))
    rates = jnp.geomspace(20.0, 0.05, spec.D // 2)
    given["angles"] = 0.25 * jnp.arange(spec.T)[:, None] * rates
    if spec.masked:
        hidden = (jnp.arange(spec.B) % 2 == 0)[:, None] & (
            jnp.arange(spec.T) >= spec.T - spec.T // 3
        )
        given["visible"] = ~hidden
    return given


SPECS = {
    # 256 x 256 pixels, 16 heads of 64: sizes of DiT-XL/2 rounded to powers of two. docs/results
    # is of t16.
    "t8": Spec(2, 8, 1024, 16, 64),
    "t16": Spec(2, 16, 1024, 16, 64),
    "t32": Spec(2, 32, 1024, 16, 64),
    "t64": Spec(2, 64, 1024, 16, 64),
    # The presets of sora_jax: XL at 720p (as Open-Sora 1.2: 16 heads of 72), 14B at 480p with the
    # latents of 81 frames.
    "xl": Spec(1, 16, 3600, 16, 72),
    "wide": Spec(1, 21, 1560, 40, 128),
    # 64 sound tokens, read at every site.
    "t16_shared": Spec(2, 16, 1024, 16, 64, A=64),
    "xl_shared": Spec(1, 16, 3600, 16, 72, A=64),
    "wide_shared": Spec(1, 21, 1560, 40, 128, A=64),
    # Masks.
    "t16_causal": Spec(2, 16, 1024, 16, 64, causal=True),
    "t16_masked": Spec(2, 16, 1024, 16, 64, masked=True),
    # Other widths of numbers; nano, whose heads are 32 wide.
    "t16_f16": Spec(2, 16, 1024, 16, 64, dtype="float16"),
    "t16_f32": Spec(2, 16, 1024, 16, 64, dtype="float32"),
    "nano": Spec(8, 5, 64, 6, 32, dtype="float32"),
}

# What a GPU must be fast at: compiled without spills into at most 128 registers, timed first.
PRIMARY = ("t8", "t16", "t32", "t64", "xl", "wide", "t16_shared", "t16_causal", "t16_masked")
