"""The TFDS set `video_folder`: a directory of the user's videos as clips of one format.

    python -m experiments.build_data --set=video_folder --path=MY_VIDEOS --data_dir=DIR

PyAV reads every .mp4, .mov, .m4v, .webm, .mkv and .avi below the directory, of any size, frame
rate, length and channel count, with or without audio. A long file is cut into consecutive clips.
A file that is shorter than a clip is extended by its last frame. Frames of other proportions are
cropped, or letterboxed with --fit=letterbox. `media.fit_clip` describes all conversions.

The captions of a video are in a file beside it with the same name: `ball.txt` holds one caption in
each line, `ball.json` a string, a list of strings, or an object with "captions", "caption" or
"prompt", the key that experiments.sample writes. Without such a file the caption is empty, and the
clip trains the unconditional model.

A record holds frames uint8 [F,H,W,3], samples int16 [S], has_audio, captions, key (name of the file
and number of the clip), start (s) and notes (irregularities of the file). The build skips a file
that it cannot read. The file `report.json` beside the data lists the skipped files with the reason.
A silent file, without an audio track or below -80 dBFS throughout, is kept with has_audio False,
and the loss omits its audio. One file in ten, by a hash of its name relative to the directory, is
in the split val with all its clips. With two readable files or more, each split has at least one.
"""

import functools
import hashlib
import json
import os
import pathlib
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
import tqdm

from sora_jax import files
from sora_jax.clip import Clip
from sora_jax.data.folder_plan import FolderPlan
from sora_jax.data.tfds_sets import make_builder, prepare
from sora_jax.data.video_files import (
    EXTENSIONS,
    contents,
    find_videos,
    read_captions,
    read_clip,
    shown,
)
from sora_jax.data.video_records import open_records
from sora_jax.errors import UserError
from sora_jax.media.decoded import EndOfFile
from sora_jax.media.worker import Worker
from sora_jax.modality import FITS, FORMATS, ClipFormat

VAL_SHARE = 0.1  # fraction of the files in the split val


class VideoFolderConfig(tfds.core.BuilderConfig):
    """The configuration of a `video_folder` set, a TFDS data set of the user's videos.

    Args:
        path: the directory of videos.
        format: the format of the clips. Default: nano.
        clips_per_file: the largest number of consecutive clips of one file. Default 16.
        fit: how frames of other proportions are fitted, "crop" (default) or "letterbox".
        plan: a plan of clips, captions and splits of that directory (`folder_plan`), which replaces
            `clips_per_file`. Default None: clips of all files from their start on.

    Raises:
        ValueError: there is no such `fit`.
    """

    def __init__(
        self,
        path: str = "",
        format: ClipFormat = FORMATS["nano"],
        clips_per_file: int = 16,
        fit: str = "crop",
        plan: FolderPlan | None = None,
    ):
        if fit not in FITS:
            raise ValueError(f"fit={fit!r}; use {' or '.join(FITS)}")
        folder = pathlib.Path(path).expanduser().resolve()
        identity = f"{format!r} {clips_per_file} {contents(folder) if path else ''}"
        if fit != "crop":  # sets older than this setting keep their names
            identity += f" {fit}"
        if plan is not None:
            identity += f" {sorted(plan.files.items())}"
        slug = re.sub(r"\W+", "_", folder.name).strip("_").lower() or "videos"
        # The name is the set's folder: other files or another format make another set.
        super().__init__(
            name=f"{slug}_{hashlib.sha256(identity.encode()).hexdigest()[:8]}",
            description=f"clips of {folder.name}, {format}" + f", {fit}" * (fit != "crop"),
        )
        self.path, self.format, self.clips_per_file = folder, format, clips_per_file
        self.fit, self.plan = fit, plan


def set_name(path: str | pathlib.Path, format: ClipFormat, fit: str = "crop") -> str:
    """Returns the name of a `video_folder` set, which identifies its contents and format.

    Args:
        path: a built set, or a directory of videos, whose set need not be built.
        format: the format of the clips.
        fit: how frames are fitted, "crop" (default) or "letterbox".
    """
    folder = pathlib.Path(path).expanduser().resolve()
    return (
        folder.parent.name
        if (folder / "dataset_info.json").is_file()
        else VideoFolderConfig(str(folder), format, fit=fit).name
    )


def read_clips(
    worker: Worker,
    video: pathlib.Path,
    format: ClipFormat,
    starts: Iterable[float],
    letterbox: bool = False,
) -> Iterator[tuple[float, Clip]]:
    """Yields (start in seconds, Clip) for each clip of a file, up to the file's end.

    A file that is shorter than the first clip is extended. A later clip is dropped if the file ends
    before it does.

    Args:
        worker: the child process that reads.
        video: the file.
        format: the format of the clips.
        starts: start of each clip, in seconds.
        letterbox: True to show whole frames between black bars. Default False: crop them.

    Raises:
        EndOfFile: the file ends before the start of the first clip.
        UserError: the file cannot be read.
    """
    for number, start in enumerate(starts):
        try:
            clip = worker.call(read_clip, os.fspath(video), format, start, number > 0, letterbox)
        except EndOfFile:
            if number == 0:
                raise
            return
        yield start, clip


class VideoFolder(tfds.core.GeneratorBasedBuilder):
    """The TFDS builder of a `video_folder` set: clips of a directory of the user's videos."""

    name = "video_folder"
    # There are no downloads, so no checksums. Without this, TFDS 4.9.10 looks for them with a
    # package that it does not require.
    code_path = None
    VERSION = tfds.core.Version("2.0.0")

    @functools.cached_property
    def _worker(self) -> Worker:
        return Worker()

    @property
    def _config(self) -> VideoFolderConfig:
        if not isinstance(self.builder_config, VideoFolderConfig):
            raise UserError(
                "the set has no configuration; give a VideoFolderConfig", field="config"
            )
        return self.builder_config

    def _info(self) -> tfds.core.DatasetInfo:
        clip, fit = self._config.format, self._config.fit
        features = {
            "frames": tfds.features.Tensor(
                shape=(clip.frames, clip.height, clip.width, 3), dtype=np.uint8, encoding="bytes"
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
            metadata=tfds.core.MetadataDict(
                format=clip.to_dict(), **({"fit": fit} if fit != "crop" else {})
            ),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        folder, settings = self._config.path, self._config
        if not folder.is_dir():
            raise UserError(f"no directory {folder}; give the folder that holds your videos")
        videos = find_videos(folder)
        if settings.plan is not None:
            videos = [video for video in videos if self._name(video) in settings.plan.files]
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
        # TFDS refuses an empty split, and only reading a file shows whether it is broken. So the
        # first clip of each file is read here and again in `_generate_examples`.
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
        groups = self._groups(readable)
        return {
            split: self._generate_examples(split, sorted(group), settings)
            for split, group in groups.items()
            if group
        }

    def _groups(self, readable: list[pathlib.Path]) -> dict[str, list[pathlib.Path]]:
        """Returns {split: its files}, of the plan or by a hash of their names."""
        folder, plan = self._config.path, self._config.plan
        if plan is not None:
            split_of = {video: plan.files[self._name(video)].split for video in readable}
            return {
                split: [video for video, of in split_of.items() if of == split]
                for split in ("train", "val")
            }
        readable.sort(key=lambda video: _share(video, folder))
        num_val = sum(_share(video, folder) < VAL_SHARE for video in readable)
        num_val = min(max(num_val, 1), len(readable) - 1)
        return {"train": readable[num_val:], "val": readable[:num_val]}

    def _clips(self, video: pathlib.Path) -> Iterator[tuple[float, Clip]]:
        """Yields (start, Clip) of a file. An error ends the file and is noted in the report.

        A decoder may raise any exception or crash, and one file must not stop the build.
        """
        settings = self._config
        starts = self._starts(video)
        try:
            letterbox = settings.fit == "letterbox"
            yield from read_clips(self._worker, video, settings.format, starts, letterbox)
        except (UserError, RuntimeError) as error:
            reason = str(error)
            self._note("skipped", video, reason.removeprefix(f"cannot read {video}: "))

    def _starts(self, video: pathlib.Path) -> Sequence[float]:
        """Returns the start of each clip of a file, in seconds; they may be after its end."""
        settings = self._config
        if settings.plan is not None:
            return settings.plan.files[self._name(video)].starts
        return [number * settings.format.seconds for number in range(settings.clips_per_file)]

    def _captions(self, video: pathlib.Path) -> list[str]:
        """Returns the captions of a file; [], with a note in the report, if they cannot be read."""
        if self._config.plan is not None:
            return list(self._config.plan.files[self._name(video)].captions)
        try:
            return read_captions(video)
        except UserError as error:
            self._note("captions_skipped", video, str(error))
            return []

    def _name(self, video: pathlib.Path) -> str:
        """Returns the name of a file below the directory, as valid Unicode."""
        return shown(video.relative_to(self._config.path))

    def _note(self, table: str, video: pathlib.Path, reason: str) -> None:
        row = {"file": self._name(video), "reason": shown(reason)}
        if row not in self.report[table]:
            self.report[table].append(row)

    def _generate_examples(
        self, split: str, videos: Sequence[pathlib.Path], settings: VideoFolderConfig
    ) -> Iterator[tuple[str, dict]]:
        for video in videos:
            captions = self._captions(video)
            for number, (start, clip) in enumerate(self._clips(video)):
                key = f"{self._name(video)}#{number}"
                self.report["clips"][split] = self.report["clips"].get(split, 0) + 1
                silent = clip.samples is None
                samples = clip.samples
                if samples is None:
                    samples = np.zeros(settings.format.samples)
                self.report["silent"] += silent
                self.report["without_caption"] += not captions
                yield (
                    key,
                    {
                        "frames": clip.frames,
                        "samples": np.round(samples * 32767.0).astype(np.int16),
                        "has_audio": not silent,
                        "captions": captions,
                        "key": key,
                        "start": start,
                        "notes": list(clip.notes),
                    },
                )


def _share(video: pathlib.Path, folder: pathlib.Path) -> float:
    """Returns a hash in [0, 1) of the file's name; below VAL_SHARE the file is in val."""
    name = os.fsencode(video.relative_to(folder))
    return int.from_bytes(hashlib.sha256(name).digest()[:4]) / 2**32


def build(data_dir: str | os.PathLike, config: VideoFolderConfig) -> tuple[pathlib.Path, dict]:
    """Writes the `video_folder` set of a configuration below data_dir, unless it exists.

    Returns:
        Its directory, and the report, {"files": number of videos, "clips": {split: number},
        "silent" and "without_caption": numbers of clips, "skipped" and "captions_skipped": lists of
        {"file", "reason"}}. The report is {} if its file is missing.

    Raises:
        UserError: the directory holds no videos, no file can be read, the set cannot be written, or
            another process builds it.
    """
    builder = make_builder(VideoFolder, data_dir, config)
    directory = pathlib.Path(builder.data_path)
    report = directory / "report.json"
    if not builder.is_prepared():
        with builder._worker:
            prepare(builder)
        files.write(report, json.dumps(builder.report, indent=1))
    return directory, json.loads(report.read_text(encoding="utf-8")) if report.is_file() else {}


def built_set(
    path: str | os.PathLike, data_dir: str | os.PathLike, format: ClipFormat, fit: str = "crop"
) -> pathlib.Path:
    """Returns the directory of the built set for `path`.

    Args:
        path: a built set, or a directory of videos. The set of such a directory is built below
            data_dir, unless it exists, and its report is printed to stderr.
        data_dir: the folder below which sets are built.
        format: the format of the clips.
        fit: how frames are fitted, "crop" (default) or "letterbox".

    Raises:
        UserError: there are no videos, or the built set has another format or fit.
    """
    directory = pathlib.Path(path).expanduser()
    if not (directory / "dataset_info.json").exists():
        directory, report = build(data_dir, VideoFolderConfig(str(directory), format, fit=fit))
        print(summary(report), file=sys.stderr)
    records, found = open_records(directory)
    if records.fit != fit:
        raise UserError(
            f"the set in {directory} was built with fit={records.fit}, not {fit}; give that, or "
            "build another",
            field="fit",
        )
    if found != format:
        raise UserError(
            f"the set in {directory} is of {found}, not {format}; give the format of the set, or "
            "build another"
        )
    return directory


def summary(report: dict) -> str:
    """Returns the report of `build` as a few lines of text for the terminal."""
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
