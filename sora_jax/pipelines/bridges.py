"""Generates bridges. A bridge leads to a clip: from another clip (`joined`), from its own end
(`looped`), or from nowhere (`preceded`).

A bridge is a window with the T latents of the model's clips (`modality`: k frames each, but latent
0 is one frame). Let the first clip have J latents. With a of them and b of the second clip given:

    slots 0 .. a          latents J-1-a .. J-1 of the first clip; slot 0, which holds one frame, is
                          given only if it is the clip's latent 0
    slots a+1 .. T-1-b    n = T-1-a-b latents, generated
    slots T-b .. T-1      latents 1 .. b of the second clip

Latent 0 of the second clip is one frame, so it gets no slot. The last of the k n generated frames
stands for that frame and is replaced by it, so k n - 1 frames are new. Without a first clip a is 0,
and slot 0 is generated too.

The audio of a window is given where a clip has it. The samples of the clips are written into a
silent window, which is encoded. A latent is given if it lies wholly in a clip, except the one at
a cut end. If a bridge must be longer than a window, the first clip is extended before it
(`synthesis.extended`); without a first clip, several windows follow each other backward.
"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from sora_jax.clip import as_floats
from sora_jax.errors import UserError
from sora_jax.modality import SAMPLE_RATE, SAMPLES_PER_LATENT, ClipFormat
from sora_jax.pipelines import codec, synthesis, windows
from sora_jax.pipelines.generated import Generated
from sora_jax.pipelines.request import SECONDS, Request
from sora_jax.progress import Laps

if TYPE_CHECKING:
    from sora_jax.pipelines.generate import Pipeline


@dataclasses.dataclass(frozen=True)
class Bridge:
    """A window that leads to a clip, by its numbers of video latents.

    Attributes:
        before: a, latents of the first clip that are given; 0 without a first clip.
        made: n, latents that are generated, without slot 0.
        after: b, latents of the second clip that are given.
    """

    before: int
    made: int
    after: int


class Plan(NamedTuple):
    """The work for a request: first an extension, then windows.

    Attributes:
        extra: latents by which the first clip is extended before the windows.
        bridges: the windows, in the order in which they are generated.
    """

    extra: int
    bridges: list[Bridge]


def plan(first: int, second: int, wanted: int, format: ClipFormat) -> Plan:
    """Plans the way from one clip to another, or to one clip from nowhere.

    Args:
        first: number of video latents of the first clip; 0 for no first clip.
        second: number of video latents of the second clip, at least 2.
        wanted: latents to generate between them. The plan generates at least as many.
        format: that of the pipeline, of at least 4 latents.

    Raises:
        UserError: the model's clips, or the second clip, are too short.
    """
    slots = format.video_latents - 1
    if slots < 3 or second < 2:
        short = f"this model's clips of {slots + 1} latents" if slots < 3 else "a clip of one frame"
        raise UserError(
            f"nothing can lead to a clip: {short} cannot overlap; give at least "
            + ("4 (in_format)" if slots < 3 else f"{1 + format.frames_per_latent} frames"),
            field="between" if first else "preceded",
        )
    if not first:
        bridges: list[Bridge] = []
        while wanted > 0:
            after = min(second - 1, max(slots - wanted, (slots + 1) // 2))
            bridges.append(Bridge(0, slots - after, after))
            wanted, second = wanted - bridges[-1].made, second + bridges[-1].made
        return Plan(0, bridges)
    given = max(slots - wanted, 2 * max(1, slots // 4))  # latents of both clips
    after = min(second - 1, given // 2)
    extra = max(0, wanted - (slots - given))
    before = min(first - 1 + extra, given - after)
    return Plan(extra, [Bridge(before, slots - before - after, after)])


def plan_of(request: Request, format: ClipFormat) -> Plan:
    """Returns the plan of a request with `between`, `preceded` or `loop`."""
    known = [len(clip.latents["video"]) for clip in request.sources] or [format.video_latents] * 2
    first, second = known if len(known) == 2 else (0, *known)
    wanted = -(-round(request.seconds * format.fps, 6) // format.frames_per_latent)
    return plan(first, second, int(wanted), format)


def added_latents(request: Request, format: ClipFormat) -> int:
    """Returns the number of video latents that a request for a bridge adds."""
    extra, bridges = plan_of(request, format)
    return extra + sum(bridge.made for bridge in bridges)


def window_count(request: Request, format: ClipFormat) -> int:
    """Returns the number of windows of a request for a bridge, each one run of the sampler. The
    clip that a loop begins with counts as one.
    """
    extra, bridges = plan_of(request, format)
    first = format.video_latents if request.loop else len(request.sources[0].latents["video"])
    count = windows.count(first, first + extra, format) if extra else 0
    return int(request.loop) + count + len(bridges)


def joined(pipeline: "Pipeline", request: Request, on_step: synthesis.OnStep) -> Generated:
    """Generates what leads from the first clip of `between` to the second.

    Returns:
        One clip: the first, what was generated, and the second.
    """
    clock = Laps()
    first, second = request.sources
    first, bridge = _extended(pipeline, request, first, on_step)
    latents, frames, samples = _bridged(pipeline, request, first, second, bridge, on_step)
    clock.lap("sample")
    video = (first.latents["video"], latents, second.latents["video"][1:])
    shown = (first.frames, frames, second.frames)
    return _whole(pipeline, request, video, shown, samples, clock)


def preceded(pipeline: "Pipeline", request: Request, on_step: synthesis.OnStep) -> Generated:
    """Generates what leads to the clip `preceded`, and returns that and the clip as one clip."""
    clock = Laps()
    (clip,) = request.sources
    for bridge in plan_of(request, pipeline.format).bridges:
        latents, frames, samples = _bridged(pipeline, request, None, clip, bridge, on_step)
        clock.lap("sample")
        video = (latents, clip.latents["video"][1:])
        clip = _whole(pipeline, request, video, (frames, clip.frames), samples, clock)
    return clip


def looped(pipeline: "Pipeline", request: Request, on_step: synthesis.OnStep) -> Generated:
    """Generates a clip, and a bridge from its end to its beginning.

    When the clip is repeated, its last frame is followed by its first. So it has one frame fewer
    than its latents hold.
    """
    plain = dataclasses.replace(request, loop=False, seconds=SECONDS)
    (start,) = synthesis.fresh(pipeline, [plain], on_step)
    clock = Laps()
    first, bridge = _extended(pipeline, request, start, on_step)
    latents, frames, samples = _bridged(pipeline, request, first, start, bridge, on_step)
    clock.lap("sample")
    end = _sample_of(len(first.frames) + len(frames), pipeline.format)
    after = samples[end : end + windows.SEAM]  # from the bridge into the clip's beginning
    samples[: len(after)] = after
    video, shown = (first.latents["video"], latents), (first.frames, frames)
    return _whole(pipeline, request, video, shown, samples, clock)


def _extended(
    pipeline: "Pipeline", request: Request, clip: Generated, on_step: synthesis.OnStep
) -> tuple[Generated, Bridge]:
    """Returns a clip, extended if the plan of the request says so, and the plan's one bridge."""
    extra, (bridge,) = plan_of(request, pipeline.format)
    if extra:
        seconds = float(extra * pipeline.format.frames_per_latent / pipeline.format.fps)
        more = dataclasses.replace(
            request, between=None, loop=False, first_frame=None, continued=clip, seconds=seconds
        )
        clip = synthesis.extended(pipeline, more, on_step)
    return clip, bridge


def _bridged(
    pipeline: "Pipeline",
    request: Request,
    first: Generated | None,
    second: Generated,
    bridge: Bridge,
    on_step: synthesis.OnStep,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Generates a bridge from `first` (None: from nowhere) to `second`.

    Returns:
        The video latents of the bridge [n, h, w, C], or [n + 1, h, w, C] without a first clip; its
        frames float32 [F, H, W, 3], without the last, which the second clip's first frame replaces;
        and the samples of the first clip, the bridge and the second clip together, float32 [S].
    """
    format = pipeline.format
    known = 0 if first is None else len(first.latents["video"])
    offset = max(0, known - 1 - bridge.before)  # latent of the first clip at slot 0
    begin, end = (0 if first is None else bridge.before + 1), format.video_latents - bridge.after
    video = np.zeros((format.video_latents, *second.latents["video"].shape[1:]), np.float32)
    given = np.zeros(format.video_latents, bool)
    if first is not None:
        video[:begin] = first.latents["video"][offset:]
        given[int(offset > 0) : begin] = True
        video[~given] = 0
    video[end:], given[end:] = second.latents["video"][1 : 1 + bridge.after], True

    start = _sample_of(offset * format.frames_per_latent, format)
    entry = start + _sample_of((end - 1) * format.frames_per_latent, format)
    sounds = [] if first is None else [(0, np.asarray(first.samples))]
    sounds.append((entry, np.asarray(second.samples)))
    sound, heard = _window_sound(sounds, start, format)
    audio = np.where(heard[:, None], codec.encode(pipeline.audio_tokenizer, sound), 0)
    levels = {
        m: np.where(known, synthesis.HISTORY_LEVEL, 1.0)[None]
        for m, known in (("video", given), ("audio", heard))
    }
    key = jax.random.fold_in(jax.random.key(request.seed), known + len(second.latents["video"]))
    batch = {"video": video[None], "audio": audio[None]}
    times = format.latent_times()
    made = synthesis.sample_latents(pipeline, [request], key[None], levels, batch, times, on_step)
    latents = made["video"][0, begin:end]
    tokenizer, sides = pipeline.video_tokenizer, (format.height, format.width)
    cache = None if first is None else first.cache
    if first is not None and cache is None:
        _, (cache,) = codec.decode_video(tokenizer, first.latents["video"][None], sides)
    (frames,), _ = codec.decode_video(tokenizer, latents[None], sides, cache)
    (window,) = codec.decode_audio(pipeline.audio_tokenizer, made["audio"], format.samples)
    samples = np.zeros(sounds[-1][0] + len(sounds[-1][1]), np.float32)
    samples[start : start + len(window)] = window[: len(samples) - start]
    for at, own in sounds:
        windows.lay(samples, own, at)
    return latents, frames[:-1], samples


def _sample_of(frame: int, format: ClipFormat) -> int:
    """Returns the index of the audio sample at which a frame starts."""
    return round(frame * SAMPLE_RATE / format.fps)


def _window_sound(
    sounds: Sequence[tuple[int, np.ndarray]], start: int, format: ClipFormat
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the samples of a window, float32 [S], zeros outside the clips, and a mask bool [N] of
    its audio latents, True where a clip determines the latent.

    Args:
        sounds: (index of its first sample on a common clock, samples [S]) of each clip.
        start: index of the window's first sample on that clock.
        format: that of the window.
    """
    samples = np.zeros(format.samples, np.float32)
    known = np.zeros(format.audio_latents, bool)
    latents = np.arange(format.audio_latents) * SAMPLES_PER_LATENT
    for at, own in sounds:
        low, high = at - start, at - start + len(own)
        inside = slice(max(0, low), min(high, format.samples))
        samples[inside] = own[inside.start - low : inside.stop - low]
        # The encoder reads samples beyond a latent, so the latent at a cut end is not determined.
        low += SAMPLES_PER_LATENT * (low > 0)
        high -= SAMPLES_PER_LATENT * (high < len(samples))
        known |= (latents >= low) & (np.minimum(latents + SAMPLES_PER_LATENT, len(samples)) <= high)
    return samples, known


def _whole(
    pipeline: "Pipeline",
    request: Request,
    video: Sequence[np.ndarray],
    shown: Sequence[np.ndarray],
    samples: np.ndarray,
    clock: Laps,
) -> Generated:
    """Returns the clip that consists of several parts.

    Args:
        pipeline: the pipeline.
        request: the request.
        video: video latents [T, h, w, C] of each part, in order.
        shown: frames [F, H, W, 3] of each part, in order.
        samples: the samples of all parts, [S]; cut or padded to the frames, and encoded.
        clock: stopwatch whose laps become the clip's `timings`.
    """
    frames = np.concatenate([as_floats(x, request.task) for x in shown])
    count = _sample_of(len(frames), pipeline.format)
    samples = np.pad(samples[:count], (0, max(0, count - len(samples))))
    latents = np.concatenate(video)
    whole = {"video": latents, "audio": codec.encode(pipeline.audio_tokenizer, samples)}
    clock.lap("decode")
    return synthesis.finished(pipeline, request, frames, samples, whole, None, clock)
