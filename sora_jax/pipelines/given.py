"""Reads the inputs of a `Request` other than the prompt from files."""

import dataclasses
import math
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sora_jax import files, media
from sora_jax.config import nearest
from sora_jax.errors import UserError
from sora_jax.flow.guidance import Guidance
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.media import fit, remux, video
from sora_jax.modality import ClipFormat
from sora_jax.pipelines.continuation import open_clip
from sora_jax.pipelines.film import Film, film_windows
from sora_jax.pipelines.generated import Generated
from sora_jax.pipelines.likeness import Likeness
from sora_jax.pipelines.request import GIVEN, WHOLE, Request
from sora_jax.pipelines.request_checks import LONGEST

if TYPE_CHECKING:
    from sora_jax.pipelines.generate import Pipeline

Path = str | os.PathLike


def is_path(value: Any) -> bool:
    """Returns whether a value is a path, or a pair of paths."""
    if isinstance(value, (tuple, list)):
        return len(value) == 2 and all(isinstance(one, (str, os.PathLike)) for one in value)
    return isinstance(value, (str, os.PathLike))


def read_given(
    pipeline: "Pipeline", paths: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Reads fields of a `Request` from files and fits them to the pipeline's format.

    Args:
        pipeline: the pipeline whose format and tokenizers are used.
        paths: paths by name of the field. first_frame is an image; given_video a video, whose audio
            is ignored; given_audio a file with an audio track; each source a clip, and `between` a
            pair of clips; `characters` is {name: folder}.

    Returns:
        The values by field, with `paths` as the field `files`, and notes on how they were fitted.

    Raises:
        UserError: a file cannot be read, or a video lasts more than LONGEST seconds.
    """
    fields, notes, format = {}, [], pipeline.format

    def note(path: Path, changes: Iterable[str]) -> None:
        notes.extend(f"{path}: {change}" for change in changes)

    def clip(name: str, path: Path) -> Generated:
        opened = open_clip(path, pipeline, whole=name in WHOLE)
        notes.extend(opened.notes)
        return opened

    for name, path in paths.items():
        if name == "first_frame":
            fields[name], changes = media.read_image(path, (format.height, format.width))
            note(path, changes)
        elif name == "given_video":
            fields[name], changes = read_film(path, format)
            note(path, changes)
        elif name == "given_audio":
            fields[name], changes = media.fit_sound(*media.read_audio(path), format.samples)
            note(path, changes)
        elif name == "between":
            if isinstance(path, (str, os.PathLike)) or len(path) != 2:
                raise UserError("between needs two clips: (first, second)", field=name)
            fields[name] = tuple(clip(name, one) for one in path)
        elif name == "characters":
            fields[name] = {who: Likeness.read(one, format.size) for who, one in path.items()}
        else:
            fields[name] = clip(name, path)
    return fields | ({"files": dict(paths)} if paths else {}), tuple(notes)


def check_names(fields: Iterable[str], others: Iterable[str] = ()) -> None:
    """Raises UserError for a name that is neither a field of `Request` nor one of `others`.

    Args:
        fields: the names.
        others: further names that are allowed. Default: none.
    """
    names = {field.name for field in dataclasses.fields(Request)} - {"files"} | set(others)
    for name in fields:
        if name not in names:
            raise UserError(f"unknown keyword {name}; {nearest(name, names)}", field=name)


def read_fields(
    pipeline: "Pipeline", fields: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Returns the fields of a `Request`, with paths replaced by what their files hold, and notes on
    how the files were fitted.

    Args:
        pipeline: the pipeline whose format and tokenizers are used.
        fields: values or paths by name of the field. A sampler may be a dictionary of the fields of
            `SamplerConfig`.

    Raises:
        UserError: a file cannot be read, a video is too long, or a name is not a field of
            `Request`.
    """
    check_names(fields)
    paths = {name: fields[name] for name in GIVEN if is_path(fields.get(name))}
    cast = fields.get("characters")
    if isinstance(cast, Mapping) and cast and all(map(is_path, cast.values())):
        paths["characters"] = cast
    read, notes = read_given(pipeline, paths)
    sampler = fields.get("sampler")
    if isinstance(sampler, Mapping):
        guidance = Guidance(**sampler.get("guidance", {}))
        read["sampler"] = SamplerConfig(**{**sampler, "guidance": guidance})
    return {**fields, **read}, notes


def read_film(path: Path, format: ClipFormat) -> tuple[Film, list[str]]:
    """Reads a whole video file, without its audio, at the rate and in the size of a format.

    Only the frames that the film needs are converted and kept.

    Args:
        path: the file.
        format: the format of the pipeline's clips.

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


def _too_long(path: Path, seconds: float) -> UserError:
    return UserError(
        f"{path} lasts {seconds:.0f} s or more; give a video of at most {LONGEST} s",
        field="given_video",
    )
