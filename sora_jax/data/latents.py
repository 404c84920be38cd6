"""Latents computed once: what the diffusion model trains on, without the tokenizers in the step.

A set is a directory with `dataset.json` (clip format, fingerprints of both tokenizers, source,
counts) and array_record shards. A record is

    uint32 n | n bytes of JSON | f16 video | f16 audio                                           (1)
    JSON: {"video": [T,H,W,C], "audio": [N,C], "captions": [...], "has_audio": ..., "key": ...}

little endian, so that reading one is two views of a buffer. Latents have unit standard deviation
over the set, for which f16's 11 bits leave an error of 2e-4: far under the noise of any training
level.

A shard appears when it is whole: an interrupted `precompute` continues after its last one.
`make_loader` is the other end: a Grain iterator whose order and captions are a pure function of the
seed, with get_state and set_state.
"""

import dataclasses
import json
import pathlib
from collections.abc import Iterator, Sequence

import grain
import numpy as np
import tqdm
from absl import logging
from array_record.python import array_record_module

from sora_jax import files
from sora_jax.data.digest import digest
from sora_jax.data.encode import check_finite, encoder, padded
from sora_jax.errors import UserError
from sora_jax.modality import ClipFormat

SHARD_CLIPS = 1024
DESCRIPTION = "dataset.json"
# which scenes of Playhouse; rooms of every style say none of it
FAMILY = ("family", "family_version", "style")


def pack(video: np.ndarray, audio: np.ndarray, captions, has_audio: bool, key: str) -> bytes:
    """One record, layout (1). video [T,H,W,C] and audio [N,C] of any float type."""
    head = {
        "video": video.shape,
        "audio": audio.shape,
        "captions": list(captions),
        "has_audio": bool(has_audio),
        "key": key,
    }
    text = json.dumps(head, ensure_ascii=False).encode()
    return b"".join(
        [
            len(text).to_bytes(4, "little"),
            text,
            video.astype("<f2").tobytes(),
            audio.astype("<f2").tobytes(),
        ]
    )


def unpack(record: bytes) -> dict:
    """The inverse of `pack`; video and audio are read-only f16 views of the record."""
    start = 4 + int.from_bytes(record[:4], "little")
    fields = json.loads(record[4:start])
    count = int(np.prod(fields["video"]))
    fields["video"] = np.frombuffer(record, "<f2", count, start).reshape(fields["video"])
    fields["audio"] = np.frombuffer(record, "<f2", offset=start + 2 * count).reshape(
        fields["audio"]
    )
    return fields


def _shard_name(number: int) -> str:
    return f"latents-{number:05d}.array_record"


def _write_description(directory: pathlib.Path, description: dict) -> None:
    files.write(directory / DESCRIPTION, json.dumps(description, indent=1))


def _read_description(directory: pathlib.Path) -> dict:
    try:
        return json.loads((directory / DESCRIPTION).read_text())
    except FileNotFoundError:
        raise UserError(
            f"no latents in {directory}; make them with experiments.precompute --output={directory}"
        ) from None
    except (ValueError, OSError) as error:
        raise UserError(
            f"{directory / DESCRIPTION} cannot be read ({error}); make the latents again in "
            "another folder"
        ) from None


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
    there = _read_description(directory)
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


@dataclasses.dataclass(frozen=True)
class _Records:
    """The packed records of a set by number, none of them unfit: a number that is not finite would
    end in every weight of a model.
    """

    source: object
    directory: pathlib.Path
    skip_damaged: bool

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index) -> bytes:
        """Record `index`, or with skip_damaged the next that is fit.

        Raises UserError where it cannot be read, or is not finite.
        """
        for number in (
            (int(index) + i) % len(self) for i in range(len(self) if self.skip_damaged else 1)
        ):
            try:
                record = self.source[number]
                wrong = (
                    ""
                    if np.isfinite(
                        np.frombuffer(
                            record, "<f2", offset=4 + int.from_bytes(record[:4], "little")
                        )
                    ).all()
                    else "NaN or infinity"
                )
                name = unpack(record)["key"] if wrong else ""
            # array_record raises several kinds, also for a file that was cut or lost while open.
            except Exception as error:
                name, wrong = "", " ".join(str(error).split())[:100]
            if not wrong:
                return record
            told = (
                f"clip {number} {f'({name}) ' if name else ''}of the latents in "
                f"{self.directory} cannot be used: {wrong}"
            )
            if not self.skip_damaged:
                raise UserError(
                    f"{told}; bring the file back, or train without such clips: "
                    "config.data.skip_damaged=true"
                )
            logging.warning("%s; the next one takes its place", told)
        raise UserError(f"no clip of the latents in {self.directory} can be used; make them again")


def open_set(
    path,
    fingerprints: dict[str, str] | None = None,
    format: ClipFormat | None = None,
    skip_damaged: bool = False,
) -> tuple[grain.MapDataset, dict]:
    """The packed records of a set and its description.

    With skip_damaged the next record stands in for one that is not fit.

    Raises: UserError for a set that is missing, unfinished, damaged, or was made with other
    tokenizers or another format than those given; reading a record raises it too.
    """
    directory = pathlib.Path(path)
    there = _read_description(directory)
    if not there.get("complete"):
        raise UserError(
            f"the latents in {directory} are unfinished ({there.get('count', 0)} clips); run "
            "experiments.precompute again"
        )
    for name, wanted in (fingerprints or {}).items():
        found = there["tokenizers"].get(name)
        if found != wanted:
            raise UserError(
                f"the latents in {directory} were made by the {name} {found}, not {wanted}; "
                "run experiments.precompute anew"
            )
    if format is not None and ClipFormat(**there["format"]) != format:
        raise UserError(
            f"the latents in {directory} are of {ClipFormat(**there['format'])}, not {format}; "
            "run experiments.precompute anew"
        )
    shards = [str(directory / name) for name in there["shards"]]
    try:
        source = grain.sources.ArrayRecordDataSource(shards)
        count = len(source)
    except Exception as error:  # array_record raises several kinds for a missing or damaged file
        raise UserError(
            f"the latents in {directory} cannot be opened ({str(error)[:100]}); make them again"
        ) from error
    if count != there["count"]:
        raise UserError(
            f"the latents in {directory} hold {count} clips, not the {there['count']} of "
            f"{DESCRIPTION}; make them again"
        )
    return grain.MapDataset.source(_Records(source, directory, skip_damaged)), there


def identity(path) -> dict:
    """What a set holds, for the identity of a run that trains on it: source, split, count,
    tokenizers and a digest of its files.

    Raises: UserError for a set that is missing, unfinished or damaged.
    """
    directory, (_, there) = pathlib.Path(path), open_set(path)
    if there.get("source") == "playhouse" and "family" not in there:
        raise UserError(
            f"the latents in {directory} do not say of which family they are; make them again "
            "with experiments.precompute"
        )
    known = {
        name: there[name]
        for name in ("source", "split", "count", "tokenizers", *FAMILY)
        if name in there
    }
    return known | {
        "digest": digest(directory, [directory / name for name in (DESCRIPTION, *there["shards"])])
    }


class _Example(grain.transforms.RandomMap):
    """A record as arrays, with one of its captions, each as likely."""

    def random_map(self, element: bytes, rng: np.random.Generator) -> dict:
        fields = unpack(element)
        captions = fields["captions"] or [""]
        fields["caption"] = captions[int(rng.integers(len(captions)))]
        return fields


@dataclasses.dataclass(frozen=True)
class _Batch:
    """Examples -> the model's batch, f32."""

    text_tokenizer: object

    def __call__(self, examples: list[dict]) -> dict[str, np.ndarray]:
        tokens, mask = self.text_tokenizer([e["caption"] for e in examples])
        return {
            "video": np.stack([e["video"] for e in examples]).astype(np.float32),
            "audio": np.stack([e["audio"] for e in examples]).astype(np.float32),
            "tokens": np.asarray(tokens),
            "text_mask": np.asarray(mask),
            "has_audio": np.array([e["has_audio"] for e in examples], bool),
        }


def make_loader(
    path,
    text_tokenizer,
    batch_size: int,
    seed: int,
    shuffle: bool = True,
    repeat: int | None = None,
    fingerprints: dict[str, str] | None = None,
    format: ClipFormat | None = None,
    rows: Sequence[int] | None = None,
    skip_damaged: bool = False,
) -> grain.DatasetIterator:
    """Batches of a set for training: {"video","audio","tokens","text_mask","has_audio"}, NumPy,
    float32.

    Args:
      text_tokenizer: list of B captions -> (tokens int32 [B,L], mask bool [B,L]).
      shuffle: an order of its own for every pass, from the seed; False keeps the set's.
      repeat: passes; None never ends. Passes run into each other, and only full batches are given.
      fingerprints, format: refuse a set made with others.
      rows: of each batch, those to read and give, in order; None: all. Processes that train
        together share a batch out so (`processes.rows_here`), and read no clip that is not theirs.
      skip_damaged: as of `open_set`.

    The iterator's get_state() and set_state() move it exactly: the batches after set_state are
    bitwise those that followed get_state. The state counts batches, whatever rows are taken of
    them.
    """
    records, there = open_set(path, fingerprints, format, skip_damaged)
    if there["count"] < batch_size and repeat is not None:
        raise UserError(
            f"the latents in {path} hold {there['count']} clips, fewer than a batch of "
            f"{batch_size}; take a smaller batch"
        )
    records = records.seed(seed)
    if shuffle:
        records = records.shuffle()
    records, size = records.repeat(repeat).random_map(_Example()), batch_size
    if rows is not None:
        whole, size = records, len(rows)
        records = grain.MapDataset.range(len(whole) // batch_size * size)
        records = records.map(lambda i: whole[int(i) // size * batch_size + rows[int(i) % size]])
    records = records.batch(size, drop_remainder=True, batch_fn=_Batch(text_tokenizer))
    # One thread reads ahead: a batch takes a few ms, and two cores have better things to do.
    return iter(records.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)))
