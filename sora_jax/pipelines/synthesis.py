"""Makes the clips of requests: given parts are encoded, latents sampled, and latents decoded.

    fresh       clips of the pipeline's format; several requests share every call of the network
    extended    a longer clip, window by window (`windows`), in latent space
    filmed      audio for a given video of any length, window by window (`pipelines.film`)

A latent is sampled from its start level (`sora_jax.flow.conditioning`): 0 where it is given, 1
where it is generated, `strength` in a remix. The history of a window, which is given from what the
clip holds already, has HISTORY_LEVEL, but the clip keeps its own latents. The requests are valid
(`Pipeline.check`).
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax.clip import as_floats
from sora_jax.data.prompts import encode_prompts
from sora_jax.errors import UserError
from sora_jax.flow.sampler import SamplerConfig, sample
from sora_jax.modality import AUDIO_CHANNELS, SAMPLE_RATE, VIDEO_CHANNELS, ClipFormat
from sora_jax.pipelines import codec, record, windows
from sora_jax.pipelines.devices import Placed
from sora_jax.pipelines.film import Film, film_windows
from sora_jax.pipelines.generated import Generated
from sora_jax.pipelines.likeness import reference_latents
from sora_jax.pipelines.notes import check_finite
from sora_jax.pipelines.request import Request
from sora_jax.progress import Laps

if TYPE_CHECKING:
    from sora_jax.pipelines.generate import Pipeline

HISTORY_LEVEL = 0.05  # start level of the history of a window; training draws it from [0, 0.1]

OnStep = Callable[[int, int], object]  # called with (steps done, total steps)


def fresh(
    pipeline: "Pipeline", requests: Sequence[Request], on_step: OnStep, size: int = 0
) -> list[Generated]:
    """Generates the clips of requests of one window each that share one sampler setting.

    Args:
        pipeline: the pipeline.
        requests: the requests.
        on_step: called with (steps done, steps) after every step of the sampler.
        size: clips that go through the network together; fewer requests are padded. Default 0:
            as many as there are. Several devices pad to a multiple of their number.
    """
    format, clock = pipeline.format, Laps()
    start, given = _encode_given(pipeline, requests)
    clock.lap("encode")
    placed = pipeline.placed(max(size, len(requests)))
    # Padding repeats the last request, so that padded rows stay finite.
    rows = placed.rows(max(size, len(requests)))
    padded = [*requests, *[requests[-1]] * (rows - len(requests))]
    start, given = jax.tree.map(lambda x: _padded(x, rows), (start, given))
    keys = jnp.stack([jax.random.key(request.seed) for request in padded])
    times = format.latent_times()
    with placed.traced():
        latents = sample_latents(pipeline, padded, keys, start, given, times, on_step, placed)
    clock.lap("sample")
    with placed.traced_without_kernels():
        sides, spread = (format.height, format.width), placed.spread(latents)
        frames, caches = codec.decode_video(
            placed.video_tokenizer, spread["video"], sides, shots=format.shot_latents
        )
        samples = codec.decode_audio(placed.audio_tokenizer, spread["audio"], format.samples)
        clock.lap("decode")
    clips = []
    for i, request in enumerate(requests):
        video, audio = frames[i], samples[i]
        if (film := request.film(format)) is not None:
            video = as_floats(film.frames, "given_video")
        if request.given_audio is not None:
            audio = np.asarray(request.given_audio, np.float32)
        if request.edited is not None:
            video, audio = _with_shot(request, format, video, audio)
        own = {m: x[i] for m, x in latents.items()}
        clips.append(finished(pipeline, request, video, audio, own, caches[i], clock))
    return clips


def extended(pipeline: "Pipeline", request: Request, on_step: OnStep) -> Generated:
    """Generates the clip of a request with `continued`: that clip and what follows it."""
    old, format, clock = history(request), pipeline.format, Laps()
    target, key = extended_latents(request, format), jax.random.key(request.seed)

    def make(window: windows.Window, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        start = {
            m: np.where(known, HISTORY_LEVEL, 1.0)[None]
            for m, known in (("video", window.video_given), ("audio", window.audio_given))
        }
        keys = jax.random.fold_in(key, window.video_start)[None]
        batch = {m: x[None] for m, x in given.items()}
        sampled = sample_latents(pipeline, [request], keys, start, batch, window.times, on_step)
        return {m: x[0] for m, x in sampled.items()}

    known = len(old.latents["video"])
    latents = windows.extend(old.latents, format, target, make)
    clock.lap("sample")
    tokenizer, sides = pipeline.video_tokenizer, (format.height, format.width)
    cache = old.cache
    if cache is None:
        _, (cache,) = codec.decode_video(tokenizer, old.latents["video"][None], sides)
    (new,), (cache,) = codec.decode_video(tokenizer, latents["video"][None, known:], sides, cache)
    frames = np.concatenate([as_floats(old.frames, "continued"), new])
    length = windows.stream_samples(target, format)
    (samples,) = codec.decode_audio(pipeline.audio_tokenizer, latents["audio"][None], length)
    clock.lap("decode")
    samples = np.array(samples)
    windows.lay(samples, np.asarray(old.samples), 0)
    return finished(pipeline, request, frames, samples, latents, cache, clock)


def is_film(request: Request, format: ClipFormat) -> bool:
    """True if a request gives a `Film`, or an array of another length than the format's."""
    given = request.given_video
    return given is not None and (isinstance(given, Film) or len(given) != format.frames)


def filmed(pipeline: "Pipeline", request: Request, on_step: OnStep) -> Generated:
    """Generates the audio of a request that gives a film: a video of any length.

    Args:
        pipeline: the pipeline.
        request: a valid request with given_video.
        on_step: called with (steps done, steps) after every step of the sampler; it starts again at
            1 in each window.

    Returns:
        The clip of the given frames (those of a `Film` unchanged; of an array as float32) with the
        generated samples, float32 [S] at 16 kHz. `latents` has only the audio.

    Raises:
        UserError: no video is given, the format's clips have several shots or are too short to
            overlap, or the result has NaN or infinity.
    """
    format, clock, key = pipeline.format, Laps(), jax.random.key(request.seed)
    given = film_of(request, format)
    audio = np.zeros((0, AUDIO_CHANNELS), np.float32)
    for window in film_windows(given, format):
        frames = given.frames[window.start : window.start + format.frames]
        held = ((0, format.frames - len(frames)), (0, 0), (0, 0), (0, 0))
        frames = as_floats(np.pad(frames, held, mode="edge"), "given_video")
        video = codec.encode(pipeline.video_tokenizer, frames, format.shots)
        clock.lap("encode")
        known = len(audio) - window.audio_start
        history = np.zeros((format.audio_latents, AUDIO_CHANNELS), np.float32)
        history[:known] = audio[window.audio_start :]
        start = {
            "video": np.zeros((1, len(video)), np.float32),
            "audio": np.where(np.arange(len(history)) < known, HISTORY_LEVEL, 1.0)[None],
        }
        # The first key is that of `fresh`, so that a film of one window gets the same audio.
        keys = jax.random.fold_in(key, window.start) if window.start else key
        batch = {"video": video[None], "audio": history[None]}
        sampled = sample_latents(
            pipeline, [request], keys[None], start, batch, window.times, on_step
        )
        audio = np.concatenate(
            [audio, sampled["audio"][0, known : window.end - window.audio_start]]
        )
        clock.lap("sample")
    (samples,) = codec.decode_audio(pipeline.audio_tokenizer, audio[None], given.samples)
    clock.lap("decode")
    frames = given.frames
    if not isinstance(request.given_video, Film):
        frames = as_floats(frames, "given_video")  # as `fresh` does
    check_finite(request, {"audio": audio}, frames, samples)
    provenance = pipeline.provenance(request)
    return Generated(
        frames,
        samples,
        format.fps,
        notes=pipeline.notes(request),
        format=format,
        latents={"audio": audio},
        provenance=provenance,
        family=record.family_of(provenance),
        timings=clock.laps,
        film=given,
    )


def film_of(request: Request, format: ClipFormat) -> Film:
    """Returns the film that a request gives. Raises UserError if it gives no video."""
    given = request.film(format)
    if given is None:
        raise UserError("the request gives no video; give given_video", field="given_video")
    return given


def history(request: Request) -> Generated:
    """Returns the clip that a request continues. Raises UserError if it continues none."""
    if request.continued is None:
        raise UserError("the request continues no clip; give continued", field="continued")
    return request.continued


def added_latents(request: Request, format: ClipFormat) -> int:
    """Returns the number of video latents that a continuation adds; 0 for a film."""
    if request.continued is None:
        return 0
    return int(-(-round(request.seconds * format.fps, 6) // format.frames_per_latent))


def extended_latents(request: Request, format: ClipFormat) -> int:
    """Returns the number of video latents of a continuation, with those of the continued clip."""
    return len(history(request).latents["video"]) + added_latents(request, format)


def window_count(request: Request, format: ClipFormat) -> int:
    """Returns the number of windows of a continuation or a film."""
    if request.continued is None:
        return len(film_windows(film_of(request, format), format))
    known = len(history(request).latents["video"])
    return windows.count(known, extended_latents(request, format), format)


def sampler_of(pipeline: "Pipeline", request: Request) -> SamplerConfig:
    """Returns the request's sampler settings for this model: `output` is that of its network, and
    `shift`, if None, is that of its training.
    """
    shift = pipeline.shift if request.sampler.shift is None else request.sampler.shift
    return dataclasses.replace(request.sampler, shift=shift, output=pipeline.model.config.output)


def _encode_given(
    pipeline: "Pipeline", requests: Sequence[Request]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Encodes the given parts of a batch.

    Returns:
        Start levels {"video": [B, T], "audio": [B, N]}: 0 where a latent is given, `strength` in a
        remix, 1 elsewhere. And the given latents {"video": [B, T, h, w, C], "audio": [B, N, C]},
        zeros where nothing is given.
    """
    shapes = _latent_shapes(pipeline.format)
    start = {m: np.ones((len(requests), shape[0]), np.float32) for m, shape in shapes.items()}
    given = {m: np.zeros((len(requests), *shape), np.float32) for m, shape in shapes.items()}
    for i, request in enumerate(requests):
        film = request.film(pipeline.format)
        frames = request.first_frame if film is None else film.frames
        if frames is not None:
            frames = as_floats(frames, request.task)
            frames = frames if frames.ndim == 4 else frames[None]
            shots = () if film is None else pipeline.format.shots
            latents = codec.encode(pipeline.video_tokenizer, frames, shots)
            given["video"][i, : len(latents)] = latents
            start["video"][i, : len(latents)] = 0
        if request.remixed is not None or request.edited is not None:
            (old,) = request.sources
            for m, shots in pipeline.format.latent_shots().items():
                given[m][i] = old.latents[m]
                anew = shots == request.edit_shot - 1
                start[m][i] = anew if request.remixed is None else request.strength
        if request.given_audio is not None:
            given["audio"][i] = codec.encode(pipeline.audio_tokenizer, request.given_audio)
            start["audio"][i] = 0
    return start, given


def _with_shot(
    request: Request, format: ClipFormat, frames: np.ndarray, samples: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the frames and samples of the clip `edited`, with its shot `edit_shot` replaced by
    new ones. The new sound is cross-faded into the old.

    Args:
        request: a request that edits a clip.
        format: that of the clip.
        frames: the new frames, float32 [F, H, W, 3]; only those of the shot are used.
        samples: the new samples, float32 [S]; only those of the shot are used.
    """
    (old,) = request.sources
    inside = format.frame_shots() == request.edit_shot - 1
    shown = np.flatnonzero(inside)
    first, end = (round(int(i) * SAMPLE_RATE / format.fps) for i in (shown[0], shown[-1] + 1))
    whole = np.array(old.samples, np.float32)
    windows.lay(whole, samples[first:end], first)
    return np.where(inside[:, None, None, None], frames, as_floats(old.frames, "edited")), whole


def _padded(x: np.ndarray, rows: int) -> np.ndarray:
    """Returns x [B, ...] with its last entry repeated up to `rows` entries."""
    return np.concatenate([x, np.repeat(x[-1:], rows - len(x), 0)])


def _latent_shapes(format: ClipFormat) -> dict[str, tuple[int, ...]]:
    return {
        "video": (format.video_latents, *format.latent_sides, VIDEO_CHANNELS),
        "audio": (format.audio_latents, AUDIO_CHANNELS),
    }


def sample_latents(
    pipeline: "Pipeline",
    requests: Sequence[Request],
    keys: jax.Array,
    start: Mapping[str, np.ndarray],
    given: dict[str, np.ndarray],
    times: Mapping[str, Any],
    on_step: OnStep,
    placed: Placed | None = None,
) -> dict[str, np.ndarray]:
    """Samples the latents of a batch of requests with one sampler setting.

    Args:
        pipeline: the pipeline.
        requests: B requests, for their prompts, characters and sampler.
        keys: random keys [B] of the noise.
        start: start levels {"video": [B, T], "audio": [B, N]}.
        given: latents with the shapes of the result, used where the start level is below 1.
        times: midpoints of the latents in seconds, {"video": [T], "audio": [N]}, of several shots
            with "video_shots" and "audio_shots" (`ClipFormat.latent_times`).
        on_step: called with (steps done, steps) after every step of the sampler.
        placed: the modules on their devices. Default: on one.

    Returns:
        The latents {"video": [B, T, h, w, C], "audio": [B, N, C]}, float32.
    """
    placed = placed or pipeline.placed(1)
    config = sampler_of(pipeline, requests[0])
    names = [list(request.characters) for request in requests]
    text = _text(pipeline, [request.prompt for request in requests], names)
    negative = _text(pipeline, [request.negative_prompt for request in requests], names)
    # The negative prompt has the references too: their guidance has a scale of its own.
    if references := reference_latents(pipeline, requests):
        text["references"] = negative["references"] = references
    # Without any text, text guidance has no effect: skip its pass.
    if not text["mask"].any() and not negative["mask"].any():
        guidance = dataclasses.replace(config.guidance, text=1.0, video=None, audio=None)
        config = dataclasses.replace(config, guidance=guidance)
    if not references:
        config = dataclasses.replace(
            config, guidance=dataclasses.replace(config.guidance, reference=1.0)
        )
    shapes = _latent_shapes(pipeline.format)
    batch = placed.spread((keys, start, given, text, negative))
    keys, start, given, text, negative = batch
    latents = sample(
        placed.model, keys, shapes, start, given, text, negative, times, config, on_step
    )
    return {m: np.asarray(x) for m, x in latents.items()}


def _text(
    pipeline: "Pipeline", texts: Sequence[str | None], names: Sequence[Sequence[str]]
) -> dict[str, Any]:
    words = encode_prompts(pipeline.text_tokenizer, [text or "" for text in texts], names)
    return {name: jnp.asarray(x) for name, x in words.items()}


def finished(
    pipeline: "Pipeline",
    request: Request,
    frames: np.ndarray,
    samples: np.ndarray,
    latents: dict[str, np.ndarray],
    cache: Any,
    clock: Laps,
) -> Generated:
    """Returns a generated clip, with its notes and provenance.

    Args:
        pipeline: the pipeline that made it.
        request: the request.
        frames: float32 [F, H, W, 3] in [0, 1].
        samples: float32 [S].
        latents: {"video": [T, h, w, C], "audio": [N, C]}.
        cache: the video decoder's cache after the last latent, or None.
        clock: stopwatch whose laps become the clip's `timings`.

    Raises:
        UserError: an array has NaN or infinity.
    """
    check_finite(request, latents, frames, samples)
    format = pipeline.format
    if not format.shots:
        count = windows.stream_frames(len(latents["video"]), format)
        format = dataclasses.replace(format, frames=count)
    provenance = pipeline.provenance(request)
    return Generated(
        frames,
        samples,
        format.fps,
        notes=pipeline.notes(request),
        format=format,
        latents=latents,
        cache=cache,
        provenance=provenance,
        family=record.family_of(provenance),
        timings=clock.laps,
    )
