"""The division of cross-attention for a TPU into programs and slabs of heads.

A slab is a group of heads that share registers. `pallas_tpu.py` gives the reasons.
"""

import dataclasses
import math

import jax.numpy as jnp

from kernels import tuning
from kernels.cross_attention.specs import Spec
from kernels.temporal_attention.tpu_tiling import LANES, _up


@dataclasses.dataclass(frozen=True)
class Tiling:
    """How the TPU kernel divides a call of cross-attention into programs.

    Attributes:
        spec: the shapes of the call.
        rows: sites of a program, all of one frame.
        heads: heads of a program.
        group: heads of a slab.
    """

    spec: Spec
    rows: int
    heads: int
    group: int

    @property
    def slabs(self) -> int:
        """The number of slabs (groups of heads that share registers) of a program."""
        return self.heads // self.group

    @property
    def lanes(self) -> int:
        """The numbers of a slab in memory."""
        return self.group * self.spec.D

    @property
    def width(self) -> int:
        """The lanes of a slab in registers: `lanes`, padded with zeros to a multiple of LANES."""
        return _up(self.lanes, LANES)

    @property
    def keys(self) -> int:
        """The number of rows of a head's keys, padded to whole registers."""
        return _up(self.spec.M, 16)

    @property
    def grid(self) -> tuple[int, int, int, int]:
        """The numbers of programs over (batch elements, blocks of heads, frames, blocks of
        sites).
        """
        spec = self.spec
        return spec.B, spec.H // self.heads, spec.T, -(-spec.S // self.rows)

    @property
    def stacked(self) -> tuple[int, int, int]:
        """The shape of keys or values stacked by head: [slab, (head, key), lane]."""
        return self.slabs, self.group * self.keys, self.width

    @property
    def memory(self) -> int:
        """The bytes of fast memory that the backward program needs.

        Counts blocks twice (double buffering), scratch once, and the live values of a slab.
        """
        item, numbers = jnp.dtype(self.spec.dtype).itemsize, self.heads * self.spec.D
        blocks = (3 * self.rows + 4 * self.keys) * numbers * item
        logits = self.group * self.keys * self.rows * 4
        return 2 * blocks + math.prod(self.stacked) * (2 * item + 12) + 6 * logits


def parameters(spec: Spec) -> dict[str, int]:
    """Returns the launch parameters of a call: the heuristic below, or those tuned on this device.

    Launch parameters:
        heads: heads of a program: as many as give at most 512 numbers for each site.
        rows: sites of a program. A program has at most 2^19 numbers, since more take minutes to
            compile, and at most 1024 sites: all of a frame, or a multiple of 128 of them, whichever
            wastes least, where a program costs about as much as 64 sites more.
    """
    whole = [
        h
        for h in range(1, spec.H + 1)
        if spec.H % h == 0 and h * spec.D % LANES == 0 and h * spec.D <= 512
    ]
    heads = max(whole, default=spec.H)
    rows, most = spec.S, max(128, min(1024, 2**19 // (heads * spec.D) // 128 * 128))
    if rows > most:
        rows = min(range(most, 127, -128), key=lambda n: -(-spec.S // n) * (n + 64))
    heuristic = {"rows": rows, "heads": heads}
    return tuning.parameters(
        "cross_attention", heuristic, D=spec.D, S=spec.S, M=spec.M, dtype=spec.dtype
    )


def tiling(spec: Spec) -> Tiling:
    """Returns how the TPU kernel divides a call, by its launch parameters `parameters(spec)`."""
    p = parameters(spec)
    group = max(g for g in range(1, max(1, LANES // spec.D) + 1) if p["heads"] % g == 0)
    return Tiling(spec, p["rows"], p["heads"], group)


def folded(spec: Spec) -> Spec:
    """Returns the spec with all frames as one, if frames do not differ.

    Frames of 128 sites and more stay apart if 16 does not divide them: [T, S, H D] would be copied
    to become [T S, H D] in the tiles of memory.
    """
    if spec.turned or spec.masks > 1 or (spec.S % 16 and spec.S >= 128):
        return spec
    return dataclasses.replace(spec, T=1, S=spec.T * spec.S)
