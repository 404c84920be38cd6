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

import collections
import concurrent.futures
import multiprocessing
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from sora_jax.modality import ClipFormat
from sora_jax.worlds.playhouse.draw import CLIP_SECONDS, Take, check, draw, long_format
from sora_jax.worlds.playhouse.families import FAMILIES
from sora_jax.worlds.playhouse.spec import SILENCE, WORLD_VERSION


def draw_takes(
    split: str,
    indices: Iterable[int],
    workers: int = 0,
    family: str = "room",
    style: str | None = None,
) -> Iterator[Take]:
    """`draw(split, i, family=family, style=style)` for every index, in order.

    A take costs some 10 ms of Python: with `workers` processes they are drawn ahead.

    Processes are spawned, so a script that asks for workers needs the usual `if __name__ ==
    "__main__":`.
    """
    if workers < 1:
        yield from (draw(split, int(i), family=family, style=style) for i in indices)
        return
    chunk = 16
    with concurrent.futures.ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn")
    ) as pool:
        pending = collections.deque()
        for group in _grouped(indices, chunk):
            pending.append(pool.submit(_draw_group, split, [int(i) for i in group], family, style))
            if len(pending) > 2 * workers:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()


def _draw_group(split: str, indices: list[int], family: str, style: str | None) -> list[Take]:
    return [draw(split, i, family=family, style=style) for i in indices]


def _grouped(items: Iterable, size: int) -> Iterator[list]:
    group = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def render_batch(takes: Sequence[Take], format: ClipFormat) -> dict:
    """A batch of takes as the dict of this module; frames and samples are jax arrays on the default
    device.
    """
    from sora_jax.worlds.playhouse import render, sound

    return {
        "frames": render.render(render.render_inputs(takes, format, alone=True), format),
        "samples": sound.synthesise(sound.sound_inputs(takes, format), format),
        "has_audio": np.array([take.scene.ambience != SILENCE for take in takes]),
        "captions": [take.captions for take in takes],
        "keys": [
            f"{'playhouse' if take.family == 'room' else take.family}/{take.split}/{take.index}"
            for take in takes
        ],
        "takes": list(takes),
    }


class PlayhouseSource:
    """The first `num_clips` takes of a split, in order, for `precompute`: `source(start)` yields
    batches from clip `start` on.

    Raises: ValueError for a family, split or style that does not exist, a finite family with fewer
    takes, or a format longer than scenes are played for.
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
        # whose balls never meet a floor
        if format.seconds > CLIP_SECONDS and not family.startswith("phyworld"):
            raise ValueError(
                f"scenes of {family} are played for {CLIP_SECONDS} s, and clips of this format "
                f"last {format.seconds:.3g} s; choose nano or S"
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
        self.identity = {"source": "playhouse", "split": split, "world_version": WORLD_VERSION}
        if family != "room":  # rooms are older than families
            self.identity |= {"family": family, "family_version": FAMILIES[family].version}
        if style is not None:
            self.identity["style"] = style

    def __len__(self) -> int:
        return self.num_clips

    def __call__(self, start: int = 0) -> Iterator[dict]:
        takes = draw_takes(
            self.split, range(start, self.num_clips), self.workers, self.family, self.style
        )
        return (render_batch(group, self.format) for group in _grouped(takes, self.batch_size))


class VideoFolderSource:
    """The clips of a built `video_folder` set, in its own order, for `precompute` and tokenizer
    training.
    """

    def __init__(self, directory, split: str = "train", batch_size: int = 32):
        from sora_jax.data import video_folder

        self.records, self.format = video_folder.open_records(directory, split)
        self.batch_size = batch_size
        self.identity = {
            "source": "video_folder",
            "split": split,
            "set": str(self.records.fingerprint),
        }

    def __len__(self) -> int:
        return len(self.records)

    def __call__(self, start: int = 0) -> Iterator[dict]:
        for group in _grouped(range(start, len(self)), self.batch_size):
            yield self.batch(group)

    def batch(self, indices: Sequence[int]) -> dict:
        """The clips of these numbers."""
        records = [self.records[i] for i in indices]
        return {
            "frames": np.stack([r["frames"] for r in records]).astype(np.float32) / 255.0,
            "samples": np.stack([r["samples"] for r in records]).astype(np.float32) / 32767.0,
            "has_audio": np.array([r["has_audio"] for r in records], bool),
            "captions": [r["captions"] for r in records],
            "keys": [r["key"] for r in records],
        }
