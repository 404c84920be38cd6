"""Sources of clips by name: what `config.data.source` may say.

A user adds one by registering a class with the members of `NamedSource` in SOURCES.
"""

import abc
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


class NamedSource(Protocol):
    """A way from the fields of a `DataConfig` (path, format, clips) to a `Source`."""

    name: str

    @abc.abstractmethod
    def identify(self, data: Any) -> dict[str, Any]:
        """What the data hold, found out before anything is made of them.

        Raises UserError where they are not there.
        """

    @abc.abstractmethod
    def open(self, data: Any, folder: Path) -> Source:
        """The source. Files that it needs may be made in `folder`."""


class _Playhouse(NamedSource):
    name = "playhouse"

    def identify(self, data):
        if data.path:
            path = Path(data.path).expanduser()
            raise UserError(
                f"no latents in {path}; make them with experiments.precompute --output={path}, "
                "or leave config.data.path empty"
            )
        return sources.identity("train")

    def open(self, data, folder):
        return sources.PlayhouseSource("train", FORMATS[data.format], data.clips)


class _VideoFolder(NamedSource):
    """`video_folder` needs TensorFlow Datasets and PyAV, which are slow to import: each method
    imports it when it is called.
    """

    name = "video_folder"

    def identify(self, data):
        from sora_jax.data import video_folder  # slow

        path = Path(data.path).expanduser()
        if not path.is_dir():
            raise UserError(
                f"config.data.path={path} is not a directory; give a folder of videos, or "
                "latents of experiments.precompute"
            )
        made_of = video_folder.set_name(path, FORMATS[data.format])
        return {"source": self.name, "split": "train", "set": made_of}

    def open(self, data, folder):
        from sora_jax.data import video_folder  # slow

        path = Path(data.path).expanduser()
        return video_folder.VideoFolderSource(
            video_folder.built_set(path, folder, FORMATS[data.format])
        )


SOURCES: Registry[NamedSource] = Registry(
    "data source", NamedSource, (_Playhouse(), _VideoFolder())
)
