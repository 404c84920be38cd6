"""A plan of the clips of a folder of videos: files, start times, captions and splits.

`folder_scan` makes a plan, and a `video_folder` set is built from it. On disk it is JSON.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sora_jax import files
from sora_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class FilePlan:
    """The clips of one file.

    Attributes:
        captions: captions that all clips of the file have.
        split: "train" or "val".
        starts: start of each clip in the file, in seconds.
    """

    captions: tuple[str, ...]
    split: str
    starts: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class FolderPlan:
    """The clips of a folder.

    Attributes:
        folder: path of the folder with the videos.
        files: {name of a file relative to the folder: its clips}.
    """

    folder: str
    files: Mapping[str, FilePlan]

    def count(self, split: str) -> int:
        """Returns the number of clips of a split."""
        return sum(len(one.starts) for one in self.files.values() if one.split == split)

    def write(self, path: Path) -> None:
        """Writes the plan as JSON to the file `path`."""
        values = {name: dataclasses.asdict(one) for name, one in self.files.items()}
        text = json.dumps({"folder": self.folder, "files": values}, indent=1)
        files.write(path, text + "\n")


def read_plan(path: str | os.PathLike) -> FolderPlan:
    """Reads a plan that `FolderPlan.write` has written.

    Raises:
        UserError: the file is missing, or is no plan.
    """
    try:
        values: dict[str, Any] = json.loads(files.user_path(path).read_text(encoding="utf-8"))
        found = {
            name: FilePlan(tuple(one["captions"]), one["split"], tuple(one["starts"]))
            for name, one in values["files"].items()
        }
        return FolderPlan(values["folder"], found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is no plan of a folder ({error}); experiments.scan writes one", field="plan"
        ) from None
