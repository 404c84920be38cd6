"""What stands before a causal convolution, in one pass: norm, SiLU, past frames, zero padding:
`conv_prologue`.
"""

from kernels.conv_prologue.api import conv_prologue

__all__ = ["conv_prologue"]
