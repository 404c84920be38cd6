"""The work of a scoreboard on single clips: scenes are drawn, a model is asked, clips are
measured.
"""

from collections.abc import Callable, Iterable, Sequence

from sora_jax.evaluation import baselines, suites
from sora_jax.evaluation.baselines import Pair
from sora_jax.evaluation.metrics import Unscored, Value
from sora_jax.evaluation.suites import Part, Suite
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.modality import ClipFormat
from sora_jax.oracles.examples import Example
from sora_jax.pipelines.likeness import Likeness
from sora_jax.pipelines.request import Request
from sora_jax.worlds.playhouse.draw import Take, draw
from sora_jax.worlds.playhouse.references import cast_references

MAX_TRIES = 50  # maximum number of scenes drawn for each scene that a part keeps


def draw_takes(part: Part, format: ClipFormat, count: int) -> list[Take]:
    """Returns the first `count` takes of a part of a suite that the part keeps, from its splits in
    turns.

    Args:
        part: the part.
        format: format of the clips.
        count: number of takes.
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
    """Returns the references of the cast of a take by name, at most `slots` of them, with stills of
    `size` pixels.

    They are those that a set of latents holds for the take (`references.cast_references`).
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
    format: ClipFormat,
    slots: int = 0,
) -> Request:
    """Returns the request of a model for a scene; `ask` as in `suites`, or None for an
    unconditional one.

    The first frames are as many as whole latents need to show GIVEN. A model that learned
    references, `slots` of them, is shown the cast of the scene if it is given the caption.
    """
    if ask is None:
        return Request(seed=seed, sampler=sampler, unconditional=True)
    if ask == "prompt":
        cast = likenesses(clip.take, slots, format.size)
        return Request(clip.take.captions[0], seed=seed, sampler=sampler, characters=cast)
    group = format.frames_per_latent
    first = clip.frames[: 1 + group * -(-(baselines.GIVEN - 1) // group)]
    prompt = clip.take.intents[0] if ask == "intent" else None
    return Request(prompt, seed=seed, sampler=sampler, first_frame=first)


def measure(
    suite: Suite,
    read: Callable[[int], Pair],
    indices: Iterable[int],
    others: Sequence[Sequence[int]],
) -> list[dict]:
    """Measures the clips of a row in every metric of a suite.

    Args:
        suite: the suite.
        read: function i -> (clip i of the row, its reading).
        indices: indices of the clips to measure.
        others: for each clip of the row, the indices of the clips in its floor
            (`baselines.partners`).

    Returns:
        One dictionary of JSON values per clip: {"values": {metric: value}, "floors":
        {metric: [values]}, "groups": {name: group}}.
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
