"""Conditioning on latents: which frames are given, and the level of every frame.

Every latent frame of every modality has a start level a: 0 = given, 1 = to be made, between = to be
changed. At the global level s the frame is at, and the model is told, the level

    l = min(s, a)                                                           (1)

so it is held at (1 - a) x + a e while s > a, and integrated with the rest from there. One mechanism
for image to video, extension forwards and backwards, sound for a picture, a picture for a sound,
and remixing. Per-frame levels: Open-Sora 1.2's masked timesteps, LTX-2, diffusion forcing.

Training draws a task per clip from a table. Given frames are lightly noised in half of the clips (a
= h ~ U(0, 0.1), else 0), so that a clip extended from its own output does not drift (SkyReels-V2's
addnoise_condition; LongCat-Video).

`continuation` has two forms, half of the time each. The prefix may hold latent 0, or begin at
latent 1 with latent 0 (the only one that spans a single frame) left to be made: so a stream of any
length is extended in windows that look as training clips do, its last whole latents in slots 1 ..
k, and slot 0 thrown away.
"""

import dataclasses

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class TaskMixture:
    """Relative weights of the training tasks: what is given beside the text."""

    text: float = 0.70  # nothing
    first_frame: float = 0.08  # video latent 0, or as many of the first as are asked for
    continuation: float = 0.08  # a prefix of picture and sound
    backward: float = 0.02  # a suffix of picture and sound
    video_to_audio: float = 0.06  # the whole picture
    audio_to_video: float = 0.06  # the whole sound


def latent_spans(times: dict[str, jax.Array]) -> dict[str, tuple[jax.Array, jax.Array]]:
    """(start, end) in seconds of every latent of a clip, from the midpoints `times` of a clip that
    begins at 0.

    Video latent 0 spans one frame and the others k each, so half-widths are t_0 (1, k, k, ...), k
    t_0 = t_1 - 2 t_0; audio latents are all alike.
    """
    video, audio = jnp.asarray(times["video"]), jnp.asarray(times["audio"])
    half = jnp.where(
        jnp.arange(video.shape[0]) == 0, video[0], video[min(1, len(video) - 1)] - 2.0 * video[0]
    )
    return {"video": (video - half, video + half), "audio": (audio - audio[0], audio + audio[0])}


def draw_given(
    key: jax.Array,
    batch: int,
    times: dict[str, jax.Array],
    tasks: TaskMixture,
    has_audio: jax.Array,
    first_latents: int = 1,
) -> tuple[dict[str, jax.Array], jax.Array]:
    """Draw a task per clip: ({"video": bool [B, T], "audio": bool [B, N]} given frames, bool [B]
    "some frame is given").

    first_latents: how many latents of the picture the task first_frame gives.

    Clips without sound (has_audio False) that drew a task of the sound's fall back to text alone.
    """
    task_key, first_key, cut_key = jax.random.split(key, 3)
    spans = latent_spans(times)
    frames = spans["video"][0].shape[0]
    weights = jnp.asarray(dataclasses.astuple(tasks), jnp.float32)
    task = jax.random.categorical(task_key, jnp.log(weights), shape=(batch,))
    names = [field.name for field in dataclasses.fields(tasks)]
    is_task = {name: (task == i)[:, None] for i, name in enumerate(names)}
    for name in ("video_to_audio", "audio_to_video"):
        is_task[name] &= has_audio[:, None]

    # A cut is the first latent not in the prefix, or the first of the suffix; both parts keep at
    # least one latent. prefix begins at latent 0 or 1
    first = jax.random.bernoulli(first_key, 0.5, (batch, 1)).astype(jnp.int32)
    low = jnp.minimum(first + 1, frames - 1)
    cut = jax.random.randint(
        cut_key, (batch, 1), jnp.where(is_task["continuation"], low, 1), max(frames, 2)
    )
    index = jnp.arange(frames)[None]
    eps = 1e-4  # seconds: float32 midpoints do not meet exactly
    edge_end = spans["video"][1][cut - 1]  # where the prefix ends
    edge_start = spans["video"][0][jnp.minimum(cut, frames - 1)]  # where the suffix starts
    start, end = (x[None] for x in spans["audio"])
    sound = has_audio[:, None]
    video = (
        (is_task["first_frame"] & (index < first_latents))
        | (is_task["continuation"] & (index >= first) & (index < cut))
        | (is_task["backward"] & (index >= cut))
        | is_task["video_to_audio"]
    )
    audio = sound & (
        (is_task["continuation"] & (end <= edge_end + eps))
        | (is_task["backward"] & (start >= edge_start - eps))
        | is_task["audio_to_video"]
    )
    given = {
        "video": video & jnp.ones((batch, frames), bool),
        "audio": audio & jnp.ones((batch, start.shape[1]), bool),
    }
    return given, given["video"].any(1) | given["audio"].any(1)


def effective_level(s: jax.Array, start: jax.Array) -> jax.Array:
    """Equation (1): global level s (scalar or [B, 1]) and start levels [B, T] -> the level of every
    frame, [B, T].
    """
    return jnp.minimum(s, start)
