"""How temporal attention is cut for a TPU: programs, slabs of heads that share registers, tiles of
sites. `pallas_tpu.py` says why.
"""

import dataclasses
import math

import jax.numpy as jnp

from kernels import tuning
from kernels.temporal_attention.specs import Spec

LANES = 128


@dataclasses.dataclass(frozen=True)
class Tiling:
    """How `spec` is cut.

    A program takes `sites` sites of `heads` heads, in slabs of `group` heads; a slab of P sites is
    a tile.
    """

    spec: Spec
    sites: int
    heads: int
    group: int
    P: int
    tiles_at_once: int

    @property
    def slabs(self) -> int:
        return self.heads // self.group

    @property
    def lanes(self) -> int:
        """Numbers of a slab in memory; in registers they are filled up with zeros to `width`."""
        return self.group * self.spec.D

    @property
    def width(self) -> int:
        return _up(self.lanes, LANES)

    @property
    def U(self) -> int:
        """Rows of a site's keys: frames, filled up to whole registers."""
        return _up(self.spec.T, 8)

    @property
    def L(self) -> int:
        """Rows of a tile's queries, (t, p), and columns of a head's logits, filled up likewise."""
        return _up(self.spec.T * self.P, LANES)

    @property
    def pitch(self) -> int:
        """Rows from frame to frame in scratch memory: odd, so that a site's frames lie in different
        banks and are read at once.
        """
        return self.sites + 1

    @property
    def scratch(self) -> tuple[int, int, int]:
        """Shape of an array between the phases: [slab, row of frame and site, lane]."""
        return self.slabs, self.U * self.pitch + self.sites, self.width

    @property
    def grid(self) -> tuple[int, int, int]:
        return self.spec.B, self.spec.H // self.heads, -(-self.spec.S // self.sites)

    @property
    def memory(self) -> int:
        """Bytes of fast memory that the backward program takes: blocks and tables twice, scratch
        once, and what is alive of its tiles.
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
        """(slab, first site) of all tiles, some at a time: the compiler overlaps what stands side
        by side in the program.
        """
        tiles = [
            (slab, site) for slab in range(self.slabs) for site in range(0, self.sites, self.P)
        ]
        return [tiles[i : i + self.tiles_at_once] for i in range(0, len(tiles), self.tiles_at_once)]


def _up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


def parameters(spec: Spec) -> dict[str, int]:
    """Launch parameters: the heuristic below, or what was tuned on this device.

    sites          of a program. 16 rows of bfloat16 are one register and one tile of the array in
                   memory; 8 where heads cannot be parted and there are many frames.
    heads          of a program: so many that a block has 1024 numbers a site and frame at 16
                   frames, and as many numbers in all at more.
    tiles_at_once  the more tiles are independent of each other, the more of their latency is
                   hidden: all of a program, while their logits are few.
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
    p = parameters(spec)
    group = max(g for g in range(1, max(1, LANES // spec.D) + 1) if p["heads"] % g == 0)
    return Tiling(spec, p["sites"], p["heads"], group, 8 if spec.T > 8 else 16, p["tiles_at_once"])
