"""TFDS set `video_folder`: a directory of the user's own videos as clips of one format.

    python -m experiments.build_data --set=video_folder --path=MY_VIDEOS --data_dir=DIR

Every .mp4, .mov, .m4v, .webm, .mkv, .avi below the directory is read through PyAV: any size, frame
rate, length and channel count, with or without sound. A long file gives consecutive clips, a short
one holds its last frame (`media.fit_clip` says what is done to a clip). Captions lie beside a video
under the same name: `ball.txt` (a line is a paraphrase), or `ball.json` (a string, a list of
strings, or an object with "captions", "caption" or "prompt", the key that experiments.sample
writes); without one the caption is empty, which trains the unconditional model.

A record holds frames uint8 [F,size,size,3], samples int16 [S], has_audio, captions, key (file and
clip number), start (s) and notes. A file that cannot be read is skipped: `report.json` beside the
data counts and names it with the reason, and the build goes on. A silent file is kept with
has_audio False, and the loss leaves its sound out. One file in ten, by hash of its name relative to
the directory, is `val`, all its clips together; with two readable files or more each split gets at
least one.
"""

import hashlib
import json
import pathlib
import re
import sys
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow_datasets as tfds
import tqdm

from sora_jax import files, media, mp4
from sora_jax.data.digest import digest
from sora_jax.data.tfds_sets import make_builder, open_source, prepare
from sora_jax.errors import UserError
from sora_jax.modality import FORMATS, ClipFormat

EXTENSIONS = (".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi")
VAL_SHARE = 0.1


class VideoFolderConfig(tfds.core.BuilderConfig):
    """Which directory, into which format, and at most how many consecutive clips of one file."""

    def __init__(
        self, path: str = "", format: ClipFormat = FORMATS["nano"], clips_per_file: int = 16
    ):
        folder = pathlib.Path(path).expanduser().resolve()
        wanted = f"{format} {clips_per_file} {contents(folder) if path else ''}"
        slug = re.sub(r"\W+", "_", folder.name).strip("_").lower() or "videos"
        # The name is the set's folder: other files, another format, another set.
        super().__init__(
            name=f"{slug}_{hashlib.sha256(wanted.encode()).hexdigest()[:8]}",
            description=f"clips of {folder.name}, {format}",
        )
        self.path, self.format, self.clips_per_file = folder, format, clips_per_file


def find_videos(folder: pathlib.Path) -> list[pathlib.Path]:
    """The video files below a directory, in the order of their names."""
    return sorted(
        p
        for p in folder.rglob("*")
        if p.suffix.lower() in EXTENSIONS and p.is_file() and not p.name.startswith(".")
    )


def contents(folder: pathlib.Path) -> str:
    """The digest of the videos and captions below a directory: a changed one makes another set."""
    beside = (
        f
        for video in find_videos(folder)
        for f in (video, video.with_suffix(".txt"), video.with_suffix(".json"))
    )
    return digest(folder, {f for f in beside if f.is_file()})


def set_name(path: str | pathlib.Path, format: ClipFormat) -> str:
    """The name of the set in a folder: of a built one, or that which `build` would give a directory
    of videos. It tells the contents.
    """
    folder = pathlib.Path(path).expanduser().resolve()
    return (
        folder.parent.name
        if (folder / "dataset_info.json").is_file()
        else VideoFolderConfig(str(folder), format).name
    )


def read_captions(video: pathlib.Path) -> list[str]:
    """The captions beside a video; [] without any.

    Raises UserError for a caption file that cannot be understood.
    """
    text, data = video.with_suffix(".txt"), video.with_suffix(".json")
    try:
        if data.is_file():
            value = json.loads(data.read_text("utf-8-sig"))
            if isinstance(value, dict):
                value = next(
                    (value[key] for key in ("captions", "caption", "prompt") if key in value), None
                )
            lines = [value] if isinstance(value, str) else value
            if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
                raise UserError(
                    f"{data} holds no caption; write a string, a list of strings, or "
                    '{"caption": "..."}'
                )
        elif text.is_file():
            lines = text.read_text("utf-8-sig").splitlines()
        else:
            lines = []
    except (ValueError, OSError) as error:  # not JSON, not UTF-8, not readable
        raise UserError(
            f"cannot read the caption {data if data.is_file() else text} ({str(error)[:80]}); "
            "save it as UTF-8"
        ) from error
    return [" ".join(line.split()) for line in lines if line.strip()]


def read_clips(video: pathlib.Path, format: ClipFormat, clips_per_file: int):
    """Yield (start in seconds, Clip) for the consecutive clips of a file: at least one, no
    short one after the first.
    """
    for number in range(clips_per_file):
        start = number * format.seconds
        try:
            window = media.read_video(
                video, start=start, seconds=format.seconds, short_side=2 * format.size
            )
        except media.EndOfFile:
            if number == 0:
                raise
            return
        if number and window.seconds < format.seconds - 0.5 / format.fps:
            return
        yield start, media.fit_clip(window, format)


class VideoFolder(tfds.core.GeneratorBasedBuilder):
    """Clips of a directory of videos."""

    name = "video_folder"
    # no downloads, so no checksums: to look for them TFDS 4.9.10 imports a package it does not
    # require
    code_path = None
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        clip = self.builder_config.format
        features = {
            "frames": tfds.features.Tensor(
                shape=(clip.frames, clip.size, clip.size, 3), dtype=np.uint8, encoding="bytes"
            ),
            "samples": tfds.features.Tensor(
                shape=(clip.samples,), dtype=np.int16, encoding="bytes"
            ),
            "has_audio": tfds.features.Scalar(np.bool_),
            "captions": tfds.features.Sequence(tfds.features.Text()),
            "key": tfds.features.Text(),
            "start": tfds.features.Scalar(np.float32),
            "notes": tfds.features.Sequence(tfds.features.Text()),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(frames=clip.frames, fps=clip.fps, size=clip.size),
        )

    def _split_generators(self, dl_manager):
        folder, settings = self.builder_config.path, self.builder_config
        if not folder.is_dir():
            raise UserError(f"no directory {folder}; give the folder that holds your videos")
        videos = find_videos(folder)
        if not videos:
            raise UserError(
                f"no video in {folder}; it should hold files ending in {', '.join(EXTENSIONS)}"
            )
        self.report = {
            "files": len(videos),
            "clips": {},
            "silent": 0,
            "without_caption": 0,
            "skipped": [],
            "captions_skipped": [],
        }
        # TFDS refuses an empty split, and a broken file is only known by reading it: so each first
        # clip is read twice.
        readable = [
            v
            for v in tqdm.tqdm(videos, "checking files", unit="file")
            if next(self._clips(v), None) is not None
        ]
        if not readable:
            first = self.report["skipped"][0]
            raise UserError(
                f"none of the {len(videos)} videos in {folder} can be read; the first, "
                f"{first['file']}: {first['reason']}"
            )
        readable.sort(key=lambda video: _share(video, folder))
        num_val = sum(_share(video, folder) < VAL_SHARE for video in readable)
        num_val = min(max(num_val, 1), len(readable) - 1)
        groups = {"train": readable[num_val:], "val": readable[:num_val]}
        return {
            split: self._generate_examples(split, sorted(group), settings)
            for split, group in groups.items()
            if group
        }

    def _clips(self, video):
        """`read_clips`, with a file that fails skipped and noted.

        Whatever a decoder raises, one file must not stop the build.
        """
        try:
            yield from read_clips(
                video, self.builder_config.format, self.builder_config.clips_per_file
            )
        except Exception as error:
            reason = (
                str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            )
            self._note("skipped", video, reason.removeprefix(f"cannot read {video}: "))

    def _note(self, table, video, reason):
        row = {"file": video.relative_to(self.builder_config.path).as_posix(), "reason": reason}
        if row not in self.report[table]:
            self.report[table].append(row)

    def _generate_examples(self, split, videos, settings):
        for video in videos:
            try:
                captions = read_captions(video)
            except UserError as error:
                captions = []
                self._note("captions_skipped", video, str(error))
            for number, (start, clip) in enumerate(self._clips(video)):
                key = f"{video.relative_to(settings.path).as_posix()}#{number}"
                self.report["clips"][split] = self.report["clips"].get(split, 0) + 1
                silent = clip.samples is None
                samples = np.zeros(settings.format.samples) if silent else clip.samples
                self.report["silent"] += silent
                self.report["without_caption"] += not captions
                yield (
                    key,
                    {
                        "frames": mp4.to_uint8(clip.frames),
                        "samples": np.round(samples * 32767.0).astype(np.int16),
                        "has_audio": not silent,
                        "captions": captions,
                        "key": key,
                        "start": start,
                        "notes": list(clip.notes),
                    },
                )


def _share(video: pathlib.Path, folder: pathlib.Path) -> float:
    """A number in [0,1) from the file's name: below VAL_SHARE is val."""
    name = video.relative_to(folder).as_posix()
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) / 2**32


def build(data_dir, config: VideoFolderConfig) -> tuple[pathlib.Path, dict]:
    """Write the set, unless it is there; returns its directory and the report.

    Raises UserError if no file can be read.
    """
    builder = make_builder(VideoFolder, data_dir, config)
    directory = pathlib.Path(builder.data_path)
    report = directory / "report.json"
    if not builder.is_prepared():
        prepare(builder)
        files.write(report, json.dumps(builder.report, indent=1))
    return directory, json.loads(report.read_text()) if report.is_file() else {}


def built_set(path, data_dir, format: ClipFormat) -> pathlib.Path:
    """The set in the folder `path`: a built one, or the one of the videos there, built below
    data_dir with its report on stderr.

    Raises: UserError if there are no videos, or the built set is of another format.
    """
    directory = pathlib.Path(path).expanduser()
    if not (directory / "dataset_info.json").exists():
        directory, report = build(data_dir, VideoFolderConfig(str(directory), format))
        print(summary(report), file=sys.stderr)
    made = open_records(directory)[1]
    if made != format:
        raise UserError(
            f"the set in {directory} is of {made}, not {format}; give the format of the set, or "
            "build another"
        )
    return directory


def summary(report: dict) -> str:
    """The report in a few lines for the terminal."""
    if not report:
        return (
            "no report beside the data (its build was interrupted at the very end); delete "
            "the folder and build again to have one"
        )
    clips = ", ".join(f"{count} {split}" for split, count in sorted(report["clips"].items()))
    skipped = len({row["file"] for row in report["skipped"]})
    silent, uncaptioned = report["silent"], report["without_caption"]
    lines = [
        f"{report['files']} files: clips {clips}; {silent} clips silent, {uncaptioned} without "
        f"caption, {skipped} files skipped"
    ]
    lines += [f"  skipped {row['file']}: {row['reason']}" for row in report["skipped"]]
    lines += [
        f"  caption of {row['file']} left out: {row['reason']}"
        for row in report["captions_skipped"]
    ]
    return "\n".join(lines)


class Records:
    """A split of a built set as a sequence of dicts: frames, samples, has_audio, captions (tuple of
    str), key, start, notes.

    `splits` names the splits of the whole set.
    """

    def __init__(self, source, fingerprint: str):
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


def open_records(directory, split: str = "train") -> tuple[Records, ClipFormat]:
    """A split of the set in `directory`, which holds dataset_info.json, and its format.

    Raises UserError if there is none.
    """
    directory = pathlib.Path(directory).resolve()
    source = open_source(directory, split, "video_folder")
    made = source.dataset_info.metadata
    return Records(source, directory.parent.name), ClipFormat(
        made["frames"], made["fps"], made["size"]
    )


class VideoFolderSource:
    """The clips of a built `video_folder` set, in its own order, for `precompute` and tokenizer
    training.
    """

    def __init__(self, directory, split: str = "train", batch_size: int = 32):
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
        for first in range(start, len(self), self.batch_size):
            yield self.batch(range(first, min(first + self.batch_size, len(self))))

    def batch(self, indices: Sequence[int]) -> dict:
        """The clips of these numbers."""
        records = [self.records[i] for i in indices]
        return {
            "frames": np.stack([r["frames"] for r in records]).astype(np.float32) / 255.0,
            "samples": np.stack([r["samples"] for r in records]).astype(np.float32) / 32767.0,
            "has_audio": np.array([r["has_audio"] for r in records], bool),
            "captions": [r["captions"] for r in records],
            "keys": [r["key"] for r in records],
        }
