"""Streams of clips as frames and samples, to train tokenizers on and to compute latents from.

A stream is a `named_sources.Source`. Every stream yields batches of one form, a dict:

    "frames"     float32 [B,F,H,W,3] in [0,1]
    "samples"    float32 [B,S] in [-1,1], zeros for a clip without audio
    "has_audio"  bool [B], NumPy
    "captions"   list of B tuples, the captions of each clip
    "keys"       list of B names of the clips, unique in the stream
    "takes"      list of B `Take`s: the ground truth of the clips (Playhouse only)
    "references" stills and voice samples of the characters of the clips, only if the stream has
                 any: the dict of arrays of `worlds.playhouse.references.cast_references`

The order is a pure function of the arguments of the stream, so it can be resumed exactly: `start`
is the number of clips to skip.
"""

from collections.abc import Iterator
from typing import Any

from sora_jax.errors import UserError
from sora_jax.modality import ClipFormat
from sora_jax.worlds.playhouse.draw import check, draw, long_format
from sora_jax.worlds.playhouse.families import FAMILIES
from sora_jax.worlds.playhouse.references import cast_references
from sora_jax.worlds.playhouse.render.story_inputs import check_shots
from sora_jax.worlds.playhouse.spec import WORLD_VERSION
from sora_jax.worlds.playhouse.takes import draw_takes, grouped, render_batch


def identity(split: str, family: str = "room", style: str | None = None) -> dict[str, Any]:
    """Returns JSON values that identify the scenes of a Playhouse split.

    A training run, or a set of latents that is computed, is not continued with another identity.

    Args:
        split: a split of the family.
        family: the family of the scenes. Default "room".
        style: the only style of the scenes. Default None: all styles.
    """
    known = {
        "source": "playhouse",
        "split": split,
        "world_version": WORLD_VERSION,
        "family": family,
        "family_version": FAMILIES[family].version,
    }
    return known if style is None else {**known, "style": style}


class PlayhouseSource:
    """A stream of the first `num_clips` takes of a Playhouse split, rendered in order.

    `source(start)` yields batches from the clip with the index `start` on.

    Args:
        split: a split of the family.
        format: the format of the clips. Those of some splits are longer (`draw.long_format`); the
            attribute `format` is the actual one.
        num_clips: the number of clips.
        batch_size: clips per batch. Default 32.
        workers: processes that draw takes ahead. Default 0: this process draws them.
        family: the family (kind of scenes). Default "room".
        style: the only style of the scenes. Default None: all styles of the family.
        references: True if batches have the references of the characters, in families with
            characters. Default False.

    Raises:
        UserError: the family, split or style does not exist, a finite family has fewer takes, the
            format lasts longer than `Family.longest`, or a story has other shots than the format.
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
        references: bool = False,
    ):
        check(split, family, style)
        kind = FAMILIES[family]
        if format.seconds > kind.longest:
            raise UserError(
                f"scenes of {family} are played for {kind.longest} s, and clips of this format "
                f"last {format.seconds:.3g} s; choose {' or '.join(kind.formats)}",
                field="format",
            )
        # Drawing the last take raises now, not after hours, if a finite family has fewer.
        last = draw(split, num_clips - 1, family=family, style=style)
        format = long_format(split, format)
        if last.scene.plot:
            check_shots(last, format)
        self.split, self.format, self.num_clips, self.batch_size, self.workers = (
            split,
            format,
            num_clips,
            batch_size,
            workers,
        )
        self.family, self.style = family, style
        self.identity = identity(split, family, style)
        self.slots = kind.max_cast if references else 0
        if self.slots:
            self.identity["references"] = self.slots

    def __len__(self) -> int:
        return self.num_clips

    def __call__(self, start: int = 0) -> Iterator[dict]:
        """Yields batches from the clip with the index `start` on, the same at every call."""
        takes = draw_takes(
            self.split, range(start, self.num_clips), self.workers, self.family, self.style
        )
        for group in grouped(takes, self.batch_size):
            batch = render_batch(group, self.format)
            if self.slots:
                batch["references"] = cast_references(group, self.slots, self.format.size)
            yield batch
