"""SOURCES, the registry of data sources. Its names are values of `config.data.source` and --source.

To add a source, register an object with the members of `NamedSource` in SOURCES
(`docs/examples/own_source.py`).
"""

import abc
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from sora_jax.data import sources
from sora_jax.errors import UserError
from sora_jax.modality import FORMATS, ClipFormat
from sora_jax.registry import Registry
from sora_jax.worlds.playhouse.families import FAMILIES


class Source(Protocol):
    """The protocol of a stream of clips. `len` is its number of clips.

    Calling it with the index of a clip, default 0, yields batches from that clip on. A batch is a
    dict of "frames", "samples", "has_audio", "captions" and "keys", as `data.sources` describes it.

    Attributes:
        format: the format of the clips.
        identity: JSON values that identify the data. A set of latents stores them, and is not
            continued with a source of another identity.
    """

    @property
    def format(self) -> ClipFormat: ...

    @property
    def identity(self) -> Mapping[str, Any]: ...

    def __len__(self) -> int: ...

    def __call__(self, start: int = 0) -> Iterator[dict[str, Any]]:
        """Yields batches from the clip with the index `start` on, the same at every call."""
        ...


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which clips of a source to open, and how to batch them.

    A source ignores the fields that it does not need.

    Attributes:
        path: folder or file of the user, for a source that reads one. Default "": none.
        format: the `ClipFormat` of the clips. Default: nano.
        references: True if batches have the references of characters (stills and a voice sample),
            for a source that has any. Default False.
        clips: the number of clips, for a source that draws them. Default 2048.
        split: "train" (default), "val" or another split of the source.
        family: the family (kind of scenes) of a Playhouse source. Default "room".
        style: the style of its scenes. Default None: all styles of the family.
        batch_size: clips per batch. Default 32.
        workers: processes that draw clips ahead. Default 0: this process draws them.
        fit: how frames of the user's videos are fitted, "crop" (default) or "letterbox".
    """

    path: str = ""
    format: ClipFormat = FORMATS["nano"]
    clips: int = 2048
    split: str = "train"
    family: str = "room"
    style: str | None = None
    batch_size: int = 32
    workers: int = 0
    fit: str = "crop"
    references: bool = False


class NamedSource(Protocol):
    """The protocol of a registered source, which opens a stream of clips for a `Selection`.

    Attributes:
        name: its name in SOURCES.
    """

    name: str

    @abc.abstractmethod
    def identify(self, selection: Selection) -> dict[str, Any]:
        """Returns the `Source.identity` of what `open` would return, without opening it.

        Raises:
            UserError: the data do not exist, or a field of the selection does not fit the source.
        """

    @abc.abstractmethod
    def open(self, selection: Selection, folder: Path) -> Source:
        """Returns the clips of a selection as a `Source`.

        The source may write files that it needs into `folder`, such as a built data set.

        Raises:
            UserError: the data do not exist, or do not fit the selection.
        """


class _Playhouse(NamedSource):
    name = "playhouse"

    def identify(self, selection: Selection) -> dict[str, Any]:
        if selection.path:
            path = Path(selection.path).expanduser()
            raise UserError(
                f"no latents in {path}; make them with experiments.precompute --output={path}, "
                "or leave the path empty: playhouse draws its own scenes"
            )
        if selection.fit != "crop":
            raise UserError(
                f"fit={selection.fit}: playhouse renders its scenes in the format and fits none; "
                "leave it out",
                field="fit",
            )
        known = sources.identity(selection.split, selection.family, selection.style)
        slots = FAMILIES[selection.family].max_cast if selection.references else 0
        return {**known, "references": slots} if slots else known

    def open(self, selection: Selection, folder: Path) -> Source:
        s = selection
        return sources.PlayhouseSource(
            s.split, s.format, s.clips, s.batch_size, s.workers, s.family, s.style, s.references
        )


class _VideoFolder(NamedSource):
    """The source `video_folder`.

    Its module imports TensorFlow Datasets, which is slow, so each method imports it when called.
    """

    name = "video_folder"

    def identify(self, selection: Selection) -> dict[str, Any]:
        from sora_jax.data import video_folder  # slow

        path = Path(selection.path).expanduser()
        if not selection.path or not path.is_dir():
            raise UserError(
                f"{selection.path or 'an empty path'} is no directory; give a path to a folder of "
                "videos, or to a set of experiments.build_data"
            )
        name = video_folder.set_name(path, selection.format, selection.fit)
        return {"source": self.name, "split": selection.split, "set": name}

    def open(self, selection: Selection, folder: Path) -> Source:
        from sora_jax.data import video_folder, video_records  # slow

        directory = video_folder.built_set(selection.path, folder, selection.format, selection.fit)
        return video_records.VideoFolderSource(directory, selection.split, selection.batch_size)


SOURCES: Registry[NamedSource] = Registry(
    "data source", NamedSource, (_Playhouse(), _VideoFolder())
)
