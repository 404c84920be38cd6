"""Attention among the tokens of a sequence, the sites of a frame, with normalised, rotated queries
and keys: `spatial_attention`.
"""

from kernels.spatial_attention.api import spatial_attention

__all__ = ["spatial_attention"]
