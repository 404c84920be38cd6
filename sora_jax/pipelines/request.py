"""The request to a pipeline: prompt, given inputs and sampler settings."""

import dataclasses
import math
from collections.abc import Mapping
from numbers import Integral, Real
from types import NoneType

import jax
import numpy as np

from sora_jax.errors import UserError, expect
from sora_jax.flow.guidance import Guidance
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.modality import ClipFormat
from sora_jax.pipelines.film import Film, hop
from sora_jax.pipelines.generated import Generated
from sora_jax.pipelines.likeness import Likeness

SECONDS = 2.0  # default extension of a continued clip
LONGEST = 600  # seconds: maximum of an extension by one request, and of a given video
MOST_STEPS = 10_000  # of the sampler


@dataclasses.dataclass(frozen=True)
class Request:
    """The description of one clip to generate.

    Frames are uint8, or floats in [0, 1], and samples floats in [-1, 1], in the format of the
    pipeline.

    Attributes:
        prompt: text. Default None: no text.
        negative_prompt: text to guide away from. Default "": none.
        seed: seed of the noise, 0 to 2^32 - 1. Default 0.
        sampler: settings of the sampler. Default: 30 steps, guidance 2.
        first_frame: the frame [H, W, 3] that the clip begins with, or its first 1 + 4 n frames
            [1 + 4 n, H, W, 3], of several shots those of the first. Default None.
        given_video: the whole video, [F, H, W, 3] with any number of frames, or a `Film`; only
            audio is generated. Default None.
        given_audio: the whole audio [S]; only video is generated. Default None.
        continued: a clip of a pipeline to extend. It excludes the other three. Default None.
        seconds: how much to add to `continued`, rounded up to whole latents. Default 2.
        characters: the characters that the prompt names as @mika, {"mika": `Likeness`}, for a model
            that learned references. Default: {}, none.
        any_words: True accepts a prompt of which the model learned no word. Default False: it is
            refused.
        unconditional: True generates without prompt and given parts. Default False: a request
            without any is refused.
    """

    prompt: str | None = None
    negative_prompt: str = ""
    seed: int = 0
    sampler: SamplerConfig = dataclasses.field(default_factory=SamplerConfig)
    first_frame: np.ndarray | None = None
    given_video: np.ndarray | Film | None = None
    given_audio: np.ndarray | None = None
    continued: Generated | None = None
    seconds: float = SECONDS
    characters: Mapping[str, Likeness] = dataclasses.field(default_factory=dict)
    any_words: bool = False
    unconditional: bool = False

    @property
    def task(self) -> str:
        """What the clip is generated from, such as "text" or "first_frame"."""
        given = ("continued", "first_frame", "given_video", "given_audio")
        return " and ".join(name for name in given if getattr(self, name) is not None) or (
            "nothing" if self.unconditional else "text"
        )

    def check(self, format: ClipFormat) -> None:
        """Validates the request against the pipeline's format.

        Raises:
            UserError: the request contradicts itself or asks for nothing, or a value has another
                type or another format than the pipeline's.
        """
        self._check_types()
        given = [
            name
            for name in ("continued", "first_frame", "given_video")
            if getattr(self, name) is not None
        ]
        if len(given) > 1 or (self.continued is not None and self.given_audio is not None):
            raise UserError(
                f"{self.task}: these cannot be combined; give one of them", field=given[0]
            )
        if self.given_video is not None and self.given_audio is not None:
            raise UserError(
                "video and audio are both given, so nothing is left to generate; give one of them",
                field="given_audio",
            )
        if self.prompt is not None and not self.prompt.strip():
            raise UserError(
                'the prompt is empty; describe the clip, for example "a large red ball is '
                'dropped and bounces twice"',
                field="prompt",
            )
        if self.task == "text" and self.prompt is None:
            raise UserError(
                "the request is empty; give a prompt, a first frame, a video or an audio track",
                field="prompt",
            )
        self._check_continued(format)
        image = (format.height, format.width, 3)
        first = self.first_frame
        if first is not None and first.ndim == 4 and first.shape[1:] == image:
            group, count = format.frames_per_latent, len(first)
            most = format.shots[0] if format.shots else format.frames - 1
            if (count - 1) % group or not 0 < count <= most:
                raise UserError(
                    f"{count} first frames: give 1 + {group}k, at most {most}",
                    field="first_frame",
                )
            first = first[0]
        self._check_video(format)
        expected = {
            "first_frame": (first, image),
            "given_audio": (self.given_audio, (format.samples,)),
        }
        for name, (value, shape) in expected.items():
            if value is not None and value.shape != shape:
                raise UserError(
                    f"{name} has the shape {value.shape}, and the pipeline's format needs "
                    f"{shape}; give a file, which is fitted to it, or an array of that shape",
                    field=name,
                )

    def _check_continued(self, format: ClipFormat) -> None:
        old = self.continued
        if old is None:
            if self.seconds != SECONDS:
                raise UserError(
                    f"seconds={self.seconds:g} says how much a continued clip grows; give "
                    "continued, or leave it out: this model's clips last "
                    f"{format.seconds:g} s",
                    field="seconds",
                )
            return
        if not 0 < self.seconds <= LONGEST:
            raise UserError(
                f"seconds={self.seconds}: a clip is extended by more than 0 and at "
                f"most {LONGEST} seconds; give for example 2",
                field="seconds",
            )
        if old.format.shots or format.shots:
            raise UserError(
                f"only clips of one shot are continued; the clip has {old.format}, and "
                f"the pipeline makes {format}: give another clip or pipeline (in_format)",
                field="continued",
            )
        if not _continues(old.format, format):
            raise UserError(
                f"the clip to continue has {old.format}, and the pipeline makes "
                f"{format}; give a pipeline of the same size and rate (in_format)",
                field="continued",
            )
        if old.film is not None:
            raise UserError(
                "the clip to continue has the audio of a film and no latents of its video; save it "
                "and give the path of its file",
                field="continued",
            )

    def _check_video(self, format: ClipFormat) -> None:
        if (film := self.film(format)) is None:
            return
        shape, image = np.shape(film.frames), (format.height, format.width, 3)
        if len(shape) != 4 or not shape[0] or shape[1:] != image:
            raise UserError(
                f"given_video has the shape {shape}, and the pipeline's format needs (any number "
                f"of frames, {', '.join(map(str, image))}); give a file, which is fitted to it, "
                "or an array of that shape",
                field="given_video",
            )
        count = math.ceil(round(film.seconds * format.fps, 6))
        if len(film.frames) != max(1, count):
            raise UserError(
                f"given_video has {len(film.frames)} frames for {film.seconds:g} s; give "
                f"{max(1, count)}, or another length",
                field="given_video",
            )
        if film.seconds > LONGEST:
            raise UserError(
                f"given_video lasts {film.seconds:.6g} s; give at most {LONGEST} s",
                field="given_video",
            )
        if len(film.frames) != format.frames:
            hop(format)

    def film(self, format: ClipFormat) -> Film | None:
        """Returns the given video as a `Film`; None without one.

        format is that of the pipeline.
        """
        if self.given_video is None or isinstance(self.given_video, Film):
            return self.given_video
        frames = np.asarray(self.given_video)
        return Film(frames, float(len(frames) / format.fps) if frames.ndim else 0.0)

    def _check_types(self) -> None:
        if isinstance(self.prompt, (list, tuple)):
            raise UserError(
                "prompt is a list; give one text, or several requests to generate_batch",
                field="prompt",
            )
        expect(self.prompt, (str, NoneType), "prompt", "give a text, or None for no text")
        expect(self.negative_prompt, str, "negative_prompt", "give a text")
        for name in ("prompt", "negative_prompt"):
            text = getattr(self, name) or ""
            if any("\ud800" <= letter <= "\udfff" for letter in text):
                raise UserError(f"{name} is not Unicode text; give it in UTF-8", field=name)
        expect(self.seed, Integral, "seed", "give an integer")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"seed={self.seed}; give 0 to {2**32 - 1}", field="seed")
        expect(self.sampler, SamplerConfig, "sampler", "give a SamplerConfig")
        expect(
            self.sampler.guidance, Guidance, "guidance", "give a Guidance, or a number to the call"
        )
        expect(self.sampler.steps, Integral, "steps", "give an integer")
        if not 1 <= self.sampler.steps <= MOST_STEPS:
            raise UserError(f"steps={self.sampler.steps}; give 1 to {MOST_STEPS}", field="steps")
        shift = self.sampler.shift
        expect(shift, (Real, NoneType), "sampler", "give a number as its shift, or None")
        if shift is not None and not 0 < shift < math.inf:
            raise UserError(f"shift={shift}; give a number above 0", field="sampler")
        for name, scale in dataclasses.asdict(self.sampler.guidance).items():
            if scale is None:
                continue
            expect(scale, Real, "guidance", "give a number")
            if not math.isfinite(scale):
                raise UserError(
                    f"guidance {name}={scale} is not a finite number; give for example 2",
                    field="guidance",
                )
        expect(self.seconds, Real, "seconds", "give a number")
        for name in ("first_frame", "given_video", "given_audio"):
            remedy = "give an array, or the path of a file to the call of a pipeline"
            value = getattr(self, name)
            if isinstance(value, Film) and name == "given_video":
                value = value.frames
            if value is not None:
                expect(value, (np.ndarray, jax.Array), name, remedy)
        expect(
            self.continued,
            (Generated, NoneType),
            "continued",
            "give a clip that a pipeline made, or the path of one to the call of a pipeline",
        )


def _continues(old: ClipFormat, new: ClipFormat) -> bool:
    """True if clips of two formats may follow each other: they differ in their length at most."""
    return old == dataclasses.replace(new, frames=old.frames)
