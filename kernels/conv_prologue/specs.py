"""Shapes of a `conv_prologue` call, and the named workloads of tests, benchmarks and tuning."""

import dataclasses
import functools

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Spec:
    """The shapes and the dtype of a call of `conv_prologue`.

    Attributes:
        B: size of the batch.
        T: number of frames of x.
        H: rows of a frame.
        W: columns of a frame.
        C: channels.
        K: number of cached frames. Default 2.
        P: rows and columns of zeros on each side of a frame. Default 0.
        dtype: dtype of x and cache. Default "bfloat16".
    """

    B: int
    T: int
    H: int
    W: int
    C: int
    K: int = 2
    P: int = 0
    dtype: str = "bfloat16"

    def __str__(self) -> str:
        return (
            f"B={self.B} T={self.T} H={self.H} W={self.W} C={self.C} K={self.K} P={self.P} "
            f"{self.dtype}"
        )

    def _bytes(self, frames: int, padding: int = 0) -> int:
        return (
            self.B
            * frames
            * (self.H + 2 * padding)
            * (self.W + 2 * padding)
            * self.C
            * jnp.dtype(self.dtype).itemsize
        )

    @property
    def array_bytes(self) -> int:
        """The bytes of x."""
        return self._bytes(self.T)

    @property
    def forward_bytes(self) -> int:
        """The minimum bytes moved forward: x and the cache read, past and the next cache
        written.
        """
        return self.array_bytes + 2 * self._bytes(self.K) + self._bytes(self.K + self.T, self.P)

    @property
    def backward_bytes(self) -> int:
        """The minimum bytes moved backward.

        x and both results' gradients (without the padding) are read, the gradients of x and of the
        cache written.
        """
        return 2 * self.array_bytes + 2 * self._bytes(self.K) + self._bytes(self.K + self.T)


@functools.partial(jax.jit, static_argnums=(0, 1))
def inputs(spec: Spec, seed: int = 0) -> dict[str, jax.Array]:
    """Returns random arguments of `conv_prologue` by name, all but `padding`.

    x [B, T, H, W, C] and cache [B, K, H, W, C] are standard normal in the spec's dtype. gain [C] is
    float32, normal with mean 1 and deviation 0.2. The default seed is 0.
    """
    x, gain, cache = jax.random.split(jax.random.key(seed), 3)
    return {
        "x": jax.random.normal(x, (spec.B, spec.T, spec.H, spec.W, spec.C)).astype(spec.dtype),
        "gain": 1 + 0.2 * jax.random.normal(gain, (spec.C,)),
        "cache": jax.random.normal(cache, (spec.B, spec.K, spec.H, spec.W, spec.C)).astype(
            spec.dtype
        ),
    }


SPECS = {
    # Layers of a decoder as in Wan (arXiv:2503.20314), for 704 x 1280 pixels. One latent frame
    # becomes four frames at full size; layers before the temporal upsampling have fewer.
    "wan_704_full": Spec(1, 4, 704, 1280, 96, P=1),
    "wan_704_half": Spec(1, 4, 352, 640, 192, P=1),
    "wan_704_quarter": Spec(1, 2, 176, 320, 384, P=1),
    "wan_704_latent": Spec(1, 1, 88, 160, 384, P=1),
    # The layer whose bytes docs/results reports.
    "wan_480_full": Spec(1, 4, 480, 832, 96, P=1),
    # This project's video tokenizer, whose temporal convolution needs no padding: 16 latent frames
    # of 256 x 256 pixels, and 720p.
    "fine_256": Spec(2, 16, 64, 64, 96),
    "coarse_256": Spec(2, 16, 32, 32, 192),
    "fine_720": Spec(1, 4, 180, 320, 96),
    "coarse_720": Spec(1, 4, 90, 160, 192),
    # The tokenizer's training for nano: 17 frames of 64 x 64 pixels.
    "fine_nano": Spec(8, 5, 16, 16, 96, dtype="float32"),
    "coarse_nano": Spec(8, 5, 8, 8, 192, dtype="float32"),
    # Other dtypes.
    "wan_480_f16": Spec(1, 4, 480, 832, 96, P=1, dtype="float16"),
    "wan_480_f32": Spec(1, 4, 480, 832, 96, P=1, dtype="float32"),
}
