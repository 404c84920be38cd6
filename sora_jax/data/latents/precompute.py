"""How a set of latents is made: both tokenizers run once over a source of clips.

Training on the set then runs no tokenizer. A shard appears when it is whole: an interrupted
`precompute` continues after its last one. `record.py` describes the files.
"""

import json
import pathlib
from collections.abc import Iterator

import numpy as np
import tqdm
from array_record.python import array_record_module

from sora_jax import files
from sora_jax.data.encode import check_finite, encoder, padded
from sora_jax.data.latents.record import DESCRIPTION, pack, read_description
from sora_jax.errors import UserError

SHARD_CLIPS = 1024


def _shard_name(number: int) -> str:
    return f"latents-{number:05d}.array_record"


def _write_description(directory: pathlib.Path, description: dict) -> None:
    files.write(directory / DESCRIPTION, json.dumps(description, indent=1))


def refuse_others(out_dir, made_from: dict) -> dict | None:
    """The description in a folder that latents are to be written to, or None where there is nothing
    yet.

    Raises: UserError if it holds something else: no latents, or latents made from something else
    than `made_from` says.
    """
    directory = pathlib.Path(out_dir)
    if not (directory / DESCRIPTION).exists():
        if directory.is_dir() and any(directory.iterdir()):
            raise UserError(
                f"{directory} is not empty and holds no latents of ours; write to another folder"
            )
        return None
    there = read_description(directory)
    for name, wanted in made_from.items():
        if there.get(name) != wanted:
            raise UserError(
                f"{directory} holds latents with {name} {there.get(name)}, not {wanted}; "
                "delete it, or write to another folder"
            )
    return there


def precompute(
    source,
    video_tokenizer,
    audio_tokenizer,
    out_dir,
    fingerprints: dict[str, str],
    shard_clips: int = SHARD_CLIPS,
    progress: bool = True,
) -> dict:
    """Encode every clip of a source and write the set; returns its description.

    Args:
      source: `sources.PlayhouseSource` or `video_folder.VideoFolderSource`: has a length, a
        format and an identity, and source(start) yields batches from that clip on, always the same.
      fingerprints: {"video_tokenizer": ..., "audio_tokenizer": ...}, kept with the set and checked
        on reading.
      out_dir: a folder that is new, or holds an unfinished run with the same source, format and
        tokenizers: its whole shards are kept. A finished set grows if the source has become longer.

    Raises: UserError if out_dir holds something else, or the tokenizers give numbers that are not
    finite.
    """
    directory = pathlib.Path(out_dir)
    made_from = {
        "format": source.format.to_dict(),
        "tokenizers": dict(fingerprints),
        "shard_clips": shard_clips,
        **source.identity,
    }
    there = refuse_others(directory, made_from)
    if there and there["count"] > len(source):
        raise UserError(
            f"{directory} holds {there['count']} clips, more than the {len(source)} asked for; "
            "delete it, or write to another folder"
        )
    directory.mkdir(parents=True, exist_ok=True)

    sizes = [min(shard_clips, len(source) - start) for start in range(0, len(source), shard_clips)]
    description = {**made_from, "count": 0, "complete": False, "shards": []}
    whole = 0  # shards kept from an earlier run
    while whole < len(sizes) and _count(directory / _shard_name(whole)) == sizes[whole]:
        whole += 1
    description |= {"count": sum(sizes[:whole]), "shards": [_shard_name(i) for i in range(whole)]}
    if whole == len(sizes):
        description["complete"] = True
        if description != there:
            _write_description(directory, description)
        return description
    _write_description(directory, description)

    encode = encoder(video_tokenizer, audio_tokenizer)
    done = description["count"]
    records = _records(source, encode, done)
    with tqdm.tqdm(
        total=len(source), initial=done, unit="clip", desc="latents", disable=not progress
    ) as bar:
        for number in range(whole, len(sizes)):
            with files.replacing(directory / _shard_name(number)) as partial:
                # Uncompressed: f16 noise does not compress.
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
    """Number of records in a shard; 0 where there is none."""
    if not path.is_file():
        return 0
    reader = array_record_module.ArrayRecordReader(str(path), "readahead_buffer_size:0")
    count = reader.num_records()
    reader.close()
    return count


def _records(source, encode, start: int) -> Iterator[bytes]:
    """Packed records of the clips from `start` on.

    While a batch is on the device, the next one is drawn.
    """
    waiting, full = None, 0
    for batch in source(start):
        full = max(full, len(batch["keys"]))
        latents = encode(*padded(batch, full))
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
        yield pack(video[i], audio[i], batch["captions"][i], batch["has_audio"][i], key)
