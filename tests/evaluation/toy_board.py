"""A pipeline that makes grey clips, a scoreboard of it, and scores of clips that are at hand."""

import numpy as np

from sora_jax.clip import Clip
from sora_jax.evaluation import measuring, scoreboard
from sora_jax.evaluation.baselines import partners
from sora_jax.evaluation.cells import cell
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.modality import ClipFormat
from sora_jax.oracles.reading import Reading
from sora_jax.pipelines.generate import Pipeline

ROOM = {"source": "playhouse", "split": "train", "family": "room"}


class Grey(Pipeline):
    """Grey clips, darker for other seeds: what a model makes is not what is tested here."""

    def __init__(self):
        format = ClipFormat(frames=17, fps=8, height=16, width=16)
        super().__init__(*4 * [None], format, {"model": "grey"}, trained_on=ROOM)

    def generate_batch(self, requests, show):
        format = self.format
        frames = np.full((format.frames, format.height, format.width, 3), 0.5, np.float32)
        samples = np.zeros(format.samples, np.float32)
        return [Clip(frames / (1 + request.seed), samples, format.fps) for request in requests]


def files_of(folder):
    """{path in the folder: bytes} of all files."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def board(folder, pipeline=None, data=ROOM, clips=3, batch=2):
    """A scoreboard of the pipeline, or of `Grey`."""
    settings = {"seed": 0, "clips": clips, "batch": batch, "pool": 3, "sheets": 1}
    sampler = SamplerConfig(steps=1)
    return scoreboard.Scoreboard(folder, pipeline or Grey(), data, sampler, **settings)


def measure(suite, clips):
    """`measuring.measure` of all clips of a row."""
    row = [(clip, Reading(clip)) for clip in clips]
    others = partners([clip.take for clip in clips])
    return measuring.measure(suite, row.__getitem__, range(len(row)), others)


def scores(suite, clips):
    """{metric: cell} of all clips of a row."""
    measured = measure(suite, clips)
    return {name: cell(metric, name, measured) for name, metric in suite.metrics.items()}
