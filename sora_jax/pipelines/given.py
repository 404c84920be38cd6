"""Inputs besides the prompt, read from files: fields of a `Request`."""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sora_jax import media
from sora_jax.pipelines.continuation import open_clip

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
        given_video: path of a video; its audio is ignored.
        given_audio: path of a file with an audio track.
        continued: path of a clip to extend.
    Returns:
        The fields, and notes on how they were fitted.
    Raises:
        UserError: a file cannot be read.
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
        # a second more than the clip, so that a note says what is cut
        short_side = 2 * max(format.height, format.width)
        video = media.read_video(given_video, seconds=format.seconds + 1, short_side=short_side)
        clip = media.fit_clip(video, format)
        fields["given_video"] = clip.frames
        note(given_video, [change for change in clip.notes if "audio" not in change])
    if given_audio is not None:
        audio = media.read_audio(given_audio)
        fields["given_audio"], changes = media.fit_sound(*audio, format.samples)
        note(given_audio, changes)
    if continued is not None:
        fields["continued"] = open_clip(continued, pipeline)
        notes += fields["continued"].notes
    return fields, tuple(notes)
