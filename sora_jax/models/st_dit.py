"""STDiT: a factorised spatial-temporal diffusion transformer for video and audio.

Two streams of tokens, video v [B, T, S, D] and a narrower audio a [B, N, Da], pass through
pairs of blocks:

    v <- v + g A_space(v);   v <- v + A_text(v, text);   v <- v + g MLP(v)     spatial block     (1)
    a <- a + g A(a);         a <- a + A_text(a, text)             audio block, first half        (2)
    v, a <- v + c g_v X(v, a),   a + c g_a X(a, pool(v))          exchange                       (3)
    v <- v + g_m X(v, pool(v))                                    memory (with `memory`)        (3')
    v <- v + g A_time(v);    v <- v + g MLP(v)                    temporal block                 (4)
    a <- a + g MLP(a)                                             audio block, second half       (5)

Adaptive modulation by the noise level of each latent frame (`sora_jax.nn.modulation`) wraps
self-attention (A_space, A_time, A) and MLP. So given, modified and generated frames can stand
side by side. A_text is not modulated, and is absent without `text_attention`. With `shot_words` a
latent of shot n reads the words of shot n and of all shots.

In the exchange (3):

- Both streams read the other's state from before the exchange.
- Rotary positions are times in seconds, the clock that both streams share.
- The gates g_v [D] and g_a [Da] start at zero, and c is the caller's `couple`.
- `exchange` can leave out one direction, or both.
- The audio reads P tokens per frame, gathered by attention pooling, which costs O(N T P).
- Every site of the video reads the audio, because the position of an object decides which sound
  belongs to it.
- With `memory`, (3') lets every site read the pooled tokens of all frames, also across a cut, where
  temporal attention at a site shows something else. v and pool(v) are those of (3), and the gate
  g_m [D] starts at zero.

Rotary attention depends only on differences of position. Absolute position (where the floor
is, when the clip begins) is therefore added to the tokens, as Fourier features of the place in
the frame and of time in seconds. `attention` selects which video tokens attend to each other:

    "pure"    (1) within a frame, (4) along time at a site
    "window"  (1) within a frame, (4) within 3-D windows, shifted by half a window in every second
              pair
    "full"    (1) and (4) over all tokens
    "matrix"  (1) within a frame, (4) from frame to frame, with one weight for all sites
    "interleaved"  (1) within a frame, (4) along time in every `time_every`-th pair, else as (1)

`output` says whether the network predicts the clean latents x or the velocity v, and
`sora_jax.flow` reads it. A network that predicts x needs no skip connection from its input.
Sources: Open-Sora 1.2 (STDiT3) for the pairs, LTX-2 for the two streams. Start reading at
`STDiT.__call__`.
"""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Bool, Float

from kernels.gated_norm import gated_norm
from sora_jax.models.attention_patterns import VideoTokens, blocks
from sora_jax.models.st_dit_config import STDiTConfig
from sora_jax.models.text_encoder import TextEncoder
from sora_jax.models.tokens import (
    PLACE_FEATURES,
    from_patches,
    of_shot,
    on_clock,
    patches,
    place_features,
    time_features,
)
from sora_jax.nn.attention import CrossAttention, SelfAttention
from sora_jax.nn.layout import NO_SHARDING, Layout
from sora_jax.nn.mlp import MLP, linear
from sora_jax.nn.modulation import LevelEmbedding, modulate
from sora_jax.nn.norm import rms_norm
from sora_jax.nn.rope import SECONDS, angles
from sora_jax.nn.stack import init_stack, scan_stack
from sora_jax.typing import AnyArray, Latents, Levels, Prompts, Times


class VideoBlock(nnx.Module):
    """A video block of STDiT: modulated self-attention with a pattern, cross-attention to text,
    MLP.

    A spatial block has the cross-attention, a temporal block does not. v [B, T, S, D] -> same.
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
    ) -> Float[Array, "B T S D"]:
        """Applies the block.

        Args:
            v: video tokens [B, T, S, D].
            m: modulation [B, T, 6 D], of `LevelEmbedding`.
            phi, over: rotation angles and function of an attention pattern.
            text: features [B, L + 1, Dt]; None for a temporal block.
            text_mask: bool [B, L + 1], or [B, T, L + 1] where frames read different words; False
                for padding.
        Returns:
            Video tokens like v.
        """
        rows = (m + self.table[...]).astype(v.dtype)
        shift1, scale1, gate, shift2, scale2, gate2 = jnp.split(rows, 6, axis=-1)
        branch = self.attention(modulate(v, shift1[:, :, None], scale1[:, :, None]), phi, over)
        if self.text is not None:
            assert text is not None
            # Text has no modulation of its own: zero shift and scale here, and gate one below.
            none = jnp.zeros_like(gate)
            v, n = gated_norm(v, branch, gate, none, none)
            if text_mask is not None and text_mask.ndim == 3:
                text_mask = jnp.repeat(text_mask, v.shape[2], axis=1)
            branch, gate = (
                self.text(n.reshape(v.shape[0], -1, v.shape[-1]), text, text_mask).reshape(v.shape),
                jnp.ones_like(gate),
            )
        v, n = gated_norm(v, branch, gate, shift2, scale2)
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
        """Returns the modulation m [B, N, 6 Da] plus the block's table as six arrays [B, N, Da] in
        `dtype`: shift, scale and gate of attention, then of the MLP.
        """
        return jnp.split((m + self.table[...]).astype(dtype), 6, axis=-1)

    def attend(
        self,
        a: Float[Array, "B N Da"],
        m: Float[Array, "B N 6*Da"],
        phi: Float[Array, "N planes"],
        text: Float[Array, "B words Dt"],
        text_mask: Bool[Array, "B *N words"],
    ) -> Float[Array, "B N Da"]:
        """Applies the first half of the block: self-attention, then cross-attention to text.

        Args:
            a: audio tokens [B, N, Da].
            m: modulation [B, N, 6 Da].
            phi: rotation angles of the times [N, d/2].
            text: features [B, L + 1, Dt].
            text_mask: bool [B, L + 1], or [B, N, L + 1]; False for padding.
        Returns:
            Audio tokens like a.
        """
        shift, scale, gate = self.rows(m, a.dtype)[:3]
        a = a + gate * self.attention(modulate(a, shift, scale), phi)
        return a if self.text is None else a + self.text(rms_norm(a), text, text_mask)

    def feed(
        self, a: Float[Array, "B N Da"], m: Float[Array, "B N 6*Da"]
    ) -> Float[Array, "B N Da"]:
        """Applies the second half of the block, the MLP: tokens a [B, N, Da] and modulation m
        [B, N, 6 Da] -> tokens like a.
        """
        shift, scale, gate = self.rows(m, a.dtype)[3:]
        return a + gate * self.mlp(modulate(a, shift, scale))


class Exchange(nnx.Module):
    """Cross-attention between video and audio in both directions, with rotary positions in seconds;
    with `config.memory` also from the video to the pooled tokens of its own frames. Directions that
    `config.exchange` leaves out have no parameters.

    v [B, T, S, D] and a [B, N, Da] -> same shapes. Learned gates start at zero.
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
    ) -> tuple[Float[Array, "B T S D"], Float[Array, "B N Da"]]:
        """Applies the exchange.

        Args:
            v: video tokens [B, T, S, D].
            a: audio tokens [B, N, Da].
            phi: rotation angles of the times {"video": [T, d/2], "audio": [N, d/2]}.
            couple: factor of the exchange [B, 1, 1]; 0 turns it off.
            visible: bool [B, T], the frames that the audio attends to. Default None: all.
        Returns:
            v and a with what each read from the other.
        """
        B, T, S, D = v.shape
        v_in, a_in, couple = rms_norm(v), rms_norm(a), couple.astype(v.dtype)
        sites, site_phi = v_in.reshape(B, T * S, D), jnp.repeat(phi["video"], S, axis=0)
        if self.to_video is not None and self.video_gate is not None:
            dv = self.to_video(sites, a_in, None, site_phi, phi["audio"])
            v = v + (couple * self.video_gate[...].astype(v.dtype) * dv).reshape(v.shape)
        if self.pool is None:
            return v, a
        weights = jax.nn.softmax(self.pool(v_in).astype(jnp.float32), axis=2).astype(v.dtype)
        frames = jnp.einsum("btsp,btsd->btpd", weights, v_in).reshape(B, -1, D)
        frame_phi = jnp.repeat(phi["video"], weights.shape[-1], axis=0)
        keys = None if visible is None else jnp.repeat(visible, weights.shape[-1], axis=1)
        if self.to_audio is not None and self.audio_gate is not None:
            da = self.to_audio(a_in, frames, keys, phi["audio"], frame_phi)
            a = a + couple * self.audio_gate[...].astype(a.dtype) * da
        if self.memory is not None and self.memory_gate is not None:
            dm = self.memory(sites, frames, keys, site_phi, frame_phi)
            v = v + (self.memory_gate[...].astype(v.dtype) * dm).reshape(v.shape)
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


class STDiT(nnx.Module):
    """The network: a spatial-temporal diffusion transformer for video and audio latents.

    `__call__` takes noisy latents, their noise levels, a prompt and times, and predicts the clean
    latents or the velocity. The module's docstring has the equations, `STDiTConfig` the sizes.
    """

    def __init__(self, config: STDiTConfig, rngs: nnx.Rngs):
        c, dtype = config, jnp.dtype(config.dtype)
        self.config = config
        self.text = TextEncoder(
            c.vocabulary, c.text_width, c.text_heads, c.text_layers, rngs, dtype=dtype
        )
        self.video_in = linear(c.patch**2 * c.video_channels, c.width, rngs, bias=True, dtype=dtype)
        self.audio_in = linear(c.audio_channels, c.audio_width, rngs, bias=True, dtype=dtype)
        self.video_place = linear(3 * PLACE_FEATURES, c.width, rngs)
        self.audio_place = linear(PLACE_FEATURES, c.audio_width, rngs)
        self.video_level = LevelEmbedding(c.width, c.text_width, rngs)
        self.audio_level = LevelEmbedding(c.audio_width, c.text_width, rngs)
        self.pairs = init_stack(functools.partial(Pair, c), c.depth, rngs)
        self.video_head = Head(c.width, c.patch**2 * c.video_channels, rngs)
        self.audio_head = Head(c.audio_width, c.audio_channels, rngs)

    def __call__(
        self,
        latents: Latents,
        levels: Levels,
        text: Prompts,
        times: Times,
        couple: float | Float[AnyArray, "..."] = 1.0,
        layout: Layout = NO_SHARDING,
    ) -> dict[str, Float[Array, "B ..."]]:
        """Evaluates the network.

        Args:
            latents: noisy latents {"video": [B, T, H, W, C], "audio": [B, N, Ca]}.
            levels: noise levels in [0, 1], {"video": [B, T], "audio": [B, N]}; 0 = given.
            text: {"tokens": int32 [B, L], "mask": bool [B, L]}, and "shots" int8 [B, L], the shot
                of each word from 1, 0 for all shots (default: all). An all-False mask means
                unconditional.
            times: midpoints of the latents in seconds, {"video": [T], "audio": [N]}, and of a clip
                of several shots the shot of each latent from 1, as "video_shots" and "audio_shots".
            couple: factor of the exchange between video and audio, a number or [B]; 0 turns it off.
                Default 1.
            layout: sharding hooks (`sora_jax.nn.layout`). Default: identities.
        Returns:
            Float32 arrays with the shapes of the latents: clean latents x or velocity v, according
            to `config.output`.
        """
        c, dtype = self.config, jnp.dtype(self.config.dtype)
        B, T, H, W, _ = latents["video"].shape
        p, grid = c.patch, (T, *c.grid((H, W)))
        shots = {m: times.get(f"{m}_shots") for m in ("video", "audio")}
        times = {m: on_clock(jnp.asarray(times[m]), m, c.clock) for m in shots}
        couple = jnp.broadcast_to(jnp.asarray(couple, jnp.float32), (B,))[:, None, None]

        visible = (
            None
            if layout.frames is None
            else jnp.broadcast_to(jnp.arange(T) < layout.frames, (B, T))
        )

        words, words_mask = self.text(text["tokens"], text["mask"], layout)
        mask = {m: words_mask for m in shots}
        if c.shot_words and "shots" in text:
            mask = {m: of_shot(words_mask, text["shots"], shots[m]) for m in shots}
        e_v, m_v = self.video_level(jnp.asarray(levels["video"]), words[:, 0])
        e_a, m_a = self.audio_level(jnp.asarray(levels["audio"]), words[:, 0])
        m_v, m_a = m_v.astype(dtype), m_a.astype(dtype)

        v = self.video_in(patches(latents["video"], p).astype(dtype))
        places = place_features(times["video"], (H / p, W / p))
        v = v + self.video_place(places).astype(dtype)
        a = self.audio_in(jnp.asarray(latents["audio"], dtype)) + self.audio_place(
            time_features(times["audio"])
        ).astype(dtype)

        phi_audio = angles(times["audio"], c.audio_width // c.audio_heads // 2, SECONDS)
        phi_exchange = {
            k: angles(times[k], c.exchange_width // c.exchange_heads // 2, SECONDS)
            for k in ("video", "audio")
        }

        def step(pair: Pair, carry: tuple[Array, Array], depth: Array) -> tuple[Array, Array]:
            v, a = carry
            tokens = VideoTokens(c, times["video"], grid, layout, visible, depth)
            in_space, in_time = blocks(tokens)
            v, a = layout.shard_frames(v), layout.replicate_audio(a)
            v = pair.space(v, m_v, *in_space, words, mask["video"])
            a = pair.audio.attend(a, m_a, phi_audio, words, mask["audio"])
            v, a = pair.exchange(v, a, phi_exchange, couple, visible)
            v = pair.time(layout.shard_sites(v), m_v, *in_time)
            return v, pair.audio.feed(a, m_a)

        weights = layout.weights_of("pairs")
        v, a = scan_stack(
            self.pairs,
            step,
            (v, a),
            jnp.arange(c.depth),
            remat=c.remat,
            unroll=c.unroll,
            weights=weights,
        )
        video = from_patches(self.video_head(v, e_v), p, (H, W))
        return {"video": video, "audio": self.audio_head(a, e_a)}
