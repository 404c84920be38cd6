"""Conditioning on latents: which latent frames are given, and the noise level of every frame.

A frame here is one time step of the latents of video or audio. Every frame has a start level a:
0 is given, 1 is to be generated, and a level between is to be modified. At the global level s of a
sampler the frame has, and the model receives, the level

    l = min(s, a)                                                           (1)

So the frame is held at (1 - a) x + a e (x latents, e noise) while s > a, and is integrated with the
rest from there. This one mechanism covers image to video, extension forwards and backwards, video
to audio, audio to video, and remixing. Per-frame levels follow Open-Sora 1.2 (masked timesteps,
arXiv:2412.20404), LTX-2 (arXiv:2601.03233) and diffusion forcing (arXiv:2407.01392).

Training draws one task per clip from a table (`TaskMixture`). In half of the clips the given
frames are lightly noised (a = h ~ U(0, 0.1), else 0), so that a clip extended from its own
output does not drift (addnoise_condition of SkyReels-V2, arXiv:2504.13074; LongCat-Video,
arXiv:2510.22200).

The task `continuation` has two forms, each drawn half of the time. The prefix either starts
with latent 0, or starts at latent 1 and latent 0 (the only one that spans a single frame) is
generated. With the second form a clip of any length can be extended in windows that look
like training clips: its last whole latents become latents 1, 2, ... of the window, and latent 0 of
the window is discarded.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int, PRNGKeyArray

from sora_jax.config import within
from sora_jax.typing import AnyArray, Times


@dataclasses.dataclass(frozen=True)
class TaskMixture:
    """Relative weights of the training tasks. A task selects the latents that are given besides the
    text.

    Attributes:
        text: no latent is given. Default 0.70.
        first_frame: video latent 0, or the first `FlowConfig.first_latents`. Default 0.08.
        continuation: a prefix of video and audio. Default 0.08.
        backward: a suffix of video and audio. Default 0.02.
        video_to_audio: all of the video. Default 0.06.
        audio_to_video: all of the audio. Default 0.06.
        between: a prefix and a suffix of video and audio. In a clip of several shots, half of the
            draws give all shots except one instead. Default 0.
    """

    text: float = 0.70
    first_frame: float = 0.08
    continuation: float = 0.08
    backward: float = 0.02
    video_to_audio: float = 0.06
    audio_to_video: float = 0.06
    between: float = 0.0

    def __post_init__(self):
        names = [field.name for field in dataclasses.fields(self)]
        within(self, "[0, inf)", *names)
        if not any(getattr(self, name) for name in names):
            raise ValueError("the weights of all tasks are 0; give one of them more, as text=1")


def latent_spans(times: Times) -> dict[str, tuple[Float[Array, " _"], Float[Array, " _"]]]:
    """Returns (start, end) in seconds of every latent of a clip that begins at 0, by modality:
    {"video": ([T], [T]), "audio": ([N], [N])}.

    The first latent of a shot spans one frame and each other latent k frames, so their half-widths
    are t_0 (1, k, k, ...), where t are the midpoints and k t_0 = t_1 - 2 t_0. All audio latents
    have the same width.

    Args:
        times: midpoints of the latents in seconds, {"video": [T], "audio": [N]}, and for a clip of
            several shots the shot of each video latent from 1, {"video_shots": [T]}.
    """
    video, audio = jnp.asarray(times["video"]), jnp.asarray(times["audio"])
    shots = jnp.asarray(times.get("video_shots", jnp.ones_like(video)))
    single = jnp.diff(shots, prepend=0) > 0
    half = jnp.where(single, video[0], video[min(1, len(video) - 1)] - 2.0 * video[0])
    return {"video": (video - half, video + half), "audio": (audio - audio[0], audio + audio[0])}


def draw_given(
    key: PRNGKeyArray,
    batch: int,
    times: Times,
    tasks: TaskMixture,
    has_audio: Bool[AnyArray, " {batch}"],
    first_latents: int = 1,
) -> tuple[dict[str, Bool[Array, "{batch} _"]], Bool[Array, " {batch}"]]:
    """Draws a training task per clip and returns the latents that it gives.

    Args:
        key: random key.
        batch: number of clips B.
        times: midpoints of the latents in seconds, {"video": [T], "audio": [N]}, and for a clip of
            several shots the shot of each video latent from 1, {"video_shots": [T]}.
        tasks: weights of the tasks.
        has_audio: bool [B]. Clips without audio that draw video_to_audio or audio_to_video fall
            back to text alone.
        first_latents: number of video latents that the task first_frame gives. Default 1.

    Returns:
        Masks of the latents, {"video": bool [B, T], "audio": bool [B, N]}, True where a latent is
        given; and bool [B], True for clips with at least one given latent.
    """
    task_key, first_key, cut_key = jax.random.split(key, 3)
    spans = latent_spans(times)
    frames = spans["video"][0].shape[0]
    # If the weight of `between` is 0, it is left out, so that runs from before it existed draw the
    # same tasks.
    names = [f.name for f in dataclasses.fields(tasks) if f.name != "between" or tasks.between]
    weights = jnp.asarray([getattr(tasks, name) for name in names], jnp.float32)
    task = jax.random.categorical(task_key, jnp.log(weights), shape=(batch,))
    is_task = {name: (task == i)[:, None] for i, name in enumerate(names)}
    for name in ("video_to_audio", "audio_to_video"):
        is_task[name] &= has_audio[:, None]

    # `first` is the first latent of the prefix, 0 or 1. `cut` is the first latent after the prefix,
    # or the first of the suffix. Both parts keep at least one latent.
    first = jax.random.bernoulli(first_key, 0.5, (batch, 1)).astype(jnp.int32)
    low = jnp.minimum(first + 1, frames - 1)
    cut = jax.random.randint(
        cut_key, (batch, 1), jnp.where(is_task["continuation"], low, 1), max(frames, 2)
    )
    index = jnp.arange(frames)[None]
    eps = 1e-4  # seconds; float32 spans do not meet exactly
    edge_end = spans["video"][1][cut - 1]  # end of the prefix
    edge_start = spans["video"][0][jnp.minimum(cut, frames - 1)]  # start of the suffix
    start, end = (x[None] for x in spans["audio"])
    audible = has_audio[:, None]
    video = (
        (is_task["first_frame"] & (index < first_latents))
        | (is_task["continuation"] & (index >= first) & (index < cut))
        | (is_task["backward"] & (index >= cut))
        | is_task["video_to_audio"]
    )
    audio = audible & (
        (is_task["continuation"] & (end <= edge_end + eps))
        | (is_task["backward"] & (start >= edge_start - eps))
        | is_task["audio_to_video"]
    )
    if tasks.between:
        made = _between(cut_key, batch, first, frames, times)
        kept = is_task["between"] & ~made & (index >= first)
        begin = jnp.where(made, spans["video"][0], jnp.inf).min(1, keepdims=True)
        until = jnp.where(made, spans["video"][1], -jnp.inf).max(1, keepdims=True)
        outside = (end <= begin + eps) | (start >= until - eps)
        video, audio = video | kept, audio | (is_task["between"] & audible & outside)
    given = {
        "video": video & jnp.ones((batch, frames), bool),
        "audio": audio & jnp.ones((batch, start.shape[1]), bool),
    }
    return given, given["video"].any(1) | given["audio"].any(1)


def _between(
    key: PRNGKeyArray, batch: int, first: Int[Array, "{batch} 1"], frames: int, times: Times
) -> Bool[Array, "{batch} {frames}"]:
    """Draws the video latents that the task `between` leaves to generate: an interval, or the
    latents of one shot. Returns a mask [B, T], True for them.

    Args:
        key: random key.
        batch: number of clips B.
        first: first latent of the prefix, 0 or 1, [B, 1].
        frames: number of latents T.
        times: midpoints of the latents in seconds, with "video_shots" for a clip of several shots
            (`draw_given`).
    """
    begin_key, end_key, shot_key, choice_key = jax.random.split(key, 4)
    low = jnp.minimum(first + 1, frames - 1)
    begin = jax.random.randint(begin_key, (batch, 1), low, max(frames - 1, 2))
    end = jax.random.randint(end_key, (batch, 1), begin + 1, jnp.maximum(frames, begin + 2))
    index = jnp.arange(frames)[None]
    made = (index >= begin) & (index < end)
    if "video_shots" in times:
        shots = jnp.asarray(times["video_shots"])[None]
        shot = jax.random.randint(shot_key, (batch, 1), 1, shots.max().astype(jnp.int32) + 1)
        whole = jax.random.bernoulli(choice_key, 0.5, (batch, 1))
        made = jnp.where(whole, shots == shot, made)
    return made


def effective_level(
    s: float | Float[AnyArray, "..."], start: Float[AnyArray, "B T"]
) -> Float[Array, "B T"]:
    """Returns the noise level of every frame, [B, T]: the smaller of global and start level,
    equation (1).

    Args:
        s: global level in [0, 1], scalar or [B, 1].
        start: start levels [B, T]: 0 is given, 1 is to be generated.
    """
    return jnp.minimum(s, start)
