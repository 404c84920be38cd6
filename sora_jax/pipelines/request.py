"""The request to a pipeline: prompt, given inputs and sampler settings.

A request has at most one source: a field with a clip, or clips, from which it starts.

    continued   a clip; what follows it is generated
    preceded    a clip; what leads to it is generated
    between     two clips; what leads from the first to the second is generated
    remixed     a clip that is changed everywhere, from the noise level `strength` on
    edited      a clip of several shots (parts between cuts); shot `edit_shot` is generated anew

`request_checks` validates requests.
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sora_jax.errors import UserError
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.modality import ClipFormat
from sora_jax.pipelines.film import Film
from sora_jax.pipelines.generated import Generated
from sora_jax.pipelines.likeness import Likeness

if TYPE_CHECKING:
    from sora_jax.pipelines.generate import Pipeline

SECONDS = 2.0  # default duration of what is generated before, after or between clips
STRENGTH = 0.6  # default noise level from which a remix starts
SOURCES = ("continued", "preceded", "between", "remixed", "edited")
WHOLE = ("remixed", "edited")  # sources whose clips have the length and shots of the format
GIVEN = (*SOURCES, "first_frame", "given_video", "given_audio")  # fields with given parts


@dataclasses.dataclass(frozen=True)
class Request:
    """The description of one clip to generate.

    Frames are uint8, or floats in [0, 1], and samples floats in [-1, 1] at 16 kHz, with the sides
    and rate of the pipeline's format.

    Attributes:
        prompt: text. Default None: no text.
        negative_prompt: text to guide away from. Default "": none.
        seed: seed of the noise, 0 to 2^32 - 1. Default 0.
        sampler: settings of the sampler. Default: 30 steps, guidance 2.
        first_frame: the frame [H, W, 3] that the clip begins with, or its first frames
            [1 + k n, H, W, 3], with k frames per latent, 4 by default. In a clip of several shots
            they lie within the first shot. Default None.
        given_video: the whole video, [F, H, W, 3] with any number of frames, or a `Film` (a video
            with its exact duration); only audio is generated. Default None.
        given_audio: the whole audio [S]; only video is generated. Default None.
        continued: a clip of a pipeline to extend. Like the other four sources, it cannot be
            combined with another source, or with the three fields above. Default None.
        preceded: a clip of a pipeline to extend backward. Default None.
        between: two clips of a pipeline to join. The result is the first clip, a generated part
            and the second clip. Default None.
        seconds: duration that is generated before, after or between clips, or to close a loop,
            rounded up to whole latents. Default 2.
        remixed: a clip of a pipeline to change. Default None.
        strength: the noise level that `remixed` starts from: near 0 changes little, 1 everything.
            Default 0.6.
        edited: a clip of a pipeline, one shot of which is generated anew. Default None.
        edit_shot: the number of that shot, from 1. Default 0, for a request without `edited`.
        loop: True adds a part that leads from the clip's end back to its beginning. Default False.
        characters: for each character that the prompt names as @mika its pictures and voice,
            {"mika": `Likeness`}; only for a model trained with references. Default: {}, none.
        any_words: True accepts a prompt of which the model learned no word. Default False: it is
            refused.
        unconditional: True generates without prompt and given parts. Default False: a request
            without any is refused.
        files: for each field that was read from files its path, a pair of paths for `between`, or
            {name: folder} for `characters`. Default: {}, none.
    """

    prompt: str | None = None
    negative_prompt: str = ""
    seed: int = 0
    sampler: SamplerConfig = dataclasses.field(default_factory=SamplerConfig)
    first_frame: np.ndarray | None = None
    given_video: np.ndarray | Film | None = None
    given_audio: np.ndarray | None = None
    continued: Generated | None = None
    preceded: Generated | None = None
    between: tuple[Generated, Generated] | None = None
    seconds: float = SECONDS
    remixed: Generated | None = None
    strength: float = STRENGTH
    edited: Generated | None = None
    edit_shot: int = 0
    loop: bool = False
    characters: Mapping[str, Likeness] = dataclasses.field(default_factory=dict)
    any_words: bool = False
    unconditional: bool = False
    files: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def task(self) -> str:
        """What the clip is generated from: names of fields joined by " and ", such as "first_frame
        and loop"; "text" or "nothing" without a given part.
        """
        given = [name for name in GIVEN if getattr(self, name) is not None]
        return " and ".join([*given, *["loop"] * self.loop]) or (
            "nothing" if self.unconditional else "text"
        )

    @property
    def sources(self) -> tuple[Generated, ...]:
        """The clips that the request starts from."""
        found = (getattr(self, name) for name in SOURCES)
        clips = (one if isinstance(one, tuple) else (one,) for one in found if one is not None)
        return tuple(clip for group in clips for clip in group)

    def film(self, format: ClipFormat) -> Film | None:
        """Returns the given video as a `Film`; None without one.

        `format` is that of the pipeline. Its rate gives the duration of an array.
        """
        if self.given_video is None or isinstance(self.given_video, Film):
            return self.given_video
        frames = np.asarray(self.given_video)
        return Film(frames, float(len(frames) / format.fps) if frames.ndim else 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Returns the request as JSON values by field, with the paths of the given parts.

        Raises:
            UserError: `files` has no path of a given part.
        """
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        paths = values.pop("files")
        for name in (*GIVEN, "characters"):
            value = values.pop(name)
            if value is None or (name == "characters" and not value):
                continue
            if name not in paths:
                raise UserError(
                    f"{name} was read from no file, so the request cannot be written; give a path "
                    "to the call of a pipeline, or to Request.from_dict",
                    field=name,
                )
            values[name] = _text(paths[name])
        return values | {"sampler": dataclasses.asdict(self.sampler)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], pipeline: "Pipeline") -> "Request":
        """Returns the request of `fields`, the result of `to_dict`, with its files read.

        Args:
            fields: JSON values by field.
            pipeline: the pipeline to whose format the files are fitted.

        Raises:
            UserError: a file cannot be read, or a name is not a field of `Request`.
        """
        return pipeline.read_request(fields)[0]


def _text(paths: Any) -> Any:
    """Returns paths as texts: one, a pair of them, or several by name."""
    if isinstance(paths, Mapping):
        return {name: os.fspath(path) for name, path in paths.items()}
    return [*map(os.fspath, paths)] if isinstance(paths, (tuple, list)) else os.fspath(paths)
