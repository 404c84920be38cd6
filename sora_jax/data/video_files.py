"""The user's video files below a directory, and the captions beside them."""

import json
import pathlib

from sora_jax.data.digest import digest
from sora_jax.errors import UserError

EXTENSIONS = (".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi")


def find_videos(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the video files below a directory, sorted by path."""
    return sorted(
        p
        for p in folder.rglob("*")
        if p.suffix.lower() in EXTENSIONS and p.is_file() and not p.name.startswith(".")
    )


def contents(folder: pathlib.Path) -> str:
    """Returns a digest of the videos and captions below a directory."""
    beside = (
        f
        for video in find_videos(folder)
        for f in (video, video.with_suffix(".txt"), video.with_suffix(".json"))
    )
    return digest(folder, {f for f in beside if f.is_file()})


def read_captions(video: pathlib.Path) -> list[str]:
    """Reads the captions of a video from the file beside it; [] without one.

    Raises:
        UserError: the caption file cannot be read or parsed.
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
