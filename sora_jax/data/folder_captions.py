"""Captions and splits of a folder of videos: text files beside the videos, and one table.

    cat.txt         every line is a paraphrase
    cat.json        a text, a list of texts, or an object with "captions", "caption" or "prompt"
    captions.csv    columns file, and caption or split or both; an empty caption says nothing

Every caption belongs to a video and every video has captions of one origin: anything else is an
error that names the files.
"""

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from sora_jax.data.video_files import read_captions, shown
from sora_jax.errors import UserError
from sora_jax.text_files import read_text

TABLE = "captions.csv"
SPLITS = ("train", "val")
NAMED = 8  # files that an error names
NO_CAPTIONS = ("readme", "license", "licence", "notice")  # stems of texts about a whole folder


@dataclasses.dataclass(frozen=True)
class FolderCaptions:
    """What texts say of the videos of a folder.

    Attributes:
        captions: of each video, one or more.
        splits: "train" or "val", of the videos whose split the table names.
    """

    captions: Mapping[Path, tuple[str, ...]]
    splits: Mapping[Path, str]


def listed(paths: Sequence[Path], folder: Path) -> str:
    """Returns the names of files, at most NAMED of them."""
    names = [shown(path.relative_to(folder)) for path in paths[:NAMED]]
    more = len(paths) - len(names)
    return ", ".join(names) + f" and {more} more" * (more > 0)


def read_folder_captions(
    folder: Path, videos: Sequence[Path], caption: str | None = None
) -> FolderCaptions:
    """Reads the captions of a folder.

    Args:
        folder: the folder.
        videos: its videos (`video_files.find_videos`).
        caption: of the videos that have none. Default: None, which refuses them.

    Raises:
        UserError: a caption is of no video, a video has captions of two origins or none, or a file
            cannot be read.
    """
    table, splits = _read_table(folder, videos)
    _check_orphans(folder, videos)
    captions: dict[Path, tuple[str, ...]] = {}
    doubled = []
    for video in videos:
        beside = [video.with_suffix(end) for end in (".txt", ".json")]
        origins = [path for path in beside if path.is_file()]
        if len(origins) + (video in table) > 1:
            doubled.append(video)
        own = tuple(read_captions(video)) if origins else table.get(video, ())
        captions[video] = own or ((caption,) if caption else ())
    if doubled:
        raise UserError(
            f"two captions for one file: {listed(doubled, folder)}; keep one of .txt, .json and "
            f"the row of {TABLE}"
        )
    if bare := [video for video, found in captions.items() if not found]:
        raise UserError(
            f"{len(bare)} of {len(videos)} videos have no caption: {listed(bare, folder)}; write "
            f"NAME.txt beside each or rows of {TABLE}, or give one caption for them all",
            field="caption",
        )
    return FolderCaptions(captions, splits)


def _read_table(
    folder: Path, videos: Sequence[Path]
) -> tuple[dict[Path, tuple[str, ...]], dict[Path, str]]:
    """Returns the captions and the splits of the table."""
    path = folder / TABLE
    captions: dict[Path, tuple[str, ...]] = {}
    splits: dict[Path, str] = {}
    if not path.is_file():
        return captions, splits
    known = {video.relative_to(folder).as_posix(): video for video in videos}
    rows = csv.DictReader(io.StringIO(read_text(path)))
    names = rows.fieldnames or ()
    if "file" not in names or not {"caption", "split"} & set(names):
        raise UserError(f"{path} has no columns file and caption; write file,caption in line 1")
    lost, seen = [], set()
    for row in rows:
        name, says = (row.get("file") or "").strip(), " ".join((row.get("caption") or "").split())
        split = (row.get("split") or "").strip()
        if name not in known:
            lost.append(Path(name))
            continue
        if split and split not in SPLITS:
            raise UserError(f"{path}, line {rows.line_num}: split {split!r}; use train or val")
        if known[name] in seen:
            raise UserError(f"two captions for one file: {path} names {name} twice; keep one row")
        seen.add(known[name])
        if says:
            captions[known[name]] = (says,)
        if split:
            splits[known[name]] = split
    if lost:
        raise UserError(
            f"captions for files that are not there: {path} names {listed(lost, Path())}; correct "
            "the names, which are relative to the folder, or delete the rows"
        )
    return captions, splits


def _check_orphans(folder: Path, videos: Sequence[Path]) -> None:
    """Raises UserError for a text beside no video of its name."""
    stems = {video.with_suffix("") for video in videos}
    texts = sorted(path for end in ("txt", "json") for path in folder.rglob(f"*.{end}"))
    orphans = [
        path
        for path in texts
        if path.with_suffix("") not in stems
        and path.stem.lower() not in NO_CAPTIONS
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if orphans:
        raise UserError(
            f"captions for files that are not there: {listed(orphans, folder)}; give each the name "
            "of its video, or move it out of the folder"
        )
