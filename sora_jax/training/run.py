"""A run: everything that fixes what a training computes, as frozen dataclasses."""

import dataclasses

from sora_jax.data.named_sources import SOURCES
from sora_jax.flow.loss import FlowConfig
from sora_jax.modality import FORMATS
from sora_jax.models.st_dit import STDiTConfig
from sora_jax.parallel.mesh import MeshConfig
from sora_jax.training.loop import TrainConfig
from sora_jax.training.optim import OptimConfig
from sora_jax.training.watch import ProfileConfig, SampleConfig


@dataclasses.dataclass(frozen=True)
class ClipsConfig:
    """The source of clips that models and tokenizers train on.

    Attributes:
        source: a name of `data.named_sources.SOURCES`.
        path: of the user's files, where the source reads some.
        format: a name of `modality.FORMATS`.
    """

    source: str = "playhouse"
    path: str = ""
    format: str = "nano"

    def __post_init__(self):
        if self.source not in SOURCES:
            raise ValueError(f"source={self.source!r}; use {' or '.join(map(repr, SOURCES))}")
        if self.format not in FORMATS:
            raise ValueError(f"format={self.format!r}; use one of {', '.join(FORMATS)}")
        if self.source == "video_folder" and not self.path:
            raise ValueError("source='video_folder' needs a path to a folder of videos")


@dataclasses.dataclass(frozen=True)
class DataConfig(ClipsConfig):
    """What a model trains on; see `experiments/configs/playhouse_nano.py`.

    `path` may name latents of experiments.precompute, whatever the source.
    """

    clips: int = 2048  # at most, where the source draws them and path is empty
    # words of a prompt; a family of Playhouse has what its captions need
    text_length: int = 64
    # the next clip takes the place of one whose latents are not finite, or cannot be read; else the
    # run stops there
    skip_damaged: bool = False

    def __post_init__(self):
        super().__post_init__()
        for name in ("clips", "text_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; give at least 1")


@dataclasses.dataclass(frozen=True)
class Run:
    """Everything that fixes a run, apart from the weights it starts from; `mesh` says only on which
    devices, `profile` and `sample` what it shows.
    """

    model: STDiTConfig = STDiTConfig()
    flow: FlowConfig = FlowConfig()
    data: DataConfig = DataConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    mesh: MeshConfig = MeshConfig()
    profile: ProfileConfig = ProfileConfig()
    sample: SampleConfig = SampleConfig()

    def __post_init__(self):
        if self.flow.output != self.model.output:
            raise ValueError(
                f"model.output={self.model.output!r} and flow.output={self.flow.output!r} "
                "differ; set both alike"
            )
