"""The configuration of training data: one set of clips, or a mixture of several."""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from sora_jax.config import within
from sora_jax.data.named_sources import SOURCES, Selection
from sora_jax.modality import FITS, FORMATS, ClipFormat
from sora_jax.worlds.playhouse.families import FAMILIES

LABEL = r"[^\W_][\w.@-]*"  # safe as the name of a folder and within that of a metric


@dataclasses.dataclass(frozen=True)
class SetConfig:
    """One set of clips: a split of a source, in one format.

    Attributes:
        source: a name of `data.named_sources.SOURCES`. Default "playhouse", scenes rendered by this
            project.
        path: the user's files, for a source that reads files. Or, to train a model, a folder of
            latents made by experiments.precompute from any source.
        format: a name of `modality.FORMATS`. Default "nano". The next four change it.
        height, width: sides of a frame in pixels. Default 0: those of the format.
        fps: frames per second; 29.97 is 30000/1001. Default 0: that of the format.
        seconds: duration; the nearest one with whole latents is used. Default 0: that of the
            format, or of each of its shots.
        family, style: those of Playhouse's scenes. Default "room", in all styles of the family.
        split: the split that is trained on. Default "train".
        clips: the largest number of clips, for a source that draws them. Default 2048.
        fit: how the source `video_folder` fits frames of other proportions: "crop" (default), or
            "letterbox", whole between black bars. Frames of latents are fitted already, so leave
            the default for a folder of latents.
        label: names the set in metrics and folders. Default: its folder or family, and its format.
        weight: the set's share of the batches of a mixture, up to a factor. Default 1.
        batch_size: clips of a batch. Default 0: a batch then has as many latents as
            `train.batch_size` clips of the first set (`batch_sizes`).
    """

    source: str = "playhouse"
    path: str = ""
    format: str = "nano"
    height: int = 0
    width: int = 0
    fps: float = 0.0
    seconds: float = 0.0
    family: str = "room"
    style: str = ""
    split: str = "train"
    clips: int = 2048
    fit: str = "crop"
    label: str = ""
    weight: float = 1.0
    batch_size: int = 0

    def __post_init__(self):
        if self.source not in SOURCES:
            raise ValueError(f"source={self.source!r}; use {' or '.join(map(repr, SOURCES))}")
        if self.format not in FORMATS:
            raise ValueError(f"format={self.format!r}; use one of {', '.join(FORMATS)}")
        if self.family not in FAMILIES:
            raise ValueError(f"family={self.family!r}; use one of {', '.join(FAMILIES)}")
        if self.source == "video_folder" and not self.path:
            raise ValueError(
                "source='video_folder' needs a path: a folder of videos, or latents made of one"
            )
        if self.fit not in FITS:
            raise ValueError(f"fit={self.fit!r}; use {' or '.join(map(repr, FITS))}")
        if self.fit != FITS[0] and self.source == "playhouse":
            raise ValueError(f"fit={self.fit!r}: playhouse fits no frames; leave it out")
        if self.label and not re.fullmatch(LABEL, self.label):
            raise ValueError(
                f"label={self.label!r}; use letters, digits and . _ - @, beginning with a letter "
                "or digit"
            )
        for name, least in (("clips", 1), ("batch_size", 0), ("height", 0), ("width", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}; give at least {least}")
        within(self, "(0, inf)", "weight")
        within(self, "[0, inf)", "fps", "seconds")
        _ = self.clip_format  # raises ValueError

    @property
    def clip_format(self) -> ClipFormat:
        """The format of the clips: `format`, changed by `height`, `width`, `fps` and `seconds`."""
        return FORMATS[self.format].changed(self.height, self.width, self.fps, self.seconds)

    @property
    def name(self) -> str:
        """The name of the set in metrics and folders: `label`, or for example "film@nano" or
        "room@nano-96x64-24fps".
        """
        if self.label:
            return self.label
        clip = self.clip_format
        drawn = self.family if self.source == "playhouse" else self.source
        parts = [
            Path(self.path).name or drawn,
            self.style,
            self.split * (self.split != "train"),
        ]
        format = [
            self.format,
            f"{clip.width}x{clip.height}" * bool(self.height or self.width),
            f"{self.fps:g}fps" * bool(self.fps),
            f"{self.seconds:g}s" * bool(self.seconds),
            self.fit * (self.fit != FITS[0]),
        ]
        return f"{_joined(parts)}@{_joined(format)}"

    def selection(self) -> Selection:
        """Returns the clips that the set selects from its source."""
        return Selection(
            self.path,
            self.clip_format,
            self.clips,
            self.split,
            family=self.family,
            style=self.style or None,
            fit=self.fit,
        )


def _joined(parts: Iterable[str]) -> str:
    return "-".join(part for part in parts if part)


@dataclasses.dataclass(frozen=True)
class DataConfig(SetConfig):
    """The data of a training run: one set, or a mixture.

    Attributes:
        sets: the sets of a mixture. All other fields must then have their defaults. Default (): one
            set, which the other fields describe.
    """

    sets: tuple[SetConfig, ...] = ()

    def __post_init__(self):
        super().__post_init__()
        names = [one.name for one in self.sets]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"sets has {doubled[0]} twice; give it once, with a larger weight, or give one of "
                "the two a label"
            )
        default = SetConfig()
        for field in dataclasses.fields(SetConfig):
            value = getattr(self, field.name)
            if self.sets and value != getattr(default, field.name):
                raise ValueError(
                    f"{field.name}={value!r} beside sets; give it in an entry of sets instead"
                )

    @property
    def mixture(self) -> tuple[SetConfig, ...]:
        """All sets: `sets`, or the one set that the other fields describe."""
        return self.sets or (self,)

    @property
    def weights(self) -> dict[str, float]:
        """The share of the batches that each set provides, by name, up to a common factor."""
        return {one.name: one.weight for one in self.mixture}


@dataclasses.dataclass(frozen=True)
class ModelDataConfig(DataConfig):
    """The data that a model trains on; see `experiments/configs/playhouse_nano.py`.

    Attributes:
        text_length: words of a padded prompt. Default 64. A family of Playhouse's scenes has its
            own length, which replaces it.
        words: words that become known beside those of the initial weights, or without these of the
            families (`models.vocabulary`). Give words of the captions. Default: none.
        skip_damaged: True replaces a clip by the next one if its latents cannot be read or are not
            finite. By default the run stops at such a clip.
    """

    text_length: int = 64
    words: tuple[str, ...] = ()
    skip_damaged: bool = False

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "words", tuple(self.words))
        if self.text_length < 1:
            raise ValueError(f"text_length={self.text_length}; give at least 1")


def batch_sizes(data: DataConfig, batch_size: int, modality: str = "video") -> dict[str, int]:
    """Returns the clips of a batch of each set by name.

    A set without a `batch_size` of its own gets as many clips as have the latents of `batch_size`
    clips of the first set. So steps of all sets cost about the same.

    Args:
        data: the configuration.
        batch_size: clips of a batch of the first set.
        modality: the modality whose latents are counted, "video" (default) or "audio".
    """

    def size(format: ClipFormat) -> int:
        if modality == "audio":
            return format.audio_latents
        return format.video_latents * math.prod(format.latent_sides)

    first = size(data.mixture[0].clip_format)

    def clips(one: SetConfig) -> int:
        return one.batch_size or max(1, round(batch_size * first / size(one.clip_format)))

    return {one.name: clips(one) for one in data.mixture}


def published(data: Mapping) -> dict:
    """Returns the JSON values of a data configuration with only the last part of each path, because
    a published file must not reveal the folders above it.
    """
    sets = [{**one, "path": Path(one["path"]).name} for one in data.get("sets", ())]
    return {**data, "path": Path(data["path"]).name} | ({"sets": sets} if sets else {})
