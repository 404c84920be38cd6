"""`cross_attention`: attention of all tokens to the same few keys, with QK-norm and rotation."""

from kernels.cross_attention.api import cross_attention

__all__ = ["cross_attention"]
