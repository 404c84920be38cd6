"""The work of a scoreboard on single clips: it draws scenes, makes the requests for a model, and
measures clips.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from sora_jax.clip import Clip
from sora_jax.evaluation import baselines, suites
from sora_jax.evaluation.baselines import Pair
from sora_jax.evaluation.metrics import Unscored, Value
from sora_jax.evaluation.suites import Part, Suite
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.modality import SAMPLE_RATE, ClipFormat
from sora_jax.oracles.examples import Example
from sora_jax.pipelines.generate import Pipeline
from sora_jax.pipelines.generated import Generated
from sora_jax.pipelines.likeness import Likeness
from sora_jax.pipelines.request import Request
from sora_jax.worlds.playhouse.draw import Take, draw
from sora_jax.worlds.playhouse.references import cast_references

EDITED_SHOT = 2  # the shot that "edited" generates anew, from 1
MAX_TRIES = 50  # largest number of scenes drawn for each scene that is scored


def draw_takes(part: Part, format: ClipFormat, count: int) -> list[Take]:
    """Returns the first `count` takes (scenes with their ground truth) for a part of a suite: those
    that `part.keep` accepts, from its splits in turns.

    Args:
        part: the part.
        format: format of the clips.
        count: number of takes.

    Raises:
        RuntimeError: fewer than one scene in MAX_TRIES is accepted.
    """
    takes, tried = [], 0
    while len(takes) < count:
        if tried > MAX_TRIES * count:
            raise RuntimeError(
                f"{part.family}: {len(takes)} of {tried} scenes of {', '.join(part.splits)} "
                "can be scored"
            )
        take = draw(
            part.splits[tried % len(part.splits)], tried // len(part.splits), family=part.family
        )
        tried += 1
        if part.keep(take, format):
            takes.append(take)
    return takes


def likenesses(take: Take, slots: int, size: int) -> dict[str, Likeness]:
    """Returns the references of a take's characters by name: stills and a voice sample of each,
    which show a model who they are. A training set holds the same ones for the take.

    Args:
        take: the take.
        slots: largest number of characters.
        size: side of the stills in pixels.
    """
    if not slots or not take.scene.cast:
        return {}
    drawn, shown = cast_references([take], slots, size), {}
    for slot, actor in enumerate(take.scene.cast[:slots]):
        voice = drawn["voices"][0, slot] if drawn["heard"][0, slot] else None
        shown[actor.name] = Likeness(drawn["stills"][0, slot], voice, actor.character)
    return shown


def request_of(
    clip: Example,
    ask: str | None,
    seed: int,
    sampler: SamplerConfig,
    pipeline: Pipeline,
    other: Example | None = None,
) -> Request:
    """Returns the request that asks a model for a clip of a scene.

    With the caption, a model that learned references of characters is also given those of the
    scene.

    Args:
        clip: the scene's own render.
        ask: what the model is given, as listed in `suites`; None for an unconditional clip.
        seed: seed of the noise.
        sampler: settings of the sampler.
        pipeline: the model, which also encodes the clips that a request starts from.
        other: a clip of another scene, which "remixed" starts from. Default: None, `clip`.
    """
    if ask is None:
        return Request(seed=seed, sampler=sampler, unconditional=True)
    group = pipeline.format.frames_per_latent
    given: dict[str, Any] = {}
    first = 1 + group * -(-(baselines.GIVEN - 1) // group)  # whole latents that show GIVEN
    half = 1 + group * ((len(clip.frames) - 1) // group // 2)
    if ask == "first_frame":
        given = {"first_frame": clip.frames[0]}
    elif ask in ("intent", "frames"):
        given = {"first_frame": clip.frames[:first]}
    elif ask in ("given_audio", "given_video"):
        given = {ask: clip.samples if ask == "given_audio" else clip.frames}
    elif ask in ("continued", "preceded"):
        part = slice(0, half) if ask == "continued" else slice(len(clip.frames) - half, None)
        added = len(clip.frames) - half
        given = {ask: cut(clip, part, pipeline), "seconds": float(added / pipeline.format.fps)}
    elif ask == "between":
        ends = slice(0, 1 + group), slice(len(clip.frames) - 1 - group, None)
        seconds = float((len(clip.frames) - 1 - 2 * group) / pipeline.format.fps)
        given = {ask: tuple(cut(clip, part, pipeline) for part in ends), "seconds": seconds}
    elif ask == "remixed":
        given = {ask: cut(clip if other is None else other, slice(None), pipeline)}
    elif ask == "edited":
        given = {ask: cut(clip, slice(None), pipeline), "edit_shot": EDITED_SHOT}
    elif ask == "looped":
        given = {"loop": True}
    prompts = clip.take.intents if ask == "intent" else clip.take.captions
    prompt = None if ask == "frames" else prompts[0]
    if ask not in ("intent", "frames"):
        slots = pipeline.model.config.references if pipeline.model else 0
        given["characters"] = likenesses(clip.take, slots, pipeline.format.size)
    return Request(prompt, seed=seed, sampler=sampler, **given)


def cut(clip: Example, part: slice, pipeline: Pipeline) -> Generated:
    """Returns some frames of a rendered clip, with their samples and latents, as a clip that a
    request can start from.

    Args:
        clip: the rendered clip.
        part: slice of its frames, 1 + a multiple of the frames per latent.
        pipeline: the pipeline that encodes them.
    """
    frames = clip.frames[part]
    first = (part.start or 0) * SAMPLE_RATE / clip.format.fps
    format = clip.format
    if len(frames) < format.frames:
        format = dataclasses.replace(format, frames=len(frames), shots=())
    samples = np.asarray(clip.samples)[round(first) :][: format.samples]
    latents = pipeline.encode(Clip(frames, samples, format.fps))
    return Generated(frames, samples, format.fps, format=format, latents=latents)


def measure(
    suite: Suite,
    read: Callable[[int], Pair],
    indices: Iterable[int],
    others: Sequence[Sequence[int]],
) -> list[dict]:
    """Measures clips of a row (the clips of the model or of one baseline) in every metric of a
    suite.

    Args:
        suite: the suite.
        read: function i -> (clip i of the row, its reading).
        indices: indices of the clips to measure.
        others: for each clip of the row, the indices of the clips that its floor is computed with
            (`baselines.partners`).

    Returns:
        One dictionary of JSON values per clip: {"values": {metric: value}, "floors":
        {metric: [values of the clip mixed with others]}, "groups": {grouping: group}}. A value is a
        number, a list of numbers, None, or {"unscored": reason}.
    """
    rows = []
    for i in indices:
        clip, reading = read(i)
        values = suites.values(suite, clip, reading)
        pairs = baselines.mixed(suite.mixed, clip, reading, map(read, others[i]))
        floors = [suites.values(suite, *pair) for pair in pairs]
        rows.append(
            {
                "values": {name: _to_json(x) for name, x in values.items()},
                "floors": {name: [_to_json(floor[name]) for floor in floors] for name in values},
                "groups": {name: group(clip.take) for name, group in suite.groups.items()},
            }
        )
    return rows


def _to_json(value: Value) -> float | list[float] | dict[str, str] | None:
    return {"unscored": str(value)} if isinstance(value, Unscored) else value
