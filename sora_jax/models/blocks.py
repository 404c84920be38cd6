"""The parts of STDiT: blocks, the exchange between the streams, and the output layer.

The equations are in the docstring of `st_dit`.
"""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.sharding import NamedSharding
from jax.typing import DTypeLike
from jaxtyping import Bool, Float

from kernels.gated_norm import gated_norm
from sora_jax.models.st_dit_config import STDiTConfig
from sora_jax.nn.attention import CrossAttention, SelfAttention, over_space
from sora_jax.nn.layout import NO_SHARDING, Layout, of_tokens
from sora_jax.nn.mlp import MLP, linear
from sora_jax.nn.modulation import modulate
from sora_jax.nn.norm import rms_norm


class VideoBlock(nnx.Module):
    """A video block of STDiT: modulated self-attention with a pattern, cross-attention to text,
    MLP. Tokens v [B, T, S, D] -> same.

    Args:
        config: the sizes.
        rngs: random keys of the initial values.
        text: whether the block has the cross-attention; False for a temporal block.
    """

    def __init__(self, config: STDiTConfig, rngs: nnx.Rngs, *, text: bool):
        c, dtype = config, jnp.dtype(config.dtype)
        self.table = nnx.Param(jnp.zeros((6 * c.width,)))
        self.attention = SelfAttention(c.width, c.heads, rngs, dtype)
        self.text = (
            CrossAttention(c.width, c.text_width, c.width, c.heads, rngs, dtype) if text else None
        )
        self.mlp = MLP(c.width, c.mlp_ratio, rngs, dtype)

    def __call__(
        self,
        v: Float[Array, "B T S D"],
        m: Float[Array, "B T 6*D"],
        phi: Float[Array, "..."],
        over: Callable[..., Array],
        text: Float[Array, "B words Dt"] | None = None,
        text_mask: Bool[Array, "B *T words"] | None = None,
        sharding: NamedSharding | None = None,
    ) -> Float[Array, "B T S D"]:
        """Applies the block.

        Args:
            v: video tokens [B, T, S, D].
            m: modulation [B, T, 6 D], from `LevelEmbedding`.
            phi, over: rotation angles and function of an attention pattern
                (`attention_patterns`).
            text: features of the prompt [B, L + 1, Dt]; None for a temporal block.
            text_mask: bool [B, L + 1], or [B, T, L + 1] where frames read different words; False
                for padding.
            sharding: the sharding of the queries, keys and values of v on a mesh. Default None.

        Returns:
            Video tokens like v.
        """
        rows = (m + self.table[...]).astype(v.dtype)
        shift1, scale1, gate, shift2, scale2, gate2 = jnp.split(rows, 6, axis=-1)
        branch = self.attention(modulate(v, shift1[:, :, None], scale1[:, :, None]), phi, over)
        tokens = of_tokens(sharding)
        if self.text is not None:
            assert text is not None
            # Text has no modulation of its own: zero shift and scale here, and gate one below.
            none = jnp.zeros_like(gate)
            v, n = gated_norm(v, branch, gate, none, none, sharding=tokens)
            branch = self.text(n, text, text_mask, sharding=sharding)
            gate = jnp.ones_like(gate)
        v, n = gated_norm(v, branch, gate, shift2, scale2, sharding=tokens)
        return v + gate2[:, :, None] * self.mlp(n)


class AudioBlock(nnx.Module):
    """An audio block of STDiT, in two halves around the exchange with the video.

    `attend` is self-attention and cross-attention to text, `feed` the MLP.
    """

    def __init__(self, config: STDiTConfig, rngs: nnx.Rngs):
        c, dtype = config, jnp.dtype(config.dtype)
        self.table = nnx.Param(jnp.zeros((6 * c.audio_width,)))
        self.attention = SelfAttention(c.audio_width, c.audio_heads, rngs, dtype)
        self.text = (
            CrossAttention(c.audio_width, c.text_width, c.audio_width, c.audio_heads, rngs, dtype)
            if c.text_attention
            else None
        )
        self.mlp = MLP(c.audio_width, c.mlp_ratio, rngs, dtype)

    def rows(self, m: Float[Array, "B N rows"], dtype: DTypeLike) -> list[Float[Array, "B N Da"]]:
        """Returns the modulation of this block, m [B, N, 6 Da] plus the block's table, as six
        arrays [B, N, Da] in `dtype`: shift, scale and gate of attention, then of the MLP.
        """
        return jnp.split((m + self.table[...]).astype(dtype), 6, axis=-1)

    def attend(
        self,
        a: Float[Array, "B N Da"],
        m: Float[Array, "B N 6*Da"],
        phi: Float[Array, "N planes"],
        text: Float[Array, "B words Dt"],
        text_mask: Bool[Array, "B *N words"],
        sharding: NamedSharding | None = None,
    ) -> Float[Array, "B N Da"]:
        """Applies the first half of the block: self-attention, then cross-attention to text.

        Args:
            a: audio tokens [B, N, Da].
            m: modulation [B, N, 6 Da], from `LevelEmbedding`.
            phi: rotation angles of the times [N, d/2].
            text: features of the prompt [B, L + 1, Dt].
            text_mask: bool [B, L + 1], or [B, N, L + 1] where latents read different words; False
                for padding.
            sharding: the sharding of the queries, keys and values of a on a mesh. Default None.

        Returns:
            Audio tokens like a.
        """
        shift, scale, gate = self.rows(m, a.dtype)[:3]
        over = functools.partial(over_space, sharding=sharding)
        a = a + gate * self.attention(modulate(a, shift, scale), phi, over)
        if self.text is None:
            return a
        return a + self.text(rms_norm(a), text, text_mask, sharding=sharding)

    def feed(
        self, a: Float[Array, "B N Da"], m: Float[Array, "B N 6*Da"]
    ) -> Float[Array, "B N Da"]:
        """Applies the second half of the block, the MLP: tokens a [B, N, Da] and modulation m
        [B, N, 6 Da] -> tokens like a.
        """
        shift, scale, gate = self.rows(m, a.dtype)[3:]
        return a + gate * self.mlp(modulate(a, shift, scale))


class Exchange(nnx.Module):
    """The exchange between video and audio: cross-attention in both directions, with rotary
    positions in seconds.

    With `config.memory` the video also attends to the pooled tokens of its own frames. A direction
    that `config.exchange` leaves out has no parameters. v [B, T, S, D] and a [B, N, Da] -> same
    shapes. Learned gates start at zero.
    """

    def __init__(self, config: STDiTConfig, rngs: nnx.Rngs):
        c, dtype = config, jnp.dtype(config.dtype)
        shared = (c.exchange_width, c.exchange_heads, rngs, dtype)
        video, audio = (c.exchange in ("both", to) for to in ("to_video", "to_audio"))
        pooled = audio or c.memory
        self.pool = linear(c.width, c.frame_tokens, rngs, dtype=dtype) if pooled else None
        self.to_video = CrossAttention(c.width, c.audio_width, *shared) if video else None
        self.to_audio = CrossAttention(c.audio_width, c.width, *shared) if audio else None
        self.video_gate = nnx.Param(jnp.zeros((c.width,))) if video else None
        self.audio_gate = nnx.Param(jnp.zeros((c.audio_width,))) if audio else None
        # Last, so that the initial values of all other parameters are those without memory.
        self.memory = CrossAttention(c.width, c.width, *shared) if c.memory else None
        self.memory_gate = nnx.Param(jnp.zeros((c.width,))) if c.memory else None

    def __call__(
        self,
        v: Float[Array, "B T S D"],
        a: Float[Array, "B N Da"],
        phi: Mapping[str, Float[Array, "_ planes"]],
        couple: Float[Array, "B 1 1"],
        visible: Bool[Array, "B T"] | None = None,
        layout: Layout = NO_SHARDING,
    ) -> tuple[Float[Array, "B T S D"], Float[Array, "B N Da"]]:
        """Applies the exchange.

        Args:
            v: video tokens [B, T, S, D].
            a: audio tokens [B, N, Da].
            phi: rotation angles of the times {"video": [T, d/2], "audio": [N, d/2]}.
            couple: factor of the exchange [B, 1, 1]; 0 turns it off. It does not scale `memory`.
            visible: bool [B, T], False for padding frames, whose pooled tokens nobody attends to.
                Default None: all frames are visible.
            layout: sharding hooks, of which `in_frames` and `in_audio` are read.

        Returns:
            (v, a), each with the gated result of its cross-attention added.
        """
        B, D = v.shape[0], v.shape[-1]
        v_in, a_in, couple = rms_norm(v), rms_norm(a), couple.astype(v.dtype)
        if self.to_video is not None and self.video_gate is not None:
            dv = self.to_video(
                v_in, a_in, None, phi["video"], phi["audio"], sharding=layout.in_frames
            )
            v = v + couple[..., None] * self.video_gate[...].astype(v.dtype) * dv
        if self.pool is None:
            return v, a
        weights = jax.nn.softmax(self.pool(v_in).astype(jnp.float32), axis=2).astype(v.dtype)
        frames = jnp.einsum("btsp,btsd->btpd", weights, v_in).reshape(B, -1, D)
        frame_phi = jnp.repeat(phi["video"], weights.shape[-1], axis=0)
        keys = None if visible is None else jnp.repeat(visible, weights.shape[-1], axis=1)
        if self.to_audio is not None and self.audio_gate is not None:
            da = self.to_audio(
                a_in, frames, keys, phi["audio"], frame_phi, sharding=layout.in_audio
            )
            a = a + couple * self.audio_gate[...].astype(a.dtype) * da
        if self.memory is not None and self.memory_gate is not None:
            dm = self.memory(v_in, frames, keys, phi["video"], frame_phi, sharding=layout.in_frames)
            v = v + self.memory_gate[...].astype(v.dtype) * dm
        return v, a


class Pair(nnx.Module):
    """One layer of STDiT: a spatial and a temporal video block, an audio block and an exchange."""

    def __init__(self, config: STDiTConfig, rngs: nnx.Rngs):
        self.space = VideoBlock(config, rngs, text=config.text_attention)
        self.time = VideoBlock(config, rngs, text=False)
        self.audio = AudioBlock(config, rngs)
        self.exchange = Exchange(config, rngs)


class Head(nnx.Module):
    """The output layer: modulation by the level embedding, then a linear layer that starts at zero.

    Tokens [B, T, ..., D] -> float32 [B, T, ..., features].

    Args:
        width: D.
        features: numbers that a token predicts.
        rngs: random keys of the initial values.
    """

    def __init__(self, width: int, features: int, rngs: nnx.Rngs):
        self.table = nnx.Param(jnp.zeros((2, width)))
        self.out = linear(width, features, rngs, bias=True, zero=True)

    def __call__(
        self, x: Float[Array, "B T *S D"], e: Float[Array, "B T D"]
    ) -> Float[Array, "B T *S features"]:
        """Applies the head: tokens x [B, T, ..., D] and level embedding e [B, T, D] -> float32
        [B, T, ..., features].
        """
        shift, scale = (
            e.reshape(*e.shape[:2], *(1,) * (x.ndim - 3), -1) + row for row in self.table[...]
        )
        return self.out(modulate(x.astype(jnp.float32), shift, scale))
