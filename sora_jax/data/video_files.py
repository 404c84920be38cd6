"""Finds and reads the video files of a user below a directory, and the captions beside them."""

import dataclasses
import json
import os
import pathlib

from sora_jax import media, mp4
from sora_jax.clip import Clip
from sora_jax.data.digest import digest
from sora_jax.errors import UserError
from sora_jax.modality import ClipFormat
from sora_jax.text_files import read_text

EXTENSIONS = (".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi")


def find_videos(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the video files below a directory, sorted by path.

    Links to files and directories are followed. A file that is found under several paths is
    returned once, under a path without a link if there is one.
    """
    found: dict[str, pathlib.Path] = {}  # by real path
    seen: set[str] = set()
    direct, linked = [folder], []
    while direct or linked:
        # Directories before links, so that a file has its own name.
        directory = direct.pop() if direct else linked.pop(0)
        real = os.path.realpath(directory)
        if real in seen:
            continue
        seen.add(real)
        try:
            entries = sorted(
                os.scandir(directory), key=lambda entry: (entry.is_symlink(), entry.name)
            )
        except OSError:
            continue
        for entry in entries:
            path = directory / entry.name
            if entry.is_dir():
                (linked if entry.is_symlink() else direct).append(path)
            elif path.suffix.lower() in EXTENSIONS and not entry.name.startswith("."):
                # A link that leads nowhere is returned too: reading it says so.
                real = os.path.realpath(path)
                if real not in found or (found[real].is_symlink() and not entry.is_symlink()):
                    found[real] = path
    return sorted(found.values())


def read_clip(
    video: str, format: ClipFormat, start: float, whole: bool, letterbox: bool = False
) -> Clip:
    """Returns a clip of a video file, fitted to a format, with frames in uint8.

    A worker process imports this module, so the module imports neither JAX nor TensorFlow Datasets.

    Args:
        video: path of the file.
        format: the format of the clip.
        start: start of the clip in the file, in seconds.
        whole: True if the file must last to the end of the clip; False extends a clip by its last
            frame.
        letterbox: True to show whole frames between black bars. Default False: crop them.

    Raises:
        EndOfFile: the file ends before `start`, or before the end of the clip if `whole` is True.
            A subclass of UserError.
        UserError: the file cannot be read.
    """
    clip = media.read_fitted(video, format, start, whole, letterbox)
    return dataclasses.replace(clip, frames=mp4.to_uint8(clip.frames))


def shown(path: str | os.PathLike) -> str:
    r"""Returns a path as valid Unicode: bytes of a name that are not UTF-8 become \xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def contents(folder: pathlib.Path) -> str:
    """Returns a digest of the videos below a directory and the captions beside them: 12 hex digits
    that change if the files do (`digest.digest`).
    """
    beside = (
        f
        for video in find_videos(folder)
        for f in (video, video.with_suffix(".txt"), video.with_suffix(".json"))
    )
    return digest(folder, {f for f in beside if f.is_file()})


def read_captions(video: pathlib.Path) -> list[str]:
    """Returns the captions of a video from the .json or .txt file beside it; [] without one.

    Raises:
        UserError: the caption file cannot be read or parsed.
    """
    text, data = video.with_suffix(".txt"), video.with_suffix(".json")
    try:
        if data.is_file():
            value = json.loads(read_text(data))
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
            lines = read_text(text).splitlines()
        else:
            lines = []
    except (ValueError, RecursionError) as error:  # not JSON
        raise UserError(f"{data} is not JSON ({str(error)[:80]}); correct it") from None
    return [" ".join(line.split()) for line in lines if line.strip()]
