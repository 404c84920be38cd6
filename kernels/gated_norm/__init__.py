"""`gated_norm`: a gated residual followed by a modulated norm, with a fused gradient."""

from kernels.gated_norm.api import gated_norm

__all__ = ["gated_norm"]
