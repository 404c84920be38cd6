"""The division of temporal attention for a TPU into programs, slabs of heads and tiles of sites.

A slab is a group of heads that share registers. `pallas_tpu.py` gives the reasons.
"""

import dataclasses
import math

import jax.numpy as jnp

from kernels import tuning
from kernels.temporal_attention.specs import Spec

LANES = 128


@dataclasses.dataclass(frozen=True)
class Tiling:
    """How the TPU kernel divides a call of temporal attention into programs.

    A program handles some sites of some heads. A slab is a group of heads that share registers, and
    a tile is P neighbouring sites of one slab.

    Attributes:
        spec: the shapes of the call.
        sites: sites of a program.
        heads: heads of a program.
        group: heads of a slab.
        P: sites of a tile.
        tiles_at_once: tiles that are computed side by side.
    """

    spec: Spec
    sites: int
    heads: int
    group: int
    P: int
    tiles_at_once: int

    @property
    def slabs(self) -> int:
        """The number of slabs (groups of heads) of a program."""
        return self.heads // self.group

    @property
    def lanes(self) -> int:
        """The numbers of a slab (group of heads) in memory. In registers they are padded with zeros
        to `width`.
        """
        return self.group * self.spec.D

    @property
    def width(self) -> int:
        """The lanes of a slab (group of heads) in registers: `lanes`, padded to a multiple of
        LANES.
        """
        return _up(self.lanes, LANES)

    @property
    def U(self) -> int:
        """The number of rows of a site's keys: frames, padded to whole registers."""
        return _up(self.spec.T, 8)

    @property
    def L(self) -> int:
        """The number of rows (frame, site) of a tile's queries, and of columns of a head's logits;
        padded to 128 lanes.
        """
        return _up(self.spec.T * self.P, LANES)

    @property
    def pitch(self) -> int:
        """The number of rows from one frame to the next in scratch memory.

        It is odd, so that the frames of a site lie in different banks and are read at once.
        """
        return self.sites + 1

    @property
    def scratch(self) -> tuple[int, int, int]:
        """The shape of an array in scratch memory: [slab, row of frame and site, lane]."""
        return self.slabs, self.U * self.pitch + self.sites, self.width

    @property
    def grid(self) -> tuple[int, int, int]:
        """The numbers of programs over (batch elements, blocks of heads, blocks of sites)."""
        return self.spec.B, self.spec.H // self.heads, -(-self.spec.S // self.sites)

    @property
    def memory(self) -> int:
        """The bytes of fast memory that the backward program needs.

        Counts blocks and tables twice (double buffering), scratch once, and the live values of the
        tiles.
        """
        item = jnp.dtype(self.spec.dtype).itemsize
        numbers = self.heads * self.spec.D
        blocks = 7 * self.spec.T * self.sites * numbers * item + 2 * self.spec.A * numbers * (
            item + 4
        )
        tables = self.spec.T * self.width**2 * item
        logits = (self.P * self.U + self.spec.A) * self.group * self.L * 4
        return (
            2 * (blocks + tables)
            + 6 * 4 * math.prod(self.scratch)
            + 3 * self.tiles_at_once * logits
        )

    def tile_batches(self):
        """Returns all tiles of a program in lists of `tiles_at_once`, each tile as
        (slab, first site).

        A slab is a group of heads, a tile some neighbouring sites of one slab. The compiler
        overlaps tiles that stand side by side in the program.
        """
        tiles = [
            (slab, site) for slab in range(self.slabs) for site in range(0, self.sites, self.P)
        ]
        return [tiles[i : i + self.tiles_at_once] for i in range(0, len(tiles), self.tiles_at_once)]


def _up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


def parameters(spec: Spec) -> dict[str, int]:
    """Returns the launch parameters of a call: the heuristic below, or those tuned on this device.

    Launch parameters:
        sites: sites of a program: 16, because 16 rows of bfloat16 are one register and one tile of
            the array in memory. 8 if heads cannot be divided and there are many frames.
        heads: heads of a program: as many as give at most 1024 numbers per site and frame at up to
            16 frames, and at most the same total with more frames.
        tiles_at_once: independent tiles hide each other's latency: all tiles of a program, as long
            as their logits are few.
    """
    most = max(LANES, 1024 * 16 // max(16, _up(spec.T, 16)))
    whole = [
        h
        for h in range(1, spec.H + 1)
        if spec.H % h == 0 and h * spec.D % LANES == 0 and h * spec.D <= most
    ]
    heads = max(whole, default=spec.H)
    sites = 8 if spec.T > 8 and spec.T * heads * spec.D > 3 * 2**14 else 16
    heuristic = {
        "sites": sites,
        "heads": heads,
        "tiles_at_once": max(1, 16 * 256 // max(16, spec.T) ** 2),
    }
    return tuning.parameters(
        "temporal_attention", heuristic, T=spec.T, D=spec.D, shared=spec.A > 0, dtype=spec.dtype
    )


def tiling(spec: Spec) -> Tiling:
    """Returns how the TPU kernel divides a call, by its launch parameters `parameters(spec)`.

    Slabs are as many heads as fill LANES and divide the heads of a program.
    """
    p = parameters(spec)
    group = max(g for g in range(1, max(1, LANES // spec.D) + 1) if p["heads"] % g == 0)
    return Tiling(spec, p["sites"], p["heads"], group, 8 if spec.T > 8 else 16, p["tiles_at_once"])
