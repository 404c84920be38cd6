"""Glossary of axis letters, the same in every docstring, shape comment and variable name.

    B  batch                          T  video latent frames (time)     N  audio latents
    F  video frames                   H W  rows and columns of a latent, or of its grid of tokens
    C  channels                       S  sites: tokens of one frame, H * W (of audio: samples)
    D  width of a stream              h  attention heads                d  width of a head
    L  words of a prompt (padded)     P  pooled tokens of a frame       K  balls of a scene

Latents, levels and times are dictionaries keyed by modality, "video" and "audio": see
`sora_jax.modality`.
"""

from collections.abc import Mapping

import jax
import numpy as np

Array = jax.Array
ArrayLike = jax.Array | np.ndarray | float | int
Modalities = Mapping[str, Array]  # {"video": ..., "audio": ...}
