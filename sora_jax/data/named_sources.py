"""The registry of data sources: the values of `config.data.source` and --source.

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
    """The protocol of a stream of clips, as `data.sources` describes it.

    Attributes:
        format: the format of the clips.
        identity: JSON values that identify the data. A set of latents made from a source with
            another identity is refused.
    """

    @property
    def format(self) -> ClipFormat: ...

    @property
    def identity(self) -> Mapping[str, Any]: ...

    def __len__(self) -> int: ...

    def __call__(self, start: int = 0) -> Iterator[dict[str, Any]]:
        """Yields batches from clip number `start` on, the same at every call."""
        ...


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which clips of a source to open, and how to batch them.

    A source ignores the fields that do not concern it.

    Attributes:
        path: folder or file of the user, for a source that reads some. Default "": none.
        format: the `ClipFormat` of the clips. Default: nano.
        references: whether batches have the references of the clips' characters, of a source that
            has any. Default False.
        clips: the largest number of clips, for a source that draws them. Default 2048.
        split: "train" (default), "val" or another split of the source.
        family: the family of Playhouse's scenes. Default "room".
        style: the style of Playhouse's scenes. Default None: all styles of the family.
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
    """The protocol of a registered source: it opens a `Source` of clips for a `Selection`."""

    name: str

    @abc.abstractmethod
    def identify(self, selection: Selection) -> dict[str, Any]:
        """Returns the `identity` of the clips that `open` would return, without opening them.

        Raises:
            UserError: the data do not exist.
        """

    @abc.abstractmethod
    def open(self, selection: Selection, folder: Path) -> Source:
        """Returns the clips of a selection as a `Source`. It may create the files that it needs in
        `folder`.
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
