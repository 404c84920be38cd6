"""Sources of clips by name: what `config.data.source` and --source may say.

A user adds one by registering a class with the members of `NamedSource` in SOURCES.
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


class Source(Protocol):
    """A stream of clips, as `data.sources` describes. `identity`: JSON values that name the data;
    a data set made from a source is refused where they differ.
    """

    format: ClipFormat
    identity: Mapping[str, Any]

    def __len__(self) -> int: ...

    def __call__(self, start: int = 0) -> Iterator[dict[str, Any]]:
        """Batches from clip number `start` on, always the same."""


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which clips of a source.

    Attributes:
        path: of the user's files, where the source has some.
        clips: at most, where the source draws them.
        split: "train", "val" or another that the source has.
        family, style: of the scenes of Playhouse.
        batch_size: clips at a time; workers: processes that draw them ahead.
    """

    path: str = ""
    format: ClipFormat = FORMATS["nano"]
    clips: int = 2048
    split: str = "train"
    family: str = "room"
    style: str | None = None
    batch_size: int = 32
    workers: int = 0


class NamedSource(Protocol):
    """A way from a `Selection` to a `Source`."""

    name: str

    @abc.abstractmethod
    def identify(self, selection: Selection) -> dict[str, Any]:
        """The `identity` of the source, computed before anything is made of it.

        Raises UserError where the data are not there.
        """

    @abc.abstractmethod
    def open(self, selection: Selection, folder: Path) -> Source:
        """The source. Files that it needs may be made in `folder`."""


class _Playhouse(NamedSource):
    name = "playhouse"

    def identify(self, selection):
        if selection.path:
            path = Path(selection.path).expanduser()
            raise UserError(
                f"no latents in {path}; make them with experiments.precompute --output={path}, "
                "or leave the path empty: playhouse draws its own scenes"
            )
        return sources.identity(selection.split, selection.family, selection.style)

    def open(self, selection, folder):
        s = selection
        return sources.PlayhouseSource(
            s.split, s.format, s.clips, s.batch_size, s.workers, s.family, s.style
        )


class _VideoFolder(NamedSource):
    """TensorFlow Datasets, which it needs, are slow to import: each method imports them when it is
    called.
    """

    name = "video_folder"

    def identify(self, selection):
        from sora_jax.data import video_folder  # slow

        path = Path(selection.path).expanduser()
        if not selection.path or not path.is_dir():
            raise UserError(
                f"{selection.path or 'an empty path'} is no directory; give a path to a folder of "
                "videos, or to a set of experiments.build_data"
            )
        made_of = video_folder.set_name(path, selection.format)
        return {"source": self.name, "split": selection.split, "set": made_of}

    def open(self, selection, folder):
        from sora_jax.data import video_folder  # slow

        made = video_folder.built_set(selection.path, folder, selection.format)
        return video_folder.VideoFolderSource(made, selection.split, selection.batch_size)


SOURCES: Registry[NamedSource] = Registry(
    "data source", NamedSource, (_Playhouse(), _VideoFolder())
)
