"""STDiT: a factorised spatial-temporal diffusion transformer for video and audio.

Two streams of tokens, video v [B, T, S, D] and a narrower audio a [B, N, Da], pass through
pairs of blocks:

    v <- v + g A_space(v);   v <- v + A_text(v, text);   v <- v + g MLP(v)     spatial block     (1)
    a <- a + g A(a);         a <- a + A_text(a, text)             audio block, first half        (2)
    v, a <- v + c g_v X(v, a),   a + c g_a X(a, pool(v))          exchange                       (3)
    v <- v + g_m X(v, pool(v))                                    memory (with `memory`)        (3')
    v <- v + g A_time(v);    v <- v + g MLP(v)                    temporal block                 (4)
    a <- a + g MLP(a)                                             audio block, second half       (5)

A is self-attention (over the tokens of a frame, along time, or of the audio), A_text and X are
cross-attention, and g are gates: learned for each feature in (3), from the modulation elsewhere.
Names in backquotes are fields of `STDiTConfig`.

Adaptive modulation by the noise level of each latent frame (`sora_jax.nn.modulation`) wraps
self-attention (A_space, A_time, A) and MLP. So a clip can hold given, modified and generated frames
together. A_text is not modulated, and is absent without `text_attention`. With `shot_words` a
latent of shot n reads the words of shot n and the words of all shots. With `references` the tokens
of characters follow the words (`reference_encoder`).

In the exchange (3):

- Both streams read the other's state from before the exchange.
- Rotary positions are times in seconds, the clock that both streams share.
- The gates g_v [D] and g_a [Da] start at zero, and c is the caller's `couple`.
- `exchange` can leave out one direction, or both.
- The audio reads P tokens per frame, pool(v), gathered by attention pooling. This costs O(N T P).
- Every site of the video reads the audio, because the position of an object decides which sound
  belongs to it.
- With `memory`, (3') lets every site read the pooled tokens of all frames. So it can read across a
  cut, where the same site shows something else and temporal attention does not help. v and pool(v)
  are those of (3), and the gate g_m [D] starts at zero.

Rotary attention depends only on differences of position. Absolute position (where the floor
is, when the clip begins) is therefore added to the tokens, as Fourier features of the place in
the frame and of time in seconds. `attention` selects which video tokens attend to each other in the
spatial block (1) and in the temporal block (4):

    "pure"    (1) within a frame, (4) along time at a site
    "window"  (1) within a frame, (4) within 3-D windows, shifted by half a window in every second
              pair
    "full"    (1) and (4) over all tokens
    "matrix"  (1) within a frame, (4) from frame to frame, with one weight for all sites
    "interleaved"  (1) within a frame, (4) along time in every `time_every`-th pair, else as (1)

`output` says whether the network predicts the clean latents x or the velocity v, and
`sora_jax.flow` reads it. A network that predicts x needs no skip connection from its input.
Sources: Open-Sora 1.2 (STDiT3, Zheng et al. 2024, arXiv:2412.20404) for the pairs, LTX-2 (HaCohen
et al. 2026, arXiv:2601.03233) for the two streams. Start reading at `STDiT.__call__`.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Bool, Float

from sora_jax.models.attention_patterns import VideoTokens, blocks
from sora_jax.models.blocks import Head, Pair
from sora_jax.models.reference_encoder import ReferenceEncoder
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
from sora_jax.nn.layout import NO_SHARDING, Layout
from sora_jax.nn.mlp import linear
from sora_jax.nn.modulation import LevelEmbedding
from sora_jax.nn.rope import SECONDS, angles
from sora_jax.nn.stack import init_stack, scan_stack
from sora_jax.typing import AnyArray, Latents, Levels, Prompts, Times


class STDiT(nnx.Module):
    """The network: a spatial-temporal diffusion transformer for video and audio latents.

    `__call__` takes noisy latents, their noise levels, a prompt and times, and predicts the clean
    latents or the velocity. The module's docstring has the equations.

    Args:
        config: the sizes.
        rngs: random keys of the initial values.
    """

    def __init__(self, config: STDiTConfig, rngs: nnx.Rngs):
        c, dtype = config, jnp.dtype(config.dtype)
        self.config = config
        self.text = TextEncoder(
            c.vocabulary,
            c.text_width,
            c.text_heads,
            c.text_layers,
            rngs,
            dtype=dtype,
            features=c.text_features,
        )
        self.video_in = linear(c.patch**2 * c.video_channels, c.width, rngs, bias=True, dtype=dtype)
        self.audio_in = linear(c.audio_channels, c.audio_width, rngs, bias=True, dtype=dtype)
        self.video_place = linear(3 * PLACE_FEATURES, c.width, rngs)
        self.audio_place = linear(PLACE_FEATURES, c.audio_width, rngs)
        self.video_level = LevelEmbedding(c.width, c.text_width, rngs, c.step_sizes)
        self.audio_level = LevelEmbedding(c.audio_width, c.text_width, rngs, c.step_sizes)
        self.pairs = init_stack(functools.partial(Pair, c), c.depth, rngs)
        self.video_head = Head(c.width, c.patch**2 * c.video_channels, rngs)
        self.audio_head = Head(c.audio_width, c.audio_channels, rngs)
        channels = {"video": c.video_channels, "audio": c.audio_channels}
        # Last, so that the initial values of all other parameters are those without references.
        self.references = (
            ReferenceEncoder(c.references, c.text_width, channels, c.patch, rngs, dtype)
            if c.references
            else None
        )

    def __call__(
        self,
        latents: Latents,
        levels: Levels,
        text: Prompts,
        times: Times,
        couple: float | Float[AnyArray, "..."] = 1.0,
        sizes: Levels | None = None,
        layout: Layout = NO_SHARDING,
    ) -> dict[str, Float[Array, "B ..."]]:
        """Evaluates the network.

        Args:
            latents: noisy latents {"video": [B, T, H, W, C], "audio": [B, N, Ca]}.
            levels: noise levels in [0, 1], {"video": [B, T], "audio": [B, N]}; 0 is clean.
            text: {"tokens": int32 [B, L], or float [B, L, text_features], "mask": bool [B, L],
                False for padding}. An all-False mask means unconditional. Optional: "shots" int8
                [B, L], the shot that each word describes, from 1, 0 for all shots (default: all).
                With `references` in the configuration also "slots" int8 [B, L] and "references"
                (`ReferenceEncoder.beside`; default: none).
            times: midpoints of the latents in seconds, {"video": [T], "audio": [N]}. For a clip of
                several shots also the shot of each latent, from 1: "video_shots" [T] and
                "audio_shots" [N].
            couple: factor of the exchange between video and audio, a number or [B]; 0 turns it off.
                Default 1.
            sizes: by how much the sampler lowers the levels in its step, like them, for a network
                with `step_sizes`. Default None: 0, the flow itself.
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

        pooled, words, mask = self._read(text, shots, layout)
        sizes = {} if sizes is None else sizes
        e_v, m_v = self.video_level(jnp.asarray(levels["video"]), pooled, sizes.get("video"))
        e_a, m_a = self.audio_level(jnp.asarray(levels["audio"]), pooled, sizes.get("audio"))
        m_v, m_a = m_v.astype(dtype), m_a.astype(dtype)

        v = self.video_in(patches(latents["video"], p).astype(dtype))
        places = place_features(times["video"], (H / p, W / p))
        v = v + self.video_place(places).astype(dtype)
        a = self.audio_in(jnp.asarray(latents["audio"], dtype))
        a = a + self.audio_place(time_features(times["audio"])).astype(dtype)

        phi_audio = angles(times["audio"], c.audio_width // c.audio_heads // 2, SECONDS)
        planes = c.exchange_width // c.exchange_heads // 2
        phi_exchange = {m: angles(t, planes, SECONDS) for m, t in times.items()}

        def step(pair: Pair, carry: tuple[Array, Array], depth: Array) -> tuple[Array, Array]:
            v, a = carry
            tokens = VideoTokens(c, times["video"], grid, layout, visible, depth)
            in_space, in_time = blocks(tokens)
            v, a = layout.shard_frames(v), layout.replicate_audio(a)
            v = pair.space(v, m_v, *in_space, words, mask["video"], layout.in_frames)
            a = pair.audio.attend(a, m_a, phi_audio, words, mask["audio"], layout.in_audio)
            v, a = pair.exchange(v, a, phi_exchange, couple, visible, layout)
            v = pair.time(layout.shard_sites(v), m_v, *in_time, sharding=layout.along_time)
            return v, pair.audio.feed(a, m_a)

        how = {"remat": c.remat, "unroll": c.unroll, "weights": layout.weights_of("pairs")}
        v, a = scan_stack(self.pairs, step, (v, a), jnp.arange(c.depth), **how)
        video = from_patches(self.video_head(v, e_v), p, (H, W))
        return {"video": video, "audio": self.audio_head(a, e_a)}

    def _read(
        self, text: Prompts, shots: Mapping[str, Any], layout: Layout
    ) -> tuple[Float[Array, "B Dt"], Float[Array, "B tokens Dt"], dict[str, Bool[Array, "..."]]]:
        """Encodes a prompt.

        Args:
            text: the prompt, as in `__call__`.
            shots: the shot of each latent by modality; None for a clip of one shot.
            layout: sharding hooks.

        Returns:
            The pooled prompt [B, Dt], the tokens of words and references [B, L + 1 + K, Dt], and by
            modality the mask of the tokens that latents attend to, bool [B, L + 1 + K], or
            [B, T, L + 1 + K] where they differ from latent to latent.
        """
        words, mask = self.text(text["tokens"], text["mask"], layout)
        pooled = words[:, 0]
        if self.references is not None:
            words, mask = self.references.beside(words, mask, text)
        if self.config.shot_words and "shots" in text:
            return pooled, words, {m: of_shot(mask, text["shots"], x) for m, x in shots.items()}
        return pooled, words, dict.fromkeys(shots, mask)
