"""Scans a folder of videos: reads facts of each file, and plans the clips to take from it.

A scene is the part of a file between two cuts. Each scene gives as many consecutive clips of the
format as fit in it, so no clip contains a cut. `Scan.problems` names all files and scenes that give
no clip, with the reason.
"""

import dataclasses
import hashlib
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import tqdm

from sora_jax.data import scene_cuts
from sora_jax.data.file_facts import FileFacts, read_facts
from sora_jax.data.folder_captions import FolderCaptions, read_folder_captions
from sora_jax.data.folder_plan import FilePlan, FolderPlan
from sora_jax.data.video_files import EXTENSIONS, find_videos, shown
from sora_jax.errors import UserError
from sora_jax.media.worker import Worker
from sora_jax.modality import ClipFormat

VAL_SHARE = 0.1  # fraction of the files that are in val if captions.csv states no val
SLACK = 0.02  # seconds by which a clip may be longer than its scene
CUTS = ("detect", "none")


@dataclasses.dataclass(frozen=True)
class Scan:
    """The result of a scan of a folder.

    Attributes:
        plan: the clips to take.
        facts: {name of a file: its facts}, for each file that can be read.
        problems: (name of a file, reason) for each file or scene that gives no clip.
        format: the format of the clips.
    """

    plan: FolderPlan
    facts: dict[str, FileFacts]
    problems: tuple[tuple[str, str], ...]
    format: ClipFormat


def clip_starts(
    facts: FileFacts, format: ClipFormat, most: int
) -> tuple[tuple[float, ...], list[str]]:
    """Returns (start of each clip of a file in seconds, problems).

    The problems are sentences about scenes that are too short, and about clips beyond `most`.

    Args:
        facts: the facts of the file.
        format: the format of the clips.
        most: the largest number of clips of a file.
    """
    bounds = [0.0, *facts.cuts, facts.seconds]
    starts, lost = [], []
    for first, end in itertools.pairwise(bounds):
        count = int((end - first + SLACK) / format.seconds)
        starts += [first + number * format.seconds for number in range(count)]
        if not count:
            lost.append(
                f"the scene from {first:.2f} to {end:.2f} s is shorter than a clip of "
                f"{format.seconds:.2f} s"
            )
    if len(starts) > most:
        lost.append(f"{len(starts) - most} clips beyond the first {most} are left out")
    return tuple(round(start, 4) for start in starts[:most]), lost


def scan(
    folder: str | os.PathLike,
    format: ClipFormat,
    caption: str | None = None,
    cuts: str = "detect",
    clips_per_file: int = 64,
) -> Scan:
    """Reads every video of a folder and plans its clips.

    Args:
        folder: the folder of the videos and their captions, searched with its subfolders.
        format: the format of the clips.
        caption: caption of the videos that have none. Default: None, such videos are an error.
        cuts: "detect" (default) looks for scene changes; "none" takes each file as one scene.
        clips_per_file: the largest number of clips of a file. Default 64.

    Raises:
        UserError: the folder has fewer than two usable videos; a video has no caption or captions
            in two places; a caption belongs to no video; no usable video is in one of the splits
            that captions.csv states; or PySceneDetect is needed and not installed.
    """
    if cuts not in CUTS:
        raise UserError(f"cuts={cuts}; use {' or '.join(CUTS)}", field="cuts")
    place = Path(folder).expanduser().resolve()
    if not place.is_dir():
        raise UserError(f"no folder {folder}; give the one that holds your videos", field="videos")
    videos = find_videos(place)
    if not videos:
        raise UserError(
            f"no video in {folder}; it should hold files ending in {', '.join(EXTENSIONS)}",
            field="videos",
        )
    if cuts == "detect" and not scene_cuts.available():
        raise UserError(
            f"finding the cuts of videos needs PySceneDetect; {scene_cuts.REMEDY}, or give "
            "cuts=none where no file has any",
            field="cuts",
        )
    texts = read_folder_captions(place, videos, caption)
    facts, problems = _read(place, videos, cuts == "detect")
    starts = {}
    for name, one in facts.items():
        found, lost = clip_starts(one, format, clips_per_file)
        problems += [(name, reason) for reason in lost]
        if found:
            starts[name] = found
    if len(starts) < 2:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in problems[:3])
        raise UserError(
            f"{folder} has {len(starts)} usable videos of {len(videos)}, and training with "
            f"validation needs two ({reasons or 'add videos'})",
            field="videos",
        )
    splits = _splits(place, starts, texts)
    plans = {
        name: FilePlan(texts.captions[place / name], splits[name], found)
        for name, found in starts.items()
    }
    return Scan(FolderPlan(os.fspath(place), plans), facts, tuple(problems), format)


def _read(
    folder: Path, videos: Sequence[Path], detect: bool
) -> tuple[dict[str, FileFacts], list[tuple[str, str]]]:
    """Returns ({name of a file: its facts}, (name, reason) of each file that cannot be read).

    A worker process reads the files. If `detect` is True, it looks for cuts too.
    """
    facts, problems = {}, []
    with Worker() as worker:
        for video in tqdm.tqdm(videos, "scanning", unit="file"):
            name = shown(video.relative_to(folder))
            if name != os.fspath(video.relative_to(folder)):
                problems.append((name, "its name is not UTF-8; rename it"))
                continue
            try:
                facts[name] = worker.call(read_facts, os.fspath(video), detect)
            except (UserError, RuntimeError) as error:
                reason = shown(str(error)).removeprefix(f"cannot read {video}: ")
                problems.append((name, reason))
    return facts, problems


def _splits(
    folder: Path, usable: dict[str, tuple[float, ...]], texts: FolderCaptions
) -> dict[str, str]:
    """Returns {name: split} of the usable files.

    If captions.csv states a val file, other files are in train unless it states their split. Else
    the files are split by a hash of their names, VAL_SHARE of them and at least one in val.
    """
    named = {shown(path.relative_to(folder)): split for path, split in texts.splits.items()}
    if "val" in named.values():
        splits = {name: named.get(name, "train") for name in usable}
        for split in ("train", "val"):
            if split not in splits.values():
                raise UserError(
                    f"no usable video of {folder} is in the split {split}; name one in captions.csv"
                )
        return splits
    order = sorted(usable, key=share)
    held_out = sum(share(name) < VAL_SHARE for name in usable)
    held_out = min(max(held_out, 1), len(usable) - 1)
    return {name: "val" if i < held_out else "train" for i, name in enumerate(order)}


def share(name: str) -> float:
    """Returns a hash in [0, 1) of the name of a file; small ones are in val."""
    return int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:4]) / 2**32
