"""An attention pattern of your own: a site sees itself in the latents that are near in time.

    python -m experiments.train --import=docs/examples/own_attention.py \
        --config=experiments/configs/playhouse_nano.py --config.model.attention=sliding \
        --workdir=runs/sliding
    python -m experiments.sample --import=docs/examples/own_attention.py \
        --weights=runs/sliding/weights.safetensors \
        --prompt="a small red ball falls and bounces once"

The spatial block is that of `pure`; the temporal one writes its own `over`, with a mask for every
query. The weights name their pattern: without the import they are refused.
"""

import jax
import jax.numpy as jnp

from sora_jax.models.attention_patterns import ATTENTION, VideoTokens, pure
from sora_jax.nn.attention import attend
from sora_jax.nn.norm import rms_norm
from sora_jax.nn.rope import rotate

REACH = 0.75  # s, before and after


@ATTENTION.register
def sliding(tokens: VideoTokens) -> tuple:
    sees = jnp.abs(tokens.times[:, None] - tokens.times) <= REACH  # [query, key]
    if tokens.visible is not None:  # the clip is padded
        sees = sees & tokens.visible[:, None, None]

    def over(
        q: jax.Array,
        k: jax.Array,
        v: jax.Array,
        q_scale: jax.Array,
        k_scale: jax.Array,
        phi: jax.Array,
    ) -> jax.Array:
        """[B, T, S, h, d] -> the same."""
        q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))  # a sequence of every site
        q, k = rotate(rms_norm(q, q_scale), phi), rotate(rms_norm(k, k_scale), phi)
        return attend(q, k, v, sees).swapaxes(1, 2)

    spatial, (phi, _) = pure(tokens)
    return spatial, (phi, over)
