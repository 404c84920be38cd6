"""The configuration of a training run, as frozen dataclasses."""

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
        path: the user's files, for a source that reads some.
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
            raise ValueError(
                "source='video_folder' needs a path: a folder of videos, or latents made of one"
            )


@dataclasses.dataclass(frozen=True)
class DataConfig(ClipsConfig):
    """The data that a model trains on; see `experiments/configs/playhouse_nano.py`.

    `path` may also name a set of latents made by experiments.precompute, with any source.

    Attributes:
        clips: the largest number of clips, for a source that draws them, if `path` is empty.
        text_length: words of a prompt, padded. A family of Playhouse overrides it with the length
            that its captions need.
        skip_damaged: True replaces a clip by the next one if its latents cannot be read or are not
            finite. By default the run stops at such a clip.
    """

    clips: int = 2048
    text_length: int = 64
    skip_damaged: bool = False

    def __post_init__(self):
        super().__post_init__()
        for name in ("clips", "text_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; give at least 1")


@dataclasses.dataclass(frozen=True)
class Run:
    """The configuration of a training run: everything but the weights it starts from.

    `mesh`, `profile` and `sample` do not change what is computed. `mesh` selects the devices,
    `profile` and `sample` select what is recorded of the run.
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
