"""Streams of whole clips, pixels and samples: what tokenizers are trained on and what latents are
computed from.

Every stream yields the same batch, a dict:

    "frames"     float32 [B,F,H,W,3] in [0,1]
    "samples"    float32 [B,S] in [-1,1], zeros where there is no sound
    "has_audio"  bool [B], NumPy
    "captions"   list of B tuples of paraphrases
    "keys"       list of B names, unique in the stream
    "takes"      list of B `Take`s (Playhouse only): what is known about the clip

Order is a pure function of the arguments, so `start`, a number of clips, resumes a stream exactly.
"""

from collections.abc import Iterator
from typing import Any

from sora_jax.errors import UserError
from sora_jax.modality import ClipFormat
from sora_jax.worlds.playhouse.draw import check, draw, long_format
from sora_jax.worlds.playhouse.families import FAMILIES
from sora_jax.worlds.playhouse.spec import WORLD_VERSION
from sora_jax.worlds.playhouse.takes import draw_takes, grouped, render_batch


def identity(split: str, family: str = "room", style: str | None = None) -> dict[str, Any]:
    """JSON values that name scenes of Playhouse; data sets made of other ones are refused."""
    known = {
        "source": "playhouse",
        "split": split,
        "world_version": WORLD_VERSION,
        "family": family,
        "family_version": FAMILIES[family].version,
    }
    return known if style is None else {**known, "style": style}


class PlayhouseSource:
    """The first `num_clips` takes of a split, in order, for `precompute`: `source(start)` yields
    batches from clip `start` on.

    Raises UserError for no such family, split or style, a finite family with fewer takes, or a
    format longer than scenes are played for.
    """

    def __init__(
        self,
        split: str,
        format: ClipFormat,
        num_clips: int,
        batch_size: int = 32,
        workers: int = 0,
        family: str = "room",
        style: str | None = None,
    ):
        check(split, family, style)
        kind = FAMILIES[family]
        if format.seconds > kind.longest:
            raise UserError(
                f"scenes of {family} are played for {kind.longest} s, and clips of this format "
                f"last {format.seconds:.3g} s; choose {' or '.join(kind.formats)}",
                field="format",
            )
        # a finite family that has fewer says so now, not after hours
        draw(split, num_clips - 1, family=family, style=style)
        format = long_format(split, format)
        self.split, self.format, self.num_clips, self.batch_size, self.workers = (
            split,
            format,
            num_clips,
            batch_size,
            workers,
        )
        self.family, self.style = family, style
        self.identity = identity(split, family, style)

    def __len__(self) -> int:
        return self.num_clips

    def __call__(self, start: int = 0) -> Iterator[dict]:
        takes = draw_takes(
            self.split, range(start, self.num_clips), self.workers, self.family, self.style
        )
        return (render_batch(group, self.format) for group in grouped(takes, self.batch_size))
