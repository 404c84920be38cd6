"""What a tokenizer trains on: clips of one medium, from Playhouse or from the user's own videos.

A clip is made in two steps. The host prepares a few arrays of it, `inputs`; the compiled step turns
a batch of them into what the tokenizer takes, `render`: Playhouse's scenes are rendered there,
stored clips only scaled.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable

import grain
import jax
import jax.numpy as jnp
import numpy as np

from sora_jax.data import video_folder
from sora_jax.errors import UserError
from sora_jax.modality import ClipFormat
from sora_jax.worlds.playhouse import render, sound
from sora_jax.worlds.playhouse.draw import draw

VIDEO, AUDIO = "video", "audio"
PLAYHOUSE = {
    VIDEO: (render.render_inputs, render.render),
    AUDIO: (sound.sound_inputs, sound.synthesise),
}
STORED = {VIDEO: ("frames", 255.0), AUDIO: ("samples", 32767.0)}  # key of a record, full scale
HELD_OUT = 128  # Playhouse scenes of val, or as many as there are to train on


@dataclasses.dataclass(frozen=True)
class Clips:
    """count: clips of train and val. inputs(split, index): arrays of one clip. render(batch of
    inputs): frames [B,F,H,W,3] in [0,1], or samples [B,S] in [-1,1].
    """

    count: dict[str, int]
    inputs: Callable[[str, int], dict[str, np.ndarray]]
    render: Callable[[dict[str, jax.Array]], jax.Array]

    def batch(self, split: str, indices: Iterable[int]) -> dict[str, np.ndarray]:
        rows = [self.inputs(split, i) for i in indices]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def stream(self, batch_size: int, seed: int) -> grain.DatasetIterator:
        """Endless shuffled batches of inputs of train. The position is saved with checkpoints."""
        order = grain.MapDataset.range(self.count["train"]).seed(seed).shuffle().repeat()
        batches = order.map(lambda i: self.inputs("train", int(i))).batch(batch_size)
        return iter(
            batches.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=4))
        )


def playhouse_clips(medium: str, format: ClipFormat, scenes: int, family: str = "room") -> Clips:
    """The first scenes of a family; each is drawn when first needed, then kept."""
    prepare, show = PLAYHOUSE[medium]

    @functools.lru_cache(maxsize=None)
    def inputs(split, index):
        return {
            name: x[0] for name, x in prepare([draw(split, index, family=family)], format).items()
        }

    return Clips(
        {"train": scenes, "val": min(HELD_OUT, scenes)},
        inputs,
        functools.partial(show, format=format),
    )


def video_clips(medium: str, directory) -> Clips:
    """The clips of a built `video_folder` set; for sound those that have any.

    Raises:
        UserError: a split is missing (the set is of one video), or has no clip with sound.
    """
    key, scale = STORED[medium]
    train, _ = video_folder.open_records(directory, "train")
    if "val" not in train.splits:
        raise UserError(
            f"the set in {directory} is of one video, and a tokenizer is held against videos "
            "it has not seen; give two or more"
        )
    records = {"train": train, "val": video_folder.open_records(directory, "val")[0]}
    kept = {
        split: [i for i in range(len(of)) if medium == VIDEO or of[i]["has_audio"]]
        for split, of in records.items()
    }
    for split, indices in kept.items():
        if not indices:
            raise UserError(
                f"no clip of the split {split} in {directory} has sound; give more videos with "
                "sound"
            )

    def inputs(split, index):
        return {key: records[split][kept[split][index]][key]}

    def full_scale(batch):
        return jnp.asarray(batch[key], jnp.float32) / scale

    return Clips({split: len(indices) for split, indices in kept.items()}, inputs, full_scale)
