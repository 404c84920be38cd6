"""Makes a set of latents: runs both tokenizers once over a source of clips.

Training on the set then runs no tokenizer. The set is written in shards, files of SHARD_CLIPS
clips. A shard is renamed into place when it is complete, so an interrupted `precompute` continues
after the last complete shard. `record.py` describes the files.
"""

import json
import os
import pathlib
from collections.abc import Iterator

import numpy as np
import tqdm
from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue]
from flax import nnx

from sora_jax import files
from sora_jax.config import known_keywords
from sora_jax.data.encode import (
    Encode,
    EncodeReferences,
    check_finite,
    encoder,
    padded,
    reference_encoder,
)
from sora_jax.data.latents.record import DESCRIPTION, pack, read_description
from sora_jax.data.named_sources import Source
from sora_jax.errors import UserError

SHARD_CLIPS = 1024  # clips per shard


def _shard_name(number: int) -> str:
    return f"latents-{number:05d}.array_record"


def _write_description(directory: pathlib.Path, description: dict) -> None:
    files.write(directory / DESCRIPTION, json.dumps(description, indent=1))


def refuse_others(out_dir: str | os.PathLike, expected: dict) -> dict | None:
    """Checks that a folder can be written to, and returns the description of a set in it.

    Args:
      out_dir: the folder.
      expected: entries that the description (`dataset.json`) of a set in the folder must have.

    Returns:
      The description of the set of latents in the folder, or None if the folder is empty or
      missing.

    Raises:
      UserError: the folder holds other files, or latents with other entries than `expected`.
    """
    directory = files.user_path(out_dir)
    if not (directory / DESCRIPTION).exists():
        if os.path.lexists(directory) and not directory.is_dir():
            raise UserError(f"{directory} is a file; give a folder to write the latents to")
        if directory.is_dir() and any(not p.name.startswith(".") for p in directory.iterdir()):
            raise UserError(
                f"{directory} is not empty and holds no latents of ours; write to another folder"
            )
        return None
    existing = read_description(directory)
    for name, value in expected.items():
        if existing.get(name) != value:
            raise UserError(
                f"{directory} holds latents with {name} {existing.get(name)}, not {value}; "
                "delete it, or write to another folder"
            )
    return existing


@known_keywords
def precompute(
    source: Source,
    video_tokenizer: nnx.Module,
    audio_tokenizer: nnx.Module,
    out_dir: str | os.PathLike,
    fingerprints: dict[str, str],
    shard_clips: int = SHARD_CLIPS,
    progress: bool = True,
) -> dict:
    """Encodes every clip of a source, writes the set and returns its description.

    Args:
      source: a `named_sources.Source`, such as `sources.PlayhouseSource` or
        `video_records.VideoFolderSource`. It has a length, a format and an identity, and
        source(start) yields the same batches from that clip on at every call.
      video_tokenizer: the video tokenizer.
      audio_tokenizer: the audio tokenizer.
      out_dir: a new folder, or one with an unfinished set of the same source, format and
        tokenizers, whose complete shards are kept. A finished set grows if the source has become
        longer.
      fingerprints: fingerprints of the tokenizers, {"video_tokenizer": ..., "audio_tokenizer":
        ...}, stored with the set and checked on reading.
      shard_clips: clips per shard. Default: SHARD_CLIPS.
      progress: True, the default, shows a progress bar.

    Returns:
      The description of the set, the contents of `dataset.json`.

    Raises:
      UserError: out_dir holds other files or another set, or cannot be written, another process
        computes latents there, latents are not finite, or the video tokenizer does not fit the
        format.
    """
    directory = files.user_path(out_dir)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise files.cannot_write(directory, error) from None
    with files.locked(directory, "computing latents"):
        tokenizers = (video_tokenizer, audio_tokenizer)
        return _precompute(source, tokenizers, directory, fingerprints, shard_clips, progress)


def _precompute(
    source: Source,
    tokenizers: tuple[nnx.Module, nnx.Module],
    directory: pathlib.Path,
    fingerprints: dict[str, str],
    shard_clips: int,
    progress: bool,
) -> dict:
    identity = {
        "format": source.format.to_dict(),
        "tokenizers": dict(fingerprints),
        "shard_clips": shard_clips,
        **source.identity,
    }
    existing = refuse_others(directory, identity)
    if existing and existing["count"] > len(source):
        raise UserError(
            f"{directory} holds {existing['count']} clips, more than the {len(source)} asked for; "
            "delete it, or write to another folder"
        )

    sizes = [min(shard_clips, len(source) - start) for start in range(0, len(source), shard_clips)]
    description = {**identity, "count": 0, "complete": False, "shards": []}
    complete = 0  # shards kept from an earlier run
    while complete < len(sizes) and _count(directory / _shard_name(complete)) == sizes[complete]:
        complete += 1
    description |= {
        "count": sum(sizes[:complete]),
        "shards": [_shard_name(i) for i in range(complete)],
    }
    if complete == len(sizes):
        description["complete"] = True
        if description != existing:
            _write_description(directory, description)
        return description
    _write_description(directory, description)

    encode, referred = encoder(*tokenizers, source.format), reference_encoder(*tokenizers)
    done = description["count"]
    records = _records(source, encode, referred, done)
    with tqdm.tqdm(
        total=len(source),
        initial=done,
        unit="clip",
        desc=f"latents {source.identity.get('split', '')}",
        disable=not progress,
    ) as bar:
        for number in range(complete, len(sizes)):
            with files.replacing(directory / _shard_name(number)) as partial:
                # Uncompressed: float16 latents look like noise and do not compress.
                writer = array_record_module.ArrayRecordWriter(
                    str(partial), "group_size:1,uncompressed"
                )
                for _ in range(sizes[number]):
                    writer.write(next(records))
                    bar.update()
                writer.close()
            description["count"] += sizes[number]
            description["shards"].append(_shard_name(number))
            _write_description(directory, description)
    description["complete"] = True
    _write_description(directory, description)
    return description


def _count(path: pathlib.Path) -> int:
    """Returns the number of records in a shard; 0 if it does not exist."""
    if not path.is_file():
        return 0
    reader = array_record_module.ArrayRecordReader(str(path), "readahead_buffer_size:0")
    count = reader.num_records()
    reader.close()
    return count


def _records(
    source: Source, encode: Encode, referred: EncodeReferences, start: int
) -> Iterator[bytes]:
    """Yields the packed records of the clips from index `start` on.

    `encode` encodes clips, `referred` references. While the device encodes a batch, the host draws
    the next one.
    """
    waiting, full = None, 0
    for batch in source(start):
        full = max(full, len(batch["keys"]))
        latents = encode(*padded(batch, full))
        if "references" in batch:
            batch["references"] = referred(batch["references"], full)
        if latents["video"].shape[1] != source.format.video_latents:
            raise UserError(
                f"the video tokenizer makes {latents['video'].shape[1]} latents of "
                f"{source.format.frames} frames, and the clip format has "
                f"{source.format.video_latents} of {source.format.frames_per_latent} frames "
                "each; give a tokenizer trained on that format"
            )
        if waiting is not None:
            yield from _packed(*waiting)
        waiting = batch, latents
    if waiting is not None:
        yield from _packed(*waiting)


def _packed(batch: dict, latents: dict) -> Iterator[bytes]:
    check_finite(batch["keys"], latents)
    video, audio = (np.asarray(latents[name], np.float32) for name in ("video", "audio"))
    for i, key in enumerate(batch["keys"]):
        references = batch.get("references")
        own = references and {name: x[i] for name, x in references.items()}
        yield pack(video[i], audio[i], batch["captions"][i], batch["has_audio"][i], key, own)
