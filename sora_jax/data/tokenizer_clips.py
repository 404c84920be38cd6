"""Training clips of a tokenizer: the video or the audio of clips from a source of `named_sources`.

A clip is made in two stages. On the host, `Clips.inputs` prepares arrays of each clip. In the
compiled training step, `Clips.render` turns a batch of them into frames or samples: it renders
scenes of Playhouse whose families are `alike`, and scales clips that are stored as integers. Clips
of all other sources are whole after the first stage.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np

from sora_jax.data.named_sources import NamedSource, Selection, Source
from sora_jax.data.sources import PlayhouseSource
from sora_jax.data.video_records import VideoFolderSource, open_records
from sora_jax.errors import UserError
from sora_jax.modality import ClipFormat
from sora_jax.worlds.playhouse import render, sound
from sora_jax.worlds.playhouse.draw import draw
from sora_jax.worlds.playhouse.families import FAMILIES

VIDEO, AUDIO = "video", "audio"
# {modality: (takes, format -> arrays on the host; arrays, format -> frames or samples)}
PLAYHOUSE = {
    VIDEO: (render.render_inputs, render.render),
    AUDIO: (sound.sound_inputs, sound.synthesise),
}
ARRAYS = {VIDEO: "frames", AUDIO: "samples"}  # names of the arrays of a stored clip
FULL_SCALE = {VIDEO: 255.0, AUDIO: 32767.0}  # of the uint8 and int16 in `video_folder` records
HELD_OUT = 128  # clips drawn for the split val, at most as many as training clips


@dataclasses.dataclass(frozen=True)
class Clips:
    """The training and validation clips of a tokenizer.

    Attributes:
        count: {"train" or "val": number of clips}.
        inputs: (split, index) -> the arrays of one clip by name, without a batch axis.
        render: batch of `inputs` -> frames [B,F,H,W,3] in [0,1], or samples [B,S] in [-1,1]. The
            frames of clips of n shots are split into their shots, [B n, F / n,H,W,3].
    """

    count: dict[str, int]
    inputs: Callable[[str, int], dict[str, np.ndarray]]
    render: Callable[[dict[str, jax.Array]], jax.Array]

    def batch(self, split: str, indices: Iterable[int]) -> dict[str, np.ndarray]:
        """Returns the `inputs` of clips stacked along a new batch axis, {name: [B, ...]}.

        Args:
            split: "train" or "val".
            indices: indices of the B clips in the split.
        """
        rows = [self.inputs(split, i) for i in indices]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def batches(self, batch_size: int, seed: int) -> grain.MapDataset:
        """Returns an endless data set of shuffled batches of the split train: {name: [B, ...]},
        the arrays of `batch`.

        Args:
            batch_size: B, clips per batch.
            seed: seed of the order.
        """
        order = grain.MapDataset.range(self.count["train"]).seed(seed).shuffle().repeat()
        # Endless, so there is no remainder; with one, the length of batches of 1 would overflow.
        return order.map(lambda i: self.inputs("train", int(i))).batch(
            batch_size, drop_remainder=True
        )


def open_clips(modality: str, source: NamedSource, selection: Selection, folder: Path) -> Clips:
    """Returns the clips of a source for one modality.

    Args:
        modality: VIDEO or AUDIO.
        source: the source, one of `named_sources.SOURCES`.
        selection: the training clips. The validation clips are those of the split val, at most
            HELD_OUT of them and at most as many as `selection.clips`.
        folder: folder into which the source may write files that it needs.

    Raises:
        UserError: the source has no split val, or, for audio, a split has no clip with audio.
    """
    single = dataclasses.replace(selection, batch_size=1)  # clips are read one by one, in any order
    train = source.open(single, folder)
    # An exact type, as a subclass may yield other clips than the folder's records.
    if type(train) is VideoFolderSource:
        return video_clips(modality, train.directory)
    validation = dataclasses.replace(single, split="val", clips=min(HELD_OUT, selection.clips))
    sources = {"train": train, "val": source.open(validation, folder)}
    rendered: dict[str, Any] = {
        split: source
        for split, source in sources.items()
        if type(source) is PlayhouseSource and _alike(modality, source)
    }
    if len(rendered) == len(sources):
        return _playhouse_clips(modality, rendered)
    return _whole_clips(modality, sources)


def _alike(modality: str, source: PlayhouseSource) -> bool:
    """True if the inputs of all clips have the same arrays and shapes, so that they stack."""
    return modality == AUDIO or FAMILIES[source.family].alike


def _playhouse_clips(modality: str, sources: dict[str, PlayhouseSource]) -> Clips:
    """Returns clips of scenes that the training step renders. Each scene is drawn once and cached.

    `sources` are the sources of the splits train and val.
    """
    prepare, show = PLAYHOUSE[modality]
    format = sources["train"].format

    @functools.cache
    def inputs(split: str, index: int) -> dict[str, np.ndarray]:
        source = sources[split]
        take = draw(source.split, index, family=source.family, style=source.style)
        return {name: x[0] for name, x in prepare([take], format).items()}

    def render_batch(batch: dict[str, jax.Array]) -> jax.Array:
        rendered = show(batch, format=format)
        return by_shots(rendered, format) if modality == VIDEO else rendered

    count = {split: len(source) for split, source in sources.items()}
    return Clips(count, inputs, render_batch)


def by_shots(frames: jax.Array, format: ClipFormat) -> jax.Array:
    """Splits clips of n shots into their shots, [B,F,...] -> [B n, F / n,...].

    This is needed because a tokenizer encodes each shot separately. `format` gives the shots; clips
    of a format without shots are returned unchanged.

    Raises:
        UserError: the shots have different lengths.
    """
    if not format.shots:
        return frames
    if len(set(format.shots)) > 1:
        raise UserError(
            f"shots of {', '.join(map(str, format.shots))} frames do not stack; give shots of one "
            "length",
            field="format",
        )
    return frames.reshape(-1, format.shots[0], *frames.shape[2:])


def video_clips(modality: str, directory: str | os.PathLike) -> Clips:
    """Returns the clips of a built `video_folder` set.

    Args:
        modality: VIDEO or AUDIO.
        directory: the folder of the set.

    Raises:
        UserError: the set has only one video and so no split val, or, for audio, a split has no
            clip with audio.
    """
    train, format = open_records(directory, "train")
    if "val" not in train.splits:
        raise UserError(
            f"the set in {directory} has only one video, and validation needs "
            "another one; give two or more"
        )
    records = {"train": train, "val": open_records(directory, "val")[0]}

    def read(split: str, index: int, name: str) -> np.ndarray:
        return records[split][index][name]

    count = {split: len(clips) for split, clips in records.items()}

    def audible(split: str) -> Iterable[bool]:
        return (bool(records[split][i]["has_audio"]) for i in range(count[split]))

    return _stored_clips(modality, count, read, audible, format, FULL_SCALE[modality])


def _whole_clips(modality: str, sources: dict[str, Source]) -> Clips:
    """Returns clips that are read from the sources of the splits one by one.

    A source renders or decodes each clip again in every epoch. For audio, this function also reads
    every source once from start to end, to learn which clips have audio.
    """

    def read(split: str, index: int, name: str) -> np.ndarray:
        return np.asarray(next(iter(sources[split](index)))[name][0], np.float32)

    def audible(split: str) -> Iterable[bool]:
        return (bool(flag) for batch in sources[split]() for flag in batch["has_audio"])

    count, format = {split: len(of) for split, of in sources.items()}, sources["train"].format
    return _stored_clips(modality, count, read, audible, format)


def _stored_clips(
    modality: str,
    count: dict[str, int],
    read: Callable[[str, int, str], np.ndarray],
    audible: Callable[[str], Iterable[bool]],
    format: ClipFormat,
    scale: float = 1.0,
) -> Clips:
    """Returns stored clips; for audio only those that have audio.

    Args:
        modality: VIDEO or AUDIO.
        count: {split: number of stored clips}.
        read: (split, index, name of an array) -> this array of a clip.
        audible: split -> for each clip in order, True if it has audio.
        format: the format of the clips, with their shots.
        scale: number by which `render` divides the arrays. Default 1.

    Raises:
        UserError: for audio, a split has no clip with audio.
    """
    name = ARRAYS[modality]
    selected = {
        split: list(range(n))
        if modality == VIDEO
        else [i for i, has_audio in enumerate(audible(split)) if has_audio]
        for split, n in count.items()
    }
    for split, indices in selected.items():
        if not indices:
            raise UserError(f"no clip of the split {split} has audio; give more clips with audio")

    def inputs(split: str, index: int) -> dict[str, np.ndarray]:
        return {name: read(split, selected[split][index], name)}

    def full_scale(batch: dict[str, jax.Array]) -> jax.Array:
        stored = jnp.asarray(batch[name], jnp.float32) / scale
        return by_shots(stored, format) if modality == VIDEO else stored

    return Clips({split: len(indices) for split, indices in selected.items()}, inputs, full_scale)
