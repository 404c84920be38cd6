"""`temporal_attention`: attention along time at every site, with QK-norm and rotation."""

from kernels.temporal_attention.api import temporal_attention

__all__ = ["temporal_attention"]
