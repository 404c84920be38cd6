"""Encodes clips: both tokenizers as one compiled function, and checks of the latents.

`latents/precompute.py` writes the latents to disk, `train.resident.fill` keeps them on the device.
This module needs neither Grain nor array_record.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sora_jax.errors import UserError

Encode = Callable[[Any, Any], dict[str, jax.Array]]


def encoder(video_tokenizer: nnx.Module, audio_tokenizer: nnx.Module) -> Encode:
    """Both tokenizers as one compiled function.

    It takes frames [B,F,H,W,3] and samples [B,S] and gives {"video": ..., "audio": ...}.
    """
    both = (video_tokenizer, audio_tokenizer)
    graphs, states = zip(*(nnx.split(tokenizer) for tokenizer in both))

    @jax.jit
    def encode(states, frames, samples):
        video, audio = (nnx.merge(graph, state) for graph, state in zip(graphs, states))
        return {"video": video.encode(frames), "audio": audio.encode(samples)}

    return functools.partial(encode, states)


def padded(batch: Mapping[str, Any], size: int) -> tuple[Any, Any]:
    """(frames, samples) of a batch, the last clip repeated up to `size` clips.

    The last batch of a source is often smaller, and another shape would compile again.
    """
    frames, samples = batch["frames"], batch["samples"]
    missing = size - len(frames)
    if missing <= 0:
        return frames, samples
    arrays = (np.asarray(frames), np.asarray(samples))
    return tuple(np.concatenate([x, np.repeat(x[-1:], missing, 0)]) for x in arrays)


@jax.jit
def _finite(x: jax.Array) -> jax.Array:
    return jnp.isfinite(x).all(axis=tuple(range(1, x.ndim)))


def check_finite(keys: Sequence[str], latents: Mapping[str, Any]) -> None:
    """Raises UserError for the first of `keys` whose latents are not finite.

    Rows after those of the keys are padding.
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
