"""Streams of clips as frames and samples, to train tokenizers on and to compute latents from.

Every stream yields batches of one form, a dict:

    "frames"     float32 [B,F,H,W,3] in [0,1]
    "samples"    float32 [B,S] in [-1,1], zeros for a clip without audio
    "has_audio"  bool [B], NumPy
    "captions"   list of B tuples of paraphrases
    "keys"       list of B names, unique in the stream
    "takes"      list of B `Take`s: the ground truth of the clips (Playhouse only)
    "references" stills and voices of the characters of the clips, if the stream has any: the
                 result of `worlds.playhouse.references.cast_references`

The order is a pure function of the arguments, so `start`, a number of clips, resumes a stream
exactly.
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

    A run or a set of latents refuses to continue with scenes of another identity.

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

    `source(start)` yields batches from clip `start` on.

    Args:
        split: a split of the family.
        format: the format of the clips.
        num_clips: the number of clips.
        batch_size: clips per batch.
        workers: processes that draw takes ahead. 0, the default, draws in this process.
        family: the family of the scenes.
        style: the style of the scenes. Default: None, all styles of the family.
        references: whether batches have the references of the cast, in families with one. Default
            False.

    Raises:
        UserError: the family, split or style does not exist, a finite family has fewer takes, the
            format is longer than the simulated scenes, or a story has other shots.
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
        """Yields batches from clip number `start` on, the same at every call."""
        takes = draw_takes(
            self.split, range(start, self.num_clips), self.workers, self.family, self.style
        )
        for group in grouped(takes, self.batch_size):
            batch = render_batch(group, self.format)
            if self.slots:
                batch["references"] = cast_references(group, self.slots, self.format.size)
            yield batch
