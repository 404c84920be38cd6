"""An attention pattern of your own: a token attends to the tokens at its place that are near in
time.

    python -m experiments.train --import=docs/examples/own_attention.py \
        --config=experiments/configs/playhouse_nano.py --config.model.attention=sliding \
        --workdir=runs/sliding
    python -m experiments.sample --import=docs/examples/own_attention.py \
        --weights=runs/sliding/weights.safetensors \
        --prompt="a small red ball falls and bounces once"

A pattern returns two blocks, each a pair (phi, over) of rotation angles and a function that
attends. The spatial block is that of the pattern `pure`, and the temporal block has its own `over`,
with a mask for every query. Weights store the name of their pattern, so they can be loaded only
with the same --import.
"""

import jax
import jax.numpy as jnp

from sora_jax.models.attention_patterns import ATTENTION, VideoTokens, pure
from sora_jax.nn.attention import attend
from sora_jax.nn.norm import rms_norm
from sora_jax.nn.rope import rotate

REACH = 0.75  # seconds before and after


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
        """Returns the result of attention, [B, T, S, h, d], the shape of q, k and v.

        q_scale and k_scale [d] are the gains of QK-norm, and phi [T, d/2] the rotation angles.
        """
        q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))  # [B, S, T, h, d]
        q, k = rotate(rms_norm(q, q_scale), phi), rotate(rms_norm(k, k_scale), phi)
        return attend(q, k, v, sees).swapaxes(1, 2)

    spatial, (phi, _) = pure(tokens)
    return spatial, (phi, over)
