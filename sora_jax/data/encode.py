"""Encodes clips to latents with a video and an audio tokenizer, and checks the latents.

`latents/precompute.py` writes the latents to disk. `training.latent_set.fill` keeps them in
device memory. This module imports neither Grain nor array_record.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sora_jax.errors import UserError
from sora_jax.modality import ClipFormat

# (frames, samples) -> latents by name
Encode = Callable[[Any, Any], dict[str, jax.Array]]
# (references, batch size to pad to) -> references with latents
EncodeReferences = Callable[[Mapping[str, Any], int], dict[str, Any]]


def encoder(video_tokenizer: nnx.Module, audio_tokenizer: nnx.Module, format: ClipFormat) -> Encode:
    """Returns a jitted function of (frames, samples) that encodes a batch of clips.

    It maps frames [B,F,H,W,3] in [0,1] and samples [B,S] in [-1,1] of clips of `format` to the
    latents {"video": [B,T,h,w,C], "audio": [B,N,C]}. The frames of each shot are encoded
    separately.
    """
    both = (video_tokenizer, audio_tokenizer)
    graphs, states = zip(*(nnx.split(tokenizer) for tokenizer in both), strict=True)

    @jax.jit
    def encode(states: Any, frames: Any, samples: Any) -> dict[str, jax.Array]:
        video, audio = (
            nnx.merge(graph, state) for graph, state in zip(graphs, states, strict=True)
        )
        return {"video": video.encode(frames, format.shots), "audio": audio.encode(samples)}

    return functools.partial(encode, states)


def reference_encoder(video_tokenizer: nnx.Module, audio_tokenizer: nnx.Module) -> EncodeReferences:
    """Returns a function of (references, size) that encodes the references of a batch: the stills
    and voice samples of characters that a model is given.

    `references` is the result of `worlds.playhouse.references.cast_references`. `size` is the batch
    size to which arrays are padded, so that the function is compiled once. The result is a copy of
    `references` with latents in place of frames and samples: "stills" float32 [B,R,V,h,w,C], V
    stills encoded as single frames, and "voices" float32 [B,R,n,C].
    """
    both = (video_tokenizer, audio_tokenizer)
    graphs, states = zip(*(nnx.split(tokenizer) for tokenizer in both), strict=True)

    @jax.jit
    def encode(states: Any, stills: Any, voices: Any) -> tuple[jax.Array, jax.Array]:
        video, audio = (
            nnx.merge(graph, state) for graph, state in zip(graphs, states, strict=True)
        )
        one = video.encode(stills.reshape(-1, 1, *stills.shape[-3:]))[:, 0]
        heard = audio.encode(voices.reshape(-1, voices.shape[-1]))
        return (
            one.reshape(*stills.shape[:3], *one.shape[1:]),
            heard.reshape(*voices.shape[:2], *heard.shape[1:]),
        )

    def encoded(references: Mapping[str, Any], size: int) -> dict[str, Any]:
        count = len(references["stills"])
        arrays = (
            np.pad(x, [(0, max(size - count, 0))] + [(0, 0)] * (x.ndim - 1))
            for x in (references["stills"], references["voices"])
        )
        stills, voices = (np.asarray(x)[:count] for x in encode(states, *arrays))
        return {**references, "stills": stills, "voices": voices}

    return encoded


def padded(batch: Mapping[str, Any], size: int) -> tuple[Any, Any]:
    """Returns (frames [size,F,H,W,3], samples [size,S]) of a batch of at most `size` clips, padded
    with copies of its last clip.

    The last batch of a source is often smaller. Padding avoids compiling for its shape.
    """
    frames, samples = batch["frames"], batch["samples"]
    missing = size - len(frames)
    if missing <= 0:
        return frames, samples
    frames, samples = np.asarray(frames), np.asarray(samples)
    return (
        np.concatenate([frames, np.repeat(frames[-1:], missing, 0)]),
        np.concatenate([samples, np.repeat(samples[-1:], missing, 0)]),
    )


@jax.jit
def _finite(x: jax.Array) -> jax.Array:
    return jnp.isfinite(x).all(axis=tuple(range(1, x.ndim)))


def check_finite(keys: Sequence[str], latents: Mapping[str, Any]) -> None:
    """Checks that the latents of a batch are finite.

    Args:
        keys: names of the clips.
        latents: arrays by name, with at least len(keys) rows; further rows are padding.

    Raises:
        UserError: some are NaN or infinite. The message names the first such clip.
    """
    finite = np.ones(len(keys), bool)
    for x in latents.values():
        finite &= np.asarray(_finite(x))[: len(keys)]
    if not finite.all():
        key = keys[int(np.argmin(finite))]
        raise UserError(
            f"the latents of {key} hold NaN or infinity; the tokenizers are not fit for use: give "
            "others"
        )
