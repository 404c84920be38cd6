"""`conv_prologue`: norm, SiLU, cached frames and padding of a causal convolution, in one pass."""

from kernels.conv_prologue.api import conv_prologue

__all__ = ["conv_prologue"]
