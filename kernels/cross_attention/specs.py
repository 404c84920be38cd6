"""Shapes of a `cross_attention` call, and the named workloads of tests and benchmarks."""

import dataclasses
import functools

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Spec:
    """The shapes, the dtype and the mask of a call of `cross_attention`.

    Attributes:
        B: batch.
        T: frames.
        S: sites.
        H: heads.
        D: width of a head.
        M: keys.
        dtype: dtype of q, k, v and the result. Default "bfloat16".
        masks: masks of keys of a batch element: 0 (default) if all keys are visible, 1 if all
            frames have the same mask, or T.
        turned: whether the queries are rotated. Default False.
    """

    B: int
    T: int
    S: int
    H: int
    D: int
    M: int
    dtype: str = "bfloat16"
    masks: int = 0
    turned: bool = False

    def __str__(self) -> str:
        more = f" masks {self.masks}" * bool(self.masks) + " turned" * self.turned
        return f"B={self.B} T={self.T} S={self.S} H={self.H} D={self.D} M={self.M} {self.dtype}" + (
            more
        )

    @property
    def array_bytes(self) -> int:
        """The bytes of q. The result has the same size."""
        return self.B * self.T * self.S * self.H * self.D * jnp.dtype(self.dtype).itemsize

    @property
    def key_bytes(self) -> int:
        """The bytes of k. v has the same size."""
        return self.B * self.M * self.H * self.D * jnp.dtype(self.dtype).itemsize

    @property
    def forward_bytes(self) -> int:
        """The minimum bytes moved forward: q, k and v read, the result written."""
        return 2 * self.array_bytes + 2 * self.key_bytes

    @property
    def backward_bytes(self) -> int:
        """The minimum bytes moved backward: q, k, v and the result's gradient read, three gradients
        written.
        """
        return 3 * self.array_bytes + 4 * self.key_bytes

    @property
    def forward_flops(self) -> int:
        """The FLOPs of the two products. Masks are not deducted."""
        return 4 * self.B * self.T * self.S * self.H * self.M * self.D

    @property
    def backward_flops(self) -> int:
        """The FLOPs of the gradient's five products: q k^T again, and those for the gradients of v,
        p (the softmax), q and k.
        """
        return self.forward_flops * 5 // 2


@functools.partial(jax.jit, static_argnums=(0, 1))
def inputs(spec: Spec, seed: int = 0) -> dict[str, jax.Array]:
    """Returns random arguments of `cross_attention` by name.

    q, k and v are standard normal, the scale of q's norm is near one. Frames are 0.25 s apart. The
    last third of the keys is hidden, and with a mask for each frame also the keys of another shot:
    frames of the second half do not see the first key.
    """
    keys = jax.random.split(jax.random.key(seed), 4)
    of_keys = (spec.B, spec.M, spec.H, spec.D)
    shapes = {"q": (spec.B, spec.T, spec.S, spec.H, spec.D), "k": of_keys, "v": of_keys}
    given = {
        name: jax.random.normal(key, shape).astype(spec.dtype)
        for (name, shape), key in zip(shapes.items(), keys, strict=False)
    }
    given["q_scale"] = 1 + 0.2 * jax.random.normal(keys[3], (spec.D,))
    if spec.turned:
        given["angles"] = (
            0.25 * jnp.arange(spec.T)[:, None] * jnp.geomspace(20.0, 0.05, spec.D // 2)
        )
    shown = jnp.arange(spec.M) < spec.M - spec.M // 3
    if spec.masks == 1:
        given["visible"] = jnp.broadcast_to(shown, (spec.B, spec.M))
    elif spec.masks:
        later = 2 * jnp.arange(spec.T)[:, None] >= spec.T
        given["visible"] = jnp.broadcast_to(
            shown & ~(later & (jnp.arange(spec.M) == 0)), (spec.B, spec.T, spec.M)
        )
    return given


SPECS = {
    # 256 x 256 pixels, 16 heads of 64, as in the other attentions: a prompt of 63 tokens and one of
    # 127, each behind its pooled token, and 64 latents of audio.
    "words64": Spec(2, 16, 1024, 16, 64, 64, masks=1),
    "words128": Spec(2, 16, 1024, 16, 64, 128, masks=1),
    "audio64": Spec(2, 16, 1024, 16, 64, 64, turned=True),
    # The presets of sora_jax: words and audio of XL at 512 px and of 14B at 480p, and words of
    # several shots.
    "xl": Spec(1, 16, 1024, 16, 72, 129, masks=1),
    "xl_audio": Spec(1, 16, 1024, 8, 72, 192, turned=True),
    "wide": Spec(1, 21, 1560, 40, 128, 129, masks=1),
    "shots": Spec(1, 16, 1024, 16, 64, 129, masks=16),
    # Other dtypes; and nano, with 16 clips of 5 latents.
    "words64_f16": Spec(2, 16, 1024, 16, 64, 64, dtype="float16", masks=1),
    "words64_f32": Spec(2, 16, 1024, 16, 64, 64, dtype="float32", masks=1),
    "nano": Spec(16, 5, 64, 6, 32, 25, dtype="float32", masks=1),
    "nano_audio": Spec(16, 5, 64, 2, 32, 43, dtype="float32", turned=True),
}
