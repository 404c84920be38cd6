"""Glossary of axis letters, the same in every docstring, shape comment and variable name.

`docs/guides/notation.md` has the letters of equations too.

    B  batch                          T  video latents (time)           N  audio latents
    F  video frames                   H W  rows and columns: of a frame, a latent or its tokens
    C  channels                       S  sites: tokens of one frame, H * W (of audio: samples)
    D  width of a stream              h  attention heads                d  width of a head
    L  tokens of a prompt (padded)    P  pooled tokens of a frame       K  balls of a scene

Latents, levels and times are dictionaries keyed by modality, "video" and "audio": see
`sora_jax.modality`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jax import Array
from jaxtyping import Float, Num

AnyArray = Array | np.ndarray
Scalar = float | Num[AnyArray, ""]
Latents = Mapping[str, Float[AnyArray, "B ..."]]  # {"video": [B, T, H, W, C], "audio": [B, N, C]}
Levels = Mapping[str, Float[AnyArray, "B _"]]  # {"video": [B, T], "audio": [B, N]}
# {"video": [T], "audio": [N]}, midpoints in seconds; for clips of several shots also "video_shots"
# [T] and "audio_shots" [N], the number of each latent's shot, from 1
Times = Mapping[str, Float[AnyArray, " _"]]
# {"tokens": int32 [B, L], "mask": bool [B, L], True for words}. Optional: "shots" int8 [B, L], the
# number of each word's shot; "slots" int8 [B, L], the number of the character that a word names;
# "references", a dictionary of arrays [B, R, ...] of the R characters (`models.reference_encoder`)
Prompts = Mapping[str, Any]
