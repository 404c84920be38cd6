"""Captions and splits of a folder of videos: text files beside the videos, and one table.

    cat.txt         the captions of cat.mp4, one in each line
    cat.json        the same as a text, a list of texts, or an object with one of the keys
                    "captions", "caption" and "prompt"
    captions.csv    a table with the column file, and the columns caption or split or both; an empty
                    caption is ignored

Every caption must belong to a video, and the captions of a video must be in only one of these
places. Anything else is an error that names the files.
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
NAMED = 8  # largest number of files that an error names
# names, without the ending, of texts that are not captions of a video
NO_CAPTIONS = ("readme", "license", "licence", "notice")


@dataclasses.dataclass(frozen=True)
class FolderCaptions:
    """The captions and splits that a folder states for its videos.

    Attributes:
        captions: {video: its captions, one or more}.
        splits: {video: "train" or "val"}, for those whose split the table states.
    """

    captions: Mapping[Path, tuple[str, ...]]
    splits: Mapping[Path, str]


def listed(paths: Sequence[Path], folder: Path) -> str:
    """Returns the first NAMED of the paths, relative to `folder`, and the count of the others, as
    text.
    """
    names = [shown(path.relative_to(folder)) for path in paths[:NAMED]]
    more = len(paths) - len(names)
    return ", ".join(names) + f" and {more} more" * (more > 0)


def read_folder_captions(
    folder: Path, videos: Sequence[Path], caption: str | None = None
) -> FolderCaptions:
    """Reads the captions and splits of a folder.

    Args:
        folder: the folder.
        videos: its videos (`video_files.find_videos`).
        caption: caption of the videos that have none. Default: None, such videos are an error.

    Raises:
        UserError: a caption belongs to no video, a video has no caption or captions in two places,
            or a file cannot be read.
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
    """Returns ({video: captions}, {video: split}) of the table; both empty without one.

    Raises:
        UserError: the table lacks columns, has an unknown split, or names a file that is not among
            `videos` or is named twice.
    """
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
    """Raises UserError if a .txt or .json file has the name of no video."""
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
