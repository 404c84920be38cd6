"""Suites: what is asked of a model, on which scenes, and which calibrated oracle answers.

A suite is a record: parts (scenes of a family, and what a model must have been trained on to be
asked), how they are asked, and metrics. A metric names its oracle. One that is not registered in
`oracles.catalogue.ORACLES` gives the status `NO_ORACLE`, never zero.

    ask     "prompt": the caption; "intent": what is tried, and the first frames; "frames": the
            first frames alone
    mixed   how the floor of a row is made from the row's own clips (`baselines.mixed`): "clips":
            each take with the clips of others; "frames": the frames in another order; "sounds": the
            sounds of other clips; "pieces": the own sound in pieces of 50 ms in another order
    of      the row that the suite measures: the model, or the tokenizers' round trip

`scoreboard.py` runs suites. A new suite is a new record: `SUITES.register(Suite("mine", ...))`.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from sora_jax.evaluation import round_trip
from sora_jax.modality import ClipFormat
from sora_jax.oracles.catalogue import ORACLES
from sora_jax.oracles.examples import AUDIO, VIDEO, Example
from sora_jax.oracles.facts import KINDS, compare, tracked
from sora_jax.oracles.loudness import in_order, speeds
from sora_jax.oracles.onsets import true_impacts
from sora_jax.oracles.physics import bounces, read_gravity
from sora_jax.oracles.phyworld import compare_motion
from sora_jax.oracles.reading import Reading
from sora_jax.oracles.words import said, word_error_rate
from sora_jax.registry import Registry
from sora_jax.worlds.playhouse.draw import Take
from sora_jax.worlds.playhouse.families.court import MARGIN_PX

NOT_TRAINED, NO_ORACLE = "not trained", "no oracle"
MODEL, ROUND_TRIP = "model", "tokenizer round trip"


class Unscored(str):
    """Why a clip has no value of a metric that was asked of it."""


# A number; several where a clip has several things to measure; None where the scene asks nothing.
Value = float | list[float] | None | Unscored


@dataclasses.dataclass(frozen=True)
class Metric:
    """One number of a suite.

    Attributes:
        oracle: a name in `ORACLES`; None for what compares with the reference alone.
        read: (the clip with the take that was asked for, its reading) -> value.
        corrected: the metric is `statistics.corrected` for its floor, and the mean itself is kept
            as "raw".
    """

    oracle: str | None
    read: Callable[[Example, Reading], Value]
    unit: str = "share"
    corrected: bool = False


def _every(take: Take, form: ClipFormat) -> bool:
    return True


def _clear(take: Take, form: ClipFormat) -> bool:
    """Can the outcome be seen?"""
    return take.margin_px(form.size) >= MARGIN_PX


def _narrated(take: Take, form: ClipFormat) -> bool:
    return take.scene.narration is not None


@dataclasses.dataclass(frozen=True)
class Part:
    """Scenes of a family.

    Attributes:
        splits: of the family, from which scenes are taken in turns.
        trained_on: the families of which a model must have learned one to be asked.
        keep: (take, format) -> whether the scene is scored.
    """

    family: str
    splits: tuple[str, ...] = ("val",)
    trained_on: tuple[str, ...] = ()
    keep: Callable[[Take, ClipFormat], bool] = _every


@dataclasses.dataclass(frozen=True)
class Suite:
    """What is asked of a model.

    Attributes:
        name: in SUITES, in scores.json and of --suite.
        parts: by name; a suite of one part has "" for it.
        metrics: by name.
        ask, mixed, of: see above.
        format: of clips where no model is asked.
        groups: {name: take -> the group for which scores are shown too, or None}.
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
        """The metrics whose oracle is registered."""
        return tuple(
            name
            for name, metric in self.metrics.items()
            if metric.oracle is None or metric.oracle in ORACLES
        )


def judged(oracle: str) -> Metric:
    """The share of clips whose reading by an oracle is correct (`Oracle.judge`)."""

    def read(clip: Example, reading: Reading) -> Value:
        correct = ORACLES[oracle].judge(clip, reading)
        return None if correct is None else float(correct)

    return Metric(oracle, read)


def unread(oracle: str | None, reading: Reading) -> str | None:
    """Why an oracle cannot read the clip: a medium that it needs is missing or too short."""
    media = ORACLES[oracle].media if oracle else ()
    return (reading.unheard if AUDIO in media else None) or (
        reading.unseen if VIDEO in media else None
    )


def _fact(kind: str) -> Callable[[Example, Reading], Value]:
    """Whether a prompt's facts of a kind all hold."""

    def read(clip: Example, reading: Reading) -> Value:
        held = compare(reading.facts, clip.take.facts, reading.coherent)[kind]
        return None if held is None else float(held)

    return read


def _all_one_ball(clip: Example, reading: Reading) -> Value:
    return _fact("all")(clip, reading) if len(clip.take.facts.balls) == 1 else None


def _tracked_frames(clip: Example, reading: Reading) -> Value:
    """Share of frames in which every captioned ball is there exactly once, and moves."""
    return float(np.mean(tracked(reading.tracks, clip.take.facts)))


def _sync(field: str) -> Callable[[Example, Reading], Value]:
    """Agreement of impacts seen and heard. A clip in which nothing strikes scores 0 where the scene
    has an impact: one was asked for.
    """

    def read(clip: Example, reading: Reading) -> Value:
        if not true_impacts(clip.take):
            return None
        if field != "offset":
            return getattr(reading.sync, field) if reading.seen or reading.heard else 0.0
        if math.isnan(reading.sync.offset):
            return Unscored("no impact is both seen and heard")
        return 1e3 * reading.sync.offset

    return read


def _one_launch(take: Take) -> str | None:
    """How the only ball is launched."""
    return take.facts.balls[0].launch if len(take.facts.balls) == 1 else None


def _balls(take: Take) -> str:
    """How many balls a caption has."""
    return str(len(take.facts.balls))


def _law(field: str) -> Callable[[Example, Reading], Value]:
    def read(clip: Example, reading: Reading) -> Value:
        physics = reading.of("physics")
        if physics is None:
            return Unscored("no ball is found")
        value = getattr(physics, field)
        return None if value is None else float(value)

    return read


def _gravity(clip: Example, reading: Reading) -> Value:
    """|g read - g| / g."""
    if all(ball.launch == "rolled" for ball in clip.take.scene.balls):
        return None
    gravity = read_gravity(reading.tracks, reading.fps)
    if gravity is None:
        return Unscored("nothing flies")
    return abs(gravity / clip.take.scene.gravity - 1.0)


def _restitution(clip: Example, reading: Reading) -> Value:
    """Share of rebounds that give back no more speed than they had."""
    if not bounces(clip.take):
        return None
    physics = reading.of("physics")
    rebounds = physics.restitution if physics else ()
    return (
        float(np.mean([e <= 1.0 for e in rebounds])) if rebounds else Unscored("no rebound is seen")
    )


def _heard(clip: Example, reading: Reading) -> Value:
    """Where the prompt says that a ball bounces, something strikes in the sound."""
    return (
        float(len(reading.heard) > 0)
        if any(ball.bounces for ball in clip.take.facts.balls)
        else None
    )


def _one_material(clip: Example, reading: Reading) -> Value:
    """A ball alone is of one material: do all of its impacts sound like it?"""
    if len(clip.take.facts.balls) != 1 or len(true_impacts(clip.take)) < 2:
        return None
    if len(reading.heard) < 2:
        return Unscored("fewer than two impacts are heard")
    return float(len(set(reading.of("material"))) == 1)


def _louder(clip: Example, reading: Reading) -> Value:
    if not speeds(clip.take):
        return None
    louder = in_order(reading.of("loudness"))
    if louder is None:
        return Unscored("no two impacts are seen and heard of which one is clearly faster")
    return float(louder)


def _word_errors(clip: Example, reading: Reading) -> Value:
    return word_error_rate(reading.of("words"), said(clip.take))


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
                    "motion", _motion(0, "no ball is found where one should move"), "units/s"
                ),
                "lost": Metric("motion", _motion(1, "")),
            },
            ask="frames",
            format="phyworld",
        ),
    ],
)


def values(suite: Suite, clip: Example, reading: Reading) -> dict[str, Value]:
    """Every metric whose oracle is registered, of one clip."""
    found = {}
    for name in suite.ready:
        reason = unread(suite.metrics[name].oracle, reading)
        found[name] = Unscored(reason) if reason else suite.metrics[name].read(clip, reading)
    return found


def trained(part: Part, data: dict) -> bool:
    """True if `data`, of the card of weights, names one of `part.trained_on`."""
    return data.get("source") == "playhouse" and data.get("family") in part.trained_on
