"""A gated branch added to its stream, and the sum normalised and modulated: `gated_norm`, for its
fast gradient.
"""

from kernels.gated_norm.api import gated_norm

__all__ = ["gated_norm"]
