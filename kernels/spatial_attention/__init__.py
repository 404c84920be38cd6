"""`spatial_attention`: full attention among the sites of a frame, with QK-norm and rotation."""

from kernels.spatial_attention.api import spatial_attention

__all__ = ["spatial_attention"]
