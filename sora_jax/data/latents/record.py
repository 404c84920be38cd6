"""The file format of a set of latents, and checked reading.

A set is a directory with `dataset.json` (its description: clip format, fingerprints of both
tokenizers, source, counts) and array_record files, the shards. A record is one clip:

    uint32 n | n bytes of JSON | f16 video | f16 audio | f16 stills | f16 voices
    JSON: {"video": [T,H,W,C], "audio": [N,C], "captions": [...], "has_audio": ..., "key": ...}

The lists of numbers in the JSON are shapes. Stills and voices, and an entry "references" of the
JSON, are there only for a clip with references (stills and voice samples of its characters, encoded
to latents): {"stills": [R,V,H,W,C], "voices": [R,n,C], "names", "present", "heard": R values each}.

All numbers are little endian, so arrays are read as views of a record without copies. Latents
have unit standard deviation over the set. The 11 significant bits of f16 leave an error of
2e-4, far below the noise of any level in training.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, SupportsIndex

import grain
import numpy as np
from absl import logging

from sora_jax.data.digest import digest
from sora_jax.errors import UserError
from sora_jax.modality import ClipFormat

DESCRIPTION = "dataset.json"
# Entries of the description that identify scenes of Playhouse. A set of all styles has no `style`.
FAMILY = ("family", "family_version", "style", "references")


def pack(
    video: np.ndarray,
    audio: np.ndarray,
    captions: Iterable[str],
    has_audio: bool,
    key: str,
    references: Mapping[str, Any] | None = None,
) -> bytes:
    """Returns one clip of a set as bytes: a JSON header, then latents in float16.

    Args:
        video: latents [T,H,W,C] of any float dtype.
        audio: latents [N,C] of any float dtype.
        captions: captions of the clip.
        has_audio: False if the clip has no audio.
        key: name of the clip, unique in the set.
        references: the references of R characters: latents "stills" [R,V,H,W,C] and "voices"
            [R,n,C]; "present" and "heard" bool [R], True where a slot holds a character, and where
            it has a voice; "names" of the characters. Default: None, the clip has no references.
    """
    head: dict[str, Any] = {
        "video": video.shape,
        "audio": audio.shape,
        "captions": list(captions),
        "has_audio": bool(has_audio),
        "key": key,
    }
    latents = [video, audio]
    if references is not None:
        latents += [references["stills"], references["voices"]]
        head["references"] = {
            "stills": references["stills"].shape,
            "voices": references["voices"].shape,
            "names": list(references["names"]),
            "present": list(map(bool, references["present"])),
            "heard": list(map(bool, references["heard"])),
        }
    text = json.dumps(head, ensure_ascii=False).encode()
    values = (x.astype("<f2").tobytes() for x in latents)
    return b"".join([len(text).to_bytes(4, "little"), text, *values])


def unpack(record: bytes) -> dict:
    """Returns a dict with the arguments of `pack` as keys, from its result.

    Latents are read-only float16 views of the record. A clip without references has no such key.
    """
    start = 4 + int.from_bytes(record[:4], "little")
    fields = json.loads(record[4:start])
    references = fields.get("references", {})
    parts = [(fields, "video"), (fields, "audio"), (references, "stills"), (references, "voices")]
    for of, name in parts:
        if name in of:
            count = int(np.prod(of[name]))
            of[name] = np.frombuffer(record, "<f2", count, start).reshape(of[name])
            start += 2 * count
    return fields


def read_description(directory: pathlib.Path) -> dict:
    """Returns the contents of `dataset.json`, the description of the set of latents in a directory.

    Raises:
        UserError: the file is missing or cannot be read.
    """
    try:
        return json.loads((directory / DESCRIPTION).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"no latents in {directory}; make them with experiments.precompute --output={directory}"
        ) from None
    except (ValueError, OSError) as error:
        raise UserError(
            f"{directory / DESCRIPTION} cannot be read ({error}); make the latents again in "
            "another folder"
        ) from None


@dataclasses.dataclass(frozen=True)
class _Records:
    """The packed records of a set as a sequence, checked for finite latents on reading.

    The check is needed because one NaN would make every weight of a model NaN.

    Attributes:
        source: the packed records.
        directory: folder of the set, for messages.
        skip_damaged: True to return the next record in place of a damaged one.
    """

    source: Sequence[bytes]
    directory: pathlib.Path
    skip_damaged: bool

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: SupportsIndex) -> bytes:
        """Returns record `index`; with skip_damaged, the first undamaged record from there on.

        Raises:
            UserError: the record cannot be read or is not finite; with skip_damaged, all are so.
        """
        for number in (
            (int(index) + i) % len(self) for i in range(len(self) if self.skip_damaged else 1)
        ):
            try:
                record = self.source[number]
                reason = (
                    ""
                    if np.isfinite(
                        np.frombuffer(
                            record, "<f2", offset=4 + int.from_bytes(record[:4], "little")
                        )
                    ).all()
                    else "NaN or infinity"
                )
                name = unpack(record)["key"] if reason else ""
            # array_record raises several types, also if a file was truncated or lost while open.
            except Exception as error:
                name, reason = "", " ".join(str(error).split())[:100]
            if not reason:
                return record
            message = (
                f"clip {number} {f'({name}) ' if name else ''}of the latents in "
                f"{self.directory} cannot be used: {reason}"
            )
            if not self.skip_damaged:
                raise UserError(
                    f"{message}; bring the file back, or train without such clips: "
                    "config.data.skip_damaged=true"
                )
            logging.warning("%s; the next one takes its place", message)
        raise UserError(f"no clip of the latents in {self.directory} can be used; make them again")


def _format(directory: pathlib.Path, description: Mapping[str, Any]) -> ClipFormat:
    try:
        return ClipFormat.from_dict(description["format"])
    except (ValueError, TypeError) as error:
        raise UserError(
            f"the latents in {directory} have a format of another version ({error}); run "
            "experiments.precompute anew"
        ) from None


def open_set(
    path: str | os.PathLike,
    fingerprints: Mapping[str, str] | None = None,
    format: ClipFormat | None = None,
    skip_damaged: bool = False,
) -> tuple[grain.MapDataset, dict]:
    """Returns (packed records of a set of latents, the description of the set).

    Args:
        path: the folder of the set.
        fingerprints: {"video_tokenizer" or "audio_tokenizer": expected fingerprint}. Default: not
            checked.
        format: expected clip format. Default: not checked.
        skip_damaged: True to return the next record in place of one that cannot be read or is not
            finite. Default False: reading such a record raises UserError.

    Raises:
        UserError: the set is missing, unfinished or damaged, or was made with other tokenizers or
            another format.
    """
    directory = pathlib.Path(path)
    description = read_description(directory)
    if not description.get("complete"):
        raise UserError(
            f"the latents in {directory} are unfinished ({description.get('count', 0)} clips); run "
            "experiments.precompute again"
        )
    for name, expected in (fingerprints or {}).items():
        found = description["tokenizers"].get(name)
        if found != expected:
            raise UserError(
                f"the latents in {directory} were made by the {name} {found}, not {expected}; "
                "run experiments.precompute anew"
            )
    if format is not None and (stored := _format(directory, description)) != format:
        raise UserError(
            f"the latents in {directory} have the format {stored}, not {format}; "
            "run experiments.precompute anew"
        )
    shards = [str(directory / name) for name in description["shards"]]
    try:
        source: Any = grain.sources.ArrayRecordDataSource(shards)
        count = len(source)
    except Exception as error:  # array_record raises several types for a missing or damaged file
        raise UserError(
            f"the latents in {directory} cannot be opened ({str(error)[:100]}); make them again"
        ) from error
    if count != description["count"]:
        raise UserError(
            f"the latents in {directory} hold {count} clips, not the {description['count']} of "
            f"{DESCRIPTION}; make them again"
        )
    return grain.MapDataset.source(_Records(source, directory, skip_damaged)), description


def identity(path: str | os.PathLike) -> dict:
    """Returns JSON values that identify the set of latents in a folder.

    They are a part of the identity of a training run, which is not continued with other data. The
    keys are "source", "split", "count", "tokenizers", those of FAMILY, and "digest", a hash of the
    files.

    Raises:
        UserError: the set is missing, unfinished or damaged.
    """
    directory, (_, description) = pathlib.Path(path), open_set(path)
    if description.get("source") == "playhouse" and "family" not in description:
        raise UserError(
            f"the latents in {directory} do not say of which family they are; make them again "
            "with experiments.precompute"
        )
    entries = {
        name: description[name]
        for name in ("source", "split", "count", "tokenizers", *FAMILY)
        if name in description
    }
    return entries | {
        "digest": digest(
            directory, [directory / name for name in (DESCRIPTION, *description["shards"])]
        )
    }
