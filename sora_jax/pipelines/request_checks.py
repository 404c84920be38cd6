"""Validation of a `Request`: its types, what can be combined, and its fit to a format."""

import dataclasses
import math
from numbers import Integral, Real
from types import NoneType

import jax
import numpy as np

from sora_jax.errors import UserError, expect
from sora_jax.flow.guidance import Guidance
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.modality import ClipFormat
from sora_jax.models.st_dit_config import STDiTConfig
from sora_jax.pipelines.film import Film, hop
from sora_jax.pipelines.generated import Generated
from sora_jax.pipelines.request import SECONDS, SOURCES, STRENGTH, WHOLE, Request

LONGEST = 600  # seconds, the most that one request adds to a clip, and that a given video lasts
MOST_STEPS = 10_000  # largest number of steps of the sampler


def check_request(request: Request, format: ClipFormat) -> None:
    """Validates a request against the pipeline's format.

    Raises:
        UserError: the request contradicts itself or asks for nothing, a value has another type or
            is out of range, or an array or a clip does not have the pipeline's format.
    """
    _check_types(request)
    _check_sampler(request)
    _check_combination(request)
    if request.prompt is not None and not request.prompt.strip():
        raise UserError(
            'the prompt is empty; describe the clip, for example "a large red ball is '
            'dropped and bounces twice"',
            field="prompt",
        )
    if request.task in ("text", "loop") and request.prompt is None and not request.unconditional:
        raise UserError(
            "the request is empty; give a prompt, a first frame, a video, an audio track or a clip",
            field="prompt",
        )
    _check_settings(request)
    for name in SOURCES:
        clips = getattr(request, name)
        for clip in () if clips is None else clips if isinstance(clips, tuple) else (clips,):
            _check_source(name, clip, request, format)
    if request.loop:
        _check_one_shot("loop", format, format)
    _check_video(request, format)
    _check_arrays(request, format)


def check_method(method: str, model: STDiTConfig) -> None:
    """Raises UserError for a method of sampling that the model was not trained for.

    Args:
        method: a name of `sampler.SAMPLERS`.
        model: the configuration of the model.
    """
    if method == "shortcut" and not model.step_sizes:
        raise UserError(
            "the model takes no step sizes, so it makes no shortcuts; give the sampler euler, or "
            "weights that were trained with flow.shortcut",
            field="sampler",
        )


def _check_combination(request: Request) -> None:
    sources = [name for name in SOURCES if getattr(request, name) is not None]
    pictures = [n for n in ("first_frame", "given_video") if getattr(request, n) is not None]
    given = [*sources, *pictures, *["given_audio"] * bool(sources and _heard(request))]
    if len(given) > 1:
        raise UserError(
            f"{' and '.join(given)} cannot be combined; give one of them", field=given[0]
        )
    if request.given_video is not None and _heard(request):
        raise UserError(
            "video and audio are both given, so nothing is left to generate; give one of them",
            field="given_audio",
        )
    if request.loop and (sources or request.given_video is not None or _heard(request)):
        raise UserError(
            f"{request.task}: a loop is made from a prompt, with a first frame or without; leave "
            "out the rest",
            field="loop",
        )


def _heard(request: Request) -> bool:
    return request.given_audio is not None


def _check_settings(request: Request) -> None:
    """Validates seconds, strength and edit_shot, each of which is used by some sources only."""
    grows = request.loop or any(
        getattr(request, name) is not None for name in set(SOURCES) - set(WHOLE)
    )
    if not grows and request.seconds != SECONDS:
        raise UserError(
            f"seconds={request.seconds:g} says how much a clip grows; give continued, preceded, "
            "between or loop, or leave it out: the duration of a clip is that of its format "
            "(in_format)",
            field="seconds",
        )
    if not 0 < request.seconds <= LONGEST:
        raise UserError(
            f"seconds={request.seconds}: a clip is extended by more than 0 and at "
            f"most {LONGEST} seconds; give for example 2",
            field="seconds",
        )
    if request.remixed is None and request.strength != STRENGTH:
        raise UserError(
            f"strength={request.strength:g} is that of a remix; give remixed, or leave it out",
            field="strength",
        )
    if not 0 < request.strength <= 1:
        raise UserError(
            f"strength={request.strength}: a remix starts from a noise level above 0 and at most "
            "1; give for example 0.6",
            field="strength",
        )
    if (request.edited is None) != (request.edit_shot == 0):
        raise UserError(
            f"edit_shot={request.edit_shot}: an edit needs a clip of several shots and the number "
            "of one of them, from 1; give edited and edit_shot",
            field="edit_shot",
        )


def _check_source(name: str, old: Generated, request: Request, format: ClipFormat) -> None:
    if "video" not in old.latents:
        raise UserError(
            f"the clip given as {name} has the audio of a film and no latents of its video; save "
            "it and give the path of its file",
            field=name,
        )
    if len(old.frames) != old.format.frames:
        raise UserError(
            f"the clip given as {name} is a loop, which has no end; save it and give the path of "
            "its file",
            field=name,
        )
    grows = name not in WHOLE
    if grows:
        _check_one_shot(name, old.format, format)
    fits = old.format.frames if grows else format.frames
    if old.format != dataclasses.replace(format, frames=fits, shots=format.shots):
        raise UserError(
            f"the clip given as {name} has {old.format}, and the pipeline makes {format}; give a "
            f"pipeline of the same {'size and rate' if grows else 'format'} (in_format)",
            field=name,
        )
    if name == "edited" and not 1 <= request.edit_shot <= len(format.shots):
        raise UserError(
            f"edit_shot={request.edit_shot}, and the clip has {max(1, len(format.shots))} "
            f"shot{'s' * (len(format.shots) > 1)}; "
            + (f"give 1 to {len(format.shots)}" if format.shots else "give it as remixed instead"),
            field="edit_shot",
        )


def _check_one_shot(name: str, old: ClipFormat, format: ClipFormat) -> None:
    if old.shots or format.shots:
        raise UserError(
            f"{name} is for clips of one shot; the clip has {old}, and the pipeline makes "
            f"{format}: give another clip or pipeline (in_format)",
            field=name,
        )


def _check_video(request: Request, format: ClipFormat) -> None:
    if (film := request.film(format)) is None:
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


def _check_arrays(request: Request, format: ClipFormat) -> None:
    image = (format.height, format.width, 3)
    first = request.first_frame
    if first is not None and first.ndim == 4 and first.shape[1:] == image:
        group, count = format.frames_per_latent, len(first)
        most = format.shots[0] if format.shots else format.frames - 1
        if (count - 1) % group or not 0 < count <= most:
            raise UserError(
                f"{count} first frames: give 1 + {group}k, at most {most}",
                field="first_frame",
            )
        first = first[0]
    expected = {
        "first_frame": (first, image),
        "given_audio": (request.given_audio, (format.samples,)),
    }
    for name, (value, shape) in expected.items():
        if value is not None and value.shape != shape:
            raise UserError(
                f"{name} has the shape {value.shape}, and the pipeline's format needs "
                f"{shape}; give a file, which is fitted to it, or an array of that shape",
                field=name,
            )


def _check_types(request: Request) -> None:
    if isinstance(request.prompt, (list, tuple)):
        raise UserError(
            "prompt is a list; give one text, or several requests to generate_batch",
            field="prompt",
        )
    expect(request.prompt, (str, NoneType), "prompt", "give a text, or None for no text")
    expect(request.negative_prompt, str, "negative_prompt", "give a text")
    for name in ("prompt", "negative_prompt"):
        text = getattr(request, name) or ""
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise UserError(f"{name} is not Unicode text; give it in UTF-8", field=name)
    expect(request.seed, Integral, "seed", "give an integer")
    if not 0 <= request.seed < 2**32:
        raise UserError(f"seed={request.seed}; give 0 to {2**32 - 1}", field="seed")
    for name in ("seconds", "strength"):
        expect(getattr(request, name), Real, name, "give a number")
    expect(request.edit_shot, Integral, "edit_shot", "give the number of a shot")
    for name in ("first_frame", "given_video", "given_audio"):
        remedy = "give an array, or the path of a file to the call of a pipeline"
        value = getattr(request, name)
        if isinstance(value, Film) and name == "given_video":
            value = value.frames
        if value is not None:
            expect(value, (np.ndarray, jax.Array), name, remedy)
    for name in SOURCES:
        remedy = "give a clip that a pipeline made, or the path of one to the call of a pipeline"
        value = getattr(request, name)
        if name == "between" and value is not None:
            if not isinstance(value, tuple) or len(value) != 2:
                raise UserError("between needs two clips: (first, second)", field=name)
            for clip in value:
                expect(clip, Generated, name, remedy)
        else:
            expect(value, (Generated, NoneType), name, remedy)


def _check_sampler(request: Request) -> None:
    expect(request.sampler, SamplerConfig, "sampler", "give a SamplerConfig")
    expect(
        request.sampler.guidance, Guidance, "guidance", "give a Guidance, or a number to the call"
    )
    expect(request.sampler.steps, Integral, "steps", "give an integer")
    if not 1 <= request.sampler.steps <= MOST_STEPS:
        raise UserError(f"steps={request.sampler.steps}; give 1 to {MOST_STEPS}", field="steps")
    shift = request.sampler.shift
    expect(shift, (Real, NoneType), "sampler", "give a number as its shift, or None")
    if shift is not None and not 0 < shift < math.inf:
        raise UserError(f"shift={shift}; give a number above 0", field="sampler")
    for name, scale in dataclasses.asdict(request.sampler.guidance).items():
        if scale is None:
            continue
        expect(scale, Real, "guidance", "give a number")
        if not math.isfinite(scale):
            raise UserError(
                f"guidance {name}={scale} is not a finite number; give for example 2",
                field="guidance",
            )
