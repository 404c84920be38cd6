"""Inputs besides the prompt, read from files: fields of a `Request`."""

import math
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from sora_jax import files, media
from sora_jax.errors import UserError
from sora_jax.media import fit, remux, video
from sora_jax.modality import ClipFormat
from sora_jax.pipelines.continuation import open_clip
from sora_jax.pipelines.film import Film, film_windows
from sora_jax.pipelines.request import LONGEST

if TYPE_CHECKING:
    from sora_jax.pipelines.generate import Pipeline

Path = str | os.PathLike | None
FILES = ("first_frame", "given_video", "given_audio", "continued")  # fields read from files


def read_given(
    pipeline: "Pipeline",
    *,
    first_frame: Path = None,
    given_video: Path = None,
    given_audio: Path = None,
    continued: Path = None,
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Reads fields of a `Request` from files and fits them to the pipeline's format.

    Args:
        pipeline: its format is used.
        first_frame: path of an image.
        given_video: path of a video, read as a whole; its audio is ignored.
        given_audio: path of a file with an audio track.
        continued: path of a clip to extend.
    Returns:
        The fields, and notes on how they were fitted.
    Raises:
        UserError: a file cannot be read, or a video lasts more than 600 s.
    """
    fields, notes, format = {}, [], pipeline.format

    def note(path: str | os.PathLike, changes: Iterable[str]) -> None:
        notes.extend(f"{path}: {change}" for change in changes)

    if first_frame is not None:
        fields["first_frame"], changes = media.read_image(
            first_frame, (format.height, format.width)
        )
        note(first_frame, changes)
    if given_video is not None:
        fields["given_video"], changes = read_film(given_video, format)
        note(given_video, changes)
    if given_audio is not None:
        audio = media.read_audio(given_audio)
        fields["given_audio"], changes = media.fit_sound(*audio, format.samples)
        note(given_audio, changes)
    if continued is not None:
        fields["continued"] = open_clip(continued, pipeline)
        notes += fields["continued"].notes
    return fields, tuple(notes)


def read_film(path: str | os.PathLike, format: ClipFormat) -> tuple[Film, list[str]]:
    """Reads a whole video file, without its audio, at the rate and in the size of a format.

    Only the frames that the film needs are converted and kept.

    Args:
        path: the file.
        format: of the pipeline's clips.
    Returns:
        The film, and notes on how it was read and on how its file will be written.
    Raises:
        UserError: the file cannot be read, or lasts more than LONGEST seconds.
    """
    path = files.user_path(path)
    stated = video.stated_length(path)
    if stated is not None and stated > LONGEST + 1:
        raise _too_long(path, stated)
    moments = (np.arange(math.ceil((LONGEST + 1) * format.fps)) + 0.5) / float(format.fps)
    short_side = 2 * max(format.height, format.width)
    whole = video.read_window(path, 0.0, LONGEST + 1.0, short_side, moments, with_audio=False)
    if whole.seconds > LONGEST:
        raise _too_long(path, whole.seconds)
    count = max(1, math.ceil(round(whole.seconds * format.fps, 6)))
    frames, changes = fit.fit_frames(whole, format, count)
    notes = [*whole.notes, *(f"for the model, {change}" for change in changes)]
    try:
        plan = remux.plan(path)
    except remux.NotCopied as reason:
        film = Film(frames, whole.seconds)
        notes.append(
            f"its picture cannot be copied ({reason}), so the clip is an mp4 of the frames that "
            "the model sees"
        )
    else:
        film = Film(frames, whole.seconds, path, plan.suffix)
        notes += plan.notes
    if len(frames) < format.frames:
        notes.append(f"for the model, last frame held from {film.seconds:.2f} s on")
    elif len(frames) > format.frames:
        number = len(film_windows(film, format))
        notes.append(f"audio of {film.seconds:.2f} s made in {number} windows")
    return film, notes


def _too_long(path: str | os.PathLike, seconds: float) -> UserError:
    return UserError(
        f"{path} lasts {seconds:.0f} s or more; give a video of at most {LONGEST} s",
        field="given_video",
    )
