"""Suites: groups of metrics of a model, with the scenes to generate and the calibrated oracle of
each metric.

A suite is a record of three things: parts (scenes of a family, and the training data that a model
needs for them), the form of the prompt, and metrics. Each metric names its oracle. If
`oracles.catalogue.ORACLES` lacks that oracle, the metric has the status `NO_ORACLE`, never zero.

    ask     conditioning of the model. "prompt": the caption; "intent": the intended action without
            its outcome, and the first frames; "frames": the first frames alone
    mixed   how the floor of a row is made from the row's own clips (`baselines.mixed`). "clips":
            each take with the clips of others; "frames": the frames permuted; "sounds": the audio
            of other clips; "pieces": the clip's own audio in permuted pieces of 50 ms
    of      the row that the suite measures: the model, or the tokenizers' round trip

`scoreboard.py` runs suites. To add one, register a record: `SUITES.register(Suite("mine", ...))`.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from sora_jax.evaluation import round_trip
from sora_jax.modality import ClipFormat
from sora_jax.oracles.catalogue import ORACLES
from sora_jax.oracles.examples import AUDIO, VIDEO, Example
from sora_jax.oracles.facts import KINDS, ball_facts, compare, tracked
from sora_jax.oracles.loudness import in_order, speeds
from sora_jax.oracles.onsets import true_impacts
from sora_jax.oracles.physics import bounces, read_gravity
from sora_jax.oracles.phyworld import compare_motion
from sora_jax.oracles.reading import Reading
from sora_jax.oracles.words import spoken_words, word_error_rate
from sora_jax.registry import Registry
from sora_jax.weights import families_of
from sora_jax.worlds.playhouse.draw import Take
from sora_jax.worlds.playhouse.families.court import MARGIN_PX

NOT_TRAINED, NO_ORACLE = "not trained", "no oracle"
MODEL, ROUND_TRIP = "model", "tokenizer round trip"


class Unscored(str):
    """A value of a metric that says why a clip has none, although its scene tests the metric."""


# A number, or several if a clip has several events to measure; None if the scene does not test the
# metric.
Value = float | list[float] | None | Unscored


@dataclasses.dataclass(frozen=True)
class Metric:
    """One metric of a suite.

    Attributes:
        oracle: key in `ORACLES`; None for a metric that compares with the reference only.
        read: function (clip with the prompted take, its reading) -> value.
        unit: unit of the values. Default: "share".
        corrected: if True, the score is `statistics.corrected` for its floor, and "raw" holds the
            mean. Default: False.
    """

    oracle: str | None
    read: Callable[[Example, Reading], Value]
    unit: str = "share"
    corrected: bool = False


def _every(take: Take, format: ClipFormat) -> bool:
    return True


def _clear(take: Take, format: ClipFormat) -> bool:
    """Returns whether the outcome is visible at this size."""
    return take.margin_px(format.size) >= MARGIN_PX


def _narrated(take: Take, format: ClipFormat) -> bool:
    return take.scene.narration is not None


@dataclasses.dataclass(frozen=True)
class Part:
    """The scenes of one family that a suite scores.

    Attributes:
        family: name of the family.
        splits: splits of the family; scenes are drawn from them in turns. Default: "val".
        trained_on: the model must have been trained on one of these families to be scored. Default:
            none.
        keep: function (take, format) -> whether the scene is scored. Default: every scene.
    """

    family: str
    splits: tuple[str, ...] = ("val",)
    trained_on: tuple[str, ...] = ()
    keep: Callable[[Take, ClipFormat], bool] = _every


@dataclasses.dataclass(frozen=True)
class Suite:
    """A group of metrics with the scenes to generate for them.

    Attributes:
        name: key in SUITES and in scores.json, and the value of --suite.
        parts: {name: part}; a suite of one part uses the name "".
        metrics: {name: metric}.
        ask: what the model is given: "prompt" (default), the caption; "intent", the intended action
            and the first frames; "frames", the first frames alone.
        mixed: how the clips are mixed for the floor: "clips" (default), "frames", "sounds",
            "pieces", or None for no floor.
        format: clip format if the model is not scored. Default: "nano".
        of: the row that the suite measures, the model (default) or the tokenizers' round trip.
        groups: {name: function of a take -> its group, or None}; scores are also shown per group.
    """

    name: str
    parts: dict[str, Part]
    metrics: dict[str, Metric]
    ask: str = "prompt"
    mixed: str | None = "clips"
    format: str = "nano"
    of: str = MODEL
    groups: dict[str, Callable[[Take], str | None]] = dataclasses.field(default_factory=dict)

    @property
    def ready(self) -> tuple[str, ...]:
        """The names of the metrics whose oracle is registered."""
        return tuple(
            name
            for name, metric in self.metrics.items()
            if metric.oracle is None or metric.oracle in ORACLES
        )


def judged(oracle: str) -> Metric:
    """Returns a metric: the share of clips that an oracle reads correctly (`Oracle.judge`).

    oracle is its name in ORACLES.
    """

    def read(clip: Example, reading: Reading) -> Value:
        correct = ORACLES[oracle].judge(clip, reading)
        return None if correct is None else float(correct)

    return Metric(oracle, read)


def unread(oracle: str | None, reading: Reading) -> str | None:
    """Returns the reason why an oracle cannot read a clip; None if it can.

    A modality that it needs is missing or too short.

    Args:
        oracle: name in ORACLES; None for no oracle.
        reading: that of the clip.
    """
    media = ORACLES[oracle].media if oracle else ()
    return (reading.audio_fault if AUDIO in media else None) or (
        reading.video_fault if VIDEO in media else None
    )


def _fact(kind: str) -> Callable[[Example, Reading], Value]:
    """Returns a metric: whether all facts of a kind match the prompt."""

    def read(clip: Example, reading: Reading) -> Value:
        match = compare(reading.facts, ball_facts(clip.take), reading.coherent)[kind]
        return None if match is None else float(match)

    return read


def _all_one_ball(clip: Example, reading: Reading) -> Value:
    return _fact("all")(clip, reading) if len(ball_facts(clip.take).balls) == 1 else None


def _tracked_frames(clip: Example, reading: Reading) -> Value:
    """Returns the share of frames in which every ball of the caption is found exactly once. 0 if
    one of them does not move.
    """
    return float(np.mean(tracked(reading.tracks, ball_facts(clip.take))))


def _sync(field: str) -> Callable[[Example, Reading], Value]:
    """Returns a metric: agreement of the visible and audible impacts.

    A clip without any impact scores 0 if the scene has one, although its impacts agree trivially.
    """

    def read(clip: Example, reading: Reading) -> Value:
        if not true_impacts(clip.take):
            return None
        if field != "offset":
            return (
                getattr(reading.sync, field)
                if reading.seen_impacts or reading.heard_impacts
                else 0.0
            )
        if math.isnan(reading.sync.offset):
            return Unscored("no impact is both visible and audible")
        return 1e3 * reading.sync.offset

    return read


def _one_launch(take: Take) -> str | None:
    """Returns the launch of the only ball; None for several balls."""
    balls = ball_facts(take).balls
    return balls[0].launch if len(balls) == 1 else None


def _balls(take: Take) -> str:
    """Returns the number of balls in a caption, as text."""
    return str(len(ball_facts(take).balls))


def _law(field: str) -> Callable[[Example, Reading], Value]:
    def read(clip: Example, reading: Reading) -> Value:
        physics = reading.of("physics")
        if physics is None:
            return Unscored("no ball is found")
        value = getattr(physics, field)
        return None if value is None else float(value)

    return read


def _gravity(clip: Example, reading: Reading) -> Value:
    """Returns the relative error |g read - g| / g."""
    if all(ball.launch == "rolled" for ball in clip.take.scene.balls):
        return None
    gravity = read_gravity(reading.tracks, reading.fps)
    if gravity is None:
        return Unscored("no ball flies")
    return abs(gravity / clip.take.scene.gravity - 1.0)


def _restitution(clip: Example, reading: Reading) -> Value:
    """Returns the share of rebounds with a restitution of at most 1."""
    if not bounces(clip.take):
        return None
    physics = reading.of("physics")
    rebounds = physics.restitution if physics else ()
    return (
        float(np.mean([e <= 1.0 for e in rebounds]))
        if rebounds
        else Unscored("no rebound is visible")
    )


def _heard(clip: Example, reading: Reading) -> Value:
    """Returns whether an impact is audible, for prompts with a bounce."""
    expected = any(ball.bounces for ball in ball_facts(clip.take).balls)
    return float(len(reading.heard_impacts) > 0) if expected else None


def _one_material(clip: Example, reading: Reading) -> Value:
    """Returns whether all impacts of a single ball have the same material."""
    if len(ball_facts(clip.take).balls) != 1 or len(true_impacts(clip.take)) < 2:
        return None
    if len(reading.heard_impacts) < 2:
        return Unscored("fewer than two impacts are audible")
    return float(len(set(reading.of("material"))) == 1)


def _louder(clip: Example, reading: Reading) -> Value:
    if not speeds(clip.take):
        return None
    louder = in_order(reading.of("loudness"))
    if louder is None:
        return Unscored("no two impacts that are visible and audible differ clearly in speed")
    return float(louder)


def _word_errors(clip: Example, reading: Reading) -> Value:
    return word_error_rate(reading.of("words"), spoken_words(clip.take))


def _motion(which: int, reason: str) -> Callable[[Example, Reading], Value]:
    def read(clip: Example, reading: Reading) -> Value:
        values = compare_motion(reading.of("motion"), clip.take, reading.fps)
        return (
            Unscored(reason) if values[which] is None and values[1] is not None else values[which]
        )

    return read


ROOM = {"": Part("room", trained_on=("room",))}
OOD = ("ood_velocity", "ood_size", "ood_velocity_size")
PHYWORLD = {
    f"{task}_{name}": Part(
        f"phyworld_{task}_30k", splits, (f"phyworld_{task}_30k", f"phyworld_{task}_300k")
    )
    for task in ("uniform", "collision", "parabola")
    for name, splits in (("id", ("val",)), ("ood", OOD))
}
SUITES: Registry[Suite] = Registry(
    "suite",
    Suite,
    [
        Suite(
            "physics",
            ROOM,
            {
                "lawful": judged("physics"),
                "gravity_error": Metric("physics", _gravity),
                "rebounds_lose_speed": Metric("physics", _restitution),
                "momentum_error": Metric("physics", _law("momentum_error")),
                "residual": Metric("physics", _law("residual_px"), "px"),
                "energy_gains": Metric("physics", _law("gains"), "count"),
                "kicks": Metric("physics", _law("kicks"), "count"),
                "slips": Metric("physics", _law("slips"), "count"),
                "teleports": Metric("physics", _law("teleports"), "count"),
            },
            mixed="frames",
        ),
        Suite(
            "failed_actions",
            {"": Part("court", trained_on=("court",), keep=_clear)},
            {"outcome_as_simulated": judged("outcome")},
            ask="intent",
        ),
        Suite(
            "permanence",
            {"": Part("occlude", trained_on=("occlude",))},
            {"kept": judged("permanence")},
            ask="intent",
            mixed="frames",
        ),
        Suite(
            "styles",
            {"": Part("film", trained_on=("film",))},
            {"style": judged("style"), "camera": judged("camera")},
        ),
        Suite(
            "sync",
            ROOM,
            {
                "f1_100ms": Metric("sync", _sync("f1_100ms"), "F1", corrected=True),
                "f1_50ms": Metric("sync", _sync("f1_50ms"), "F1", corrected=True),
                "offset": Metric("sync", _sync("offset"), "ms"),
            },
            mixed="sounds",
        ),
        Suite(
            "sound",
            ROOM,
            {
                "impacts_heard": Metric("onsets_audio", _heard),
                "one_material": Metric("material", _one_material),
                "faster_is_louder": Metric("loudness", _louder),
            },
            mixed="pieces",
        ),
        Suite(
            "speech",
            {"": Part("film", trained_on=("film",), keep=_narrated)},
            {"words": judged("words"), "word_error_rate": Metric("words", _word_errors)},
        ),
        Suite(
            "facts",
            ROOM,
            {kind: Metric("facts", _fact(kind)) for kind in (*KINDS, "all")}
            | {
                "all_one_ball": Metric("facts", _all_one_ball),
                "tracked_frames": Metric("tracker", _tracked_frames),
            },
            groups={"balls": _balls, "launch": _one_launch},
        ),
        Suite(
            "tokenizers",
            ROOM,
            {
                name: Metric(oracle, read, unit)
                for name, (oracle, read, unit) in round_trip.METRICS.items()
            },
            mixed=None,
            of=ROUND_TRIP,
        ),
        Suite(
            "phyworld",
            PHYWORLD,
            {
                "error": Metric(
                    "motion", _motion(0, "no ball is found in a scored step"), "units/s"
                ),
                "lost": Metric("motion", _motion(1, "")),
            },
            ask="frames",
            format="phyworld",
        ),
    ],
)


def values(suite: Suite, clip: Example, reading: Reading) -> dict[str, Value]:
    """Returns {metric: value} of one clip, for every metric of a suite whose oracle is registered.

    Args:
        suite: the suite.
        clip: the clip, with the prompted take.
        reading: the oracles' readings of the clip.
    """
    found = {}
    for name in suite.ready:
        reason = unread(suite.metrics[name].oracle, reading)
        found[name] = Unscored(reason) if reason else suite.metrics[name].read(clip, reading)
    return found


def trained(part: Part, data: dict) -> bool:
    """Returns whether a model was trained on what a part of a suite needs: `data` of its card names
    one of `part.trained_on`.
    """
    return not set(families_of({"data": data})).isdisjoint(part.trained_on)
