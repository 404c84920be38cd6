"""Reads built `video_folder` sets (clips of a user's videos): single records, or as a stream."""

import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from sora_jax.data.tfds_sets import open_source
from sora_jax.errors import UserError
from sora_jax.modality import ClipFormat


class Records:
    """A sequence of the records of one split of a built set.

    Each record is a dict of "frames": uint8 [F,H,W,3], "samples": int16 [S], "has_audio",
    "captions": a tuple of texts, ("",) without any, "key": name of the file and number of the clip,
    "start" in seconds, and "notes": a tuple of irregularities.

    Attributes:
        fingerprint: the name of the set, which identifies its contents.
        splits: names of all splits of the set.
        fit: how its frames were fitted, one of `modality.FITS`.
    """

    def __init__(self, source: Any, fingerprint: str):
        self.fit = source.dataset_info.metadata.get("fit", "crop")
        self._source, self.fingerprint, self.splits = (
            source,
            fingerprint,
            tuple(source.dataset_info.splits),
        )

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict:
        record = dict(self._source[int(index)])
        record["captions"] = tuple(c.decode() for c in record["captions"]) or ("",)
        record["notes"] = tuple(n.decode() for n in record["notes"])
        record["key"] = record["key"].decode()
        return record


def open_records(directory: str | os.PathLike, split: str = "train") -> tuple[Records, ClipFormat]:
    """Returns (records of one split, format of the clips) of a built `video_folder` set.

    Args:
        directory: the folder that holds dataset_info.json.
        split: name of the split. Default "train".

    Raises:
        UserError: the set or the split does not exist, or an earlier version has made the set.
    """
    directory = pathlib.Path(directory).resolve()
    source = open_source(directory, split, "video_folder")
    metadata = source.dataset_info.metadata
    if "format" not in metadata:
        raise UserError(
            f"the set in {directory} was made by an earlier version; build it again with "
            "experiments.build_data"
        )
    return Records(source, directory.parent.name), ClipFormat.from_dict(metadata["format"])


class VideoFolderSource:
    """A stream of the clips of a built `video_folder` set, a `named_sources.Source`.

    Args:
        directory: the folder that holds dataset_info.json.
        split: name of the split. Default "train".
        batch_size: clips per batch. Default 32.

    Raises:
        UserError: the set or the split does not exist, or an earlier version has made the set.
    """

    def __init__(self, directory: str | os.PathLike, split: str = "train", batch_size: int = 32):
        self.records, self.format = open_records(directory, split)
        self.directory, self.batch_size = pathlib.Path(directory), batch_size
        self.identity = {
            "source": "video_folder",
            "split": split,
            "set": str(self.records.fingerprint),
        }

    def __len__(self) -> int:
        return len(self.records)

    def __call__(self, start: int = 0) -> Iterator[dict]:
        """Yields batches from the clip with the index `start` on, in the order of the set."""
        for first in range(start, len(self), self.batch_size):
            yield self.batch(range(first, min(first + self.batch_size, len(self))))

    def batch(self, indices: Sequence[int]) -> dict:
        """Returns the clips with these indices as a batch: a dict of "frames", "samples",
        "has_audio", "captions" and "keys", as `data.sources` describes it.
        """
        records = [self.records[i] for i in indices]
        return {
            "frames": np.stack([r["frames"] for r in records]).astype(np.float32) / 255.0,
            "samples": np.stack([r["samples"] for r in records]).astype(np.float32) / 32767.0,
            "has_audio": np.array([r["has_audio"] for r in records], bool),
            "captions": [r["captions"] for r in records],
            "keys": [r["key"] for r in records],
        }
