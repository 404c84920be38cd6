"""Shapes of a `gated_norm` call, and the named workloads of tests, benchmarks and tuning."""

import dataclasses
import functools

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Spec:
    """The shapes and the dtype of a call of `gated_norm`.

    Attributes:
        N: number of frames of the whole batch.
        S: sites (tokens) of a frame.
        D: width of a token.
        dtype: dtype of x, f and the results. Default "bfloat16".
    """

    N: int
    S: int
    D: int
    dtype: str = "bfloat16"

    def __str__(self) -> str:
        return f"N={self.N} S={self.S} D={self.D} {self.dtype}"

    @property
    def array_bytes(self) -> int:
        """The bytes of the input x. The branch f and the results y and z have as many each."""
        return self.N * self.S * self.D * jnp.dtype(self.dtype).itemsize

    @property
    def forward_bytes(self) -> int:
        """The minimum bytes moved forward: x and f read, y and z written.

        Gate, shift and scale are small and not counted.
        """
        return 4 * self.array_bytes

    @property
    def backward_bytes(self) -> int:
        """The minimum bytes moved backward: y, f and the gradients of y and z read, the gradients
        of x and f written.
        """
        return 6 * self.array_bytes


@functools.partial(jax.jit, static_argnums=(0, 1))
def inputs(spec: Spec, seed: int = 0) -> dict[str, jax.Array]:
    """Returns random arguments of `gated_norm` by name, from a standard normal distribution.

    x, f [N, S, D] and gate, shift, scale [N, D] have the spec's dtype. The default seed is 0.
    """
    keys = jax.random.split(jax.random.key(seed), 5)
    given = {
        name: jax.random.normal(key, (spec.N, spec.S, spec.D)).astype(spec.dtype)
        for name, key in zip("xf", keys, strict=False)
    }
    rows = zip(("gate", "shift", "scale"), keys[2:], strict=True)
    return given | {
        name: jax.random.normal(key, (spec.N, spec.D)).astype(spec.dtype) for name, key in rows
    }


SPECS = {
    # The presets of sora_jax: S, B, XL at 512 px and at 720p, and 14B at 480p. docs/results reports
    # t16.
    "s": Spec(2 * 9, 256, 384),
    "m": Spec(2 * 9, 1024, 768),
    "t16": Spec(2 * 16, 1024, 1152),
    "xl": Spec(16, 3600, 1152),
    "wide": Spec(21, 1560, 5120),
    # Other dtypes; and nano, with 16 clips of 5 latents.
    "t16_f16": Spec(2 * 16, 1024, 1152, dtype="float16"),
    "t16_f32": Spec(2 * 16, 1024, 1152, dtype="float32"),
    "nano": Spec(16 * 5, 64, 192, dtype="float32"),
}
