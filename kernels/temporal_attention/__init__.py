"""Attention along time at every site of a video, with normalised, rotated queries and keys:
`temporal_attention`.
"""

from kernels.temporal_attention.api import temporal_attention

__all__ = ["temporal_attention"]
