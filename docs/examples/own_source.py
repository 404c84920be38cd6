"""A data source of your own: a bar crosses the frames while a tone rises.

    python -m experiments.train_tokenizer --import=docs/examples/own_source.py \
        --config=experiments/configs/audio_tokenizer.py --config.data.source=sweep \
        --workdir=runs/sweep_audio
    python -m experiments.precompute --import=docs/examples/own_source.py --source=sweep \
        --num_clips=1000 --output=data/sweep

A source is opened with a selection: split, format and number of clips. It yields batches of clips,
beginning with clip number `start`, so that an interrupted command can continue. Clip i of a split
must be the same every time.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sora_jax.data.named_sources import SOURCES, Selection
from sora_jax.modality import SAMPLE_RATE


@SOURCES.register
class Sweep:
    """The source called `sweep`."""

    name = "sweep"

    def identify(self, selection: Selection) -> dict[str, str]:
        """Returns JSON values that identify the set of clips of a selection."""
        return {"source": self.name, "split": selection.split}

    def open(self, selection: Selection, folder: Path) -> "SweepClips":
        """Returns the clips of the selection. A source may keep files in `folder`; this one has
        none.
        """
        return SweepClips(self.identify(selection), selection)


class SweepClips:
    """Clips of a bar of random colour that crosses the frames at constant speed."""

    def __init__(self, identity: dict[str, str], selection: Selection):
        self.identity, self.format, self.count = identity, selection.format, selection.clips
        self.split = selection.split

    def __len__(self) -> int:
        return self.count

    def __call__(self, start: int = 0) -> Iterator[dict]:
        """Yields batches of one clip, from clip number `start` on: {"frames": [1, F, H, W, 3] in
        [0, 1], "samples": [1, S] in [-1, 1], "has_audio": bool [1], "captions": of each clip, its
        paraphrases, "keys": names of the clips}.
        """
        format = self.format
        place = np.linspace(0, 1, format.frames)[:, None, None, None]
        column = np.linspace(0, 1, format.width)[None, None, :, None]
        seconds = np.arange(format.samples) / SAMPLE_RATE
        for i in range(start, self.count):
            rng = np.random.default_rng([i, self.split == "val"])
            bar = np.broadcast_to(
                np.abs(column - place) < 0.1, (format.frames, format.height, format.width, 1)
            )
            low = rng.uniform(200, 400)  # Hz, at the start; twice that at the end
            phase = 2 * np.pi * low * (seconds + seconds**2 / (2 * format.seconds))
            yield {
                "frames": np.where(bar, rng.random(3), 0.1)[None].astype(np.float32),
                "samples": 0.3 * np.sin(phase)[None].astype(np.float32),
                "has_audio": np.array([True]),
                "captions": [("a bar crosses",)],
                "keys": [f"sweep/{self.split}/{i}"],
            }
