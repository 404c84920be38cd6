"""Suites: what is asked of a model, on which scenes, and which calibrated oracle answers.

A suite is a record: parts (scenes of a family, and what a model must have been trained on to be
asked), how they are asked, and metrics. A metric names its oracle. An oracle that is not in
`calibrate.ORACLES` gives the status `NO_ORACLE`, never zero.

    ask     "prompt": the caption; "intent": what is tried, and the first frames; "frames": the
            first frames alone
    mixed   how the floor of a row is made from the row's own clips (`baselines.mixed`): "clips":
            each take with the clips of others; "frames": the frames in another order; "sounds": the
            sounds of other clips; "pieces": the own sound in pieces of 50 ms in another order
    of      the row that the suite measures: the model, or the tokenizers' round trip

`scoreboard.py` runs suites. A new suite is a new record.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from sora_jax.evaluation import calibrate, round_trip
from sora_jax.modality import ClipFormat
from sora_jax.oracles import loudness, phyworld
from sora_jax.oracles.examples import AUDIO, VIDEO, Example
from sora_jax.oracles.facts import KINDS, compare, tracked
from sora_jax.oracles.material import read_material
from sora_jax.oracles.reading import Reading
from sora_jax.oracles.words import word_error_rate
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
        oracle: a name in `calibrate.ORACLES`; None for what compares with the reference alone.
        read: (the clip with the take that was asked for, its reading) -> value.
        corrected: the metric is `statistics.corrected` for its floor, and the mean itself is kept
            as "raw".
    """

    oracle: str | None
    read: Callable[[Example, Reading], Value]
    unit: str = "share"
    corrected: bool = False


@dataclasses.dataclass(frozen=True)
class Part:
    """Scenes of the family's splits in turns; trained_on: the families of which a model must know
    one; keep: scenes that are scored.
    """

    family: str
    splits: tuple[str, ...] = ("val",)
    trained_on: tuple[str, ...] = ()
    keep: Callable[[Take, ClipFormat], bool] = lambda take, form: True


@dataclasses.dataclass(frozen=True)
class Suite:
    """parts and metrics by name; a suite of one part has no name for it. format: of clips where no
    model is asked. groups: {name: take -> the group that its scores are shown for too, or None}.
    """

    parts: dict[str, Part]
    metrics: dict[str, Metric]
    ask: str = "prompt"
    mixed: str | None = "clips"
    format: str = "nano"
    of: str = MODEL
    groups: dict[str, Callable[[Take], str | None]] = dataclasses.field(default_factory=dict)

    @property
    def ready(self) -> tuple[str, ...]:
        """The metrics whose oracle there is."""
        return tuple(
            name
            for name, metric in self.metrics.items()
            if metric.oracle is None or metric.oracle in calibrate.ORACLES
        )


def judged(oracle: str) -> Metric:
    """The share of clips in which an oracle reads what it was calibrated to read; there when the
    oracle is.
    """

    def read(clip: Example, reading: Reading) -> Value:
        right = calibrate.ORACLES[oracle].judge(clip, reading)
        return None if right is None else float(right)

    return Metric(oracle, read)


def unread(oracle: str | None, reading: Reading) -> str | None:
    """Why an oracle cannot read the clip: a medium that it needs is missing or too short."""
    media = calibrate.ORACLES[oracle].media if oracle else ()
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
        if not calibrate.true_impacts(clip.take):
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


def _law(field: str) -> Callable[[Example, Reading], Value]:
    def read(clip: Example, reading: Reading) -> Value:
        if reading.physics is None:
            return Unscored("no ball is found")
        value = getattr(reading.physics, field)
        return None if value is None else float(value)

    return read


def _gravity(clip: Example, reading: Reading) -> Value:
    """|g read - g| / g."""
    if all(ball.launch == "rolled" for ball in clip.take.scene.balls):
        return None
    return (
        Unscored("nothing flies")
        if reading.gravity is None
        else abs(reading.gravity / clip.take.scene.gravity - 1.0)
    )


def _restitution(clip: Example, reading: Reading) -> Value:
    """Share of rebounds that give back no more speed than they had."""
    if not calibrate.bounces(clip):
        return None
    rebounds = reading.physics.restitution if reading.physics else ()
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
    if len(clip.take.facts.balls) != 1 or len(calibrate.true_impacts(clip.take)) < 2:
        return None
    if len(reading.heard) < 2:
        return Unscored("fewer than two impacts are heard")
    return float(len({read_material(reading.samples, time)[0] for time in reading.heard}) == 1)


def _louder(clip: Example, reading: Reading) -> Value:
    if not calibrate.speeds(clip.take):
        return None
    in_order = loudness.in_order(loudness.impacts(reading))
    return (
        Unscored("no two impacts are seen and heard of which one is clearly faster")
        if in_order is None
        else float(in_order)
    )


def _word_errors(clip: Example, reading: Reading) -> Value:
    return word_error_rate(reading.words, calibrate.said(clip.take))


def _motion(which: int, reason: str) -> Callable[[Example, Reading], Value]:
    def read(clip: Example, reading: Reading) -> Value:
        values = phyworld.read_motion(clip.frames, clip.take, clip.format.fps)
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
SUITES = {
    "physics": Suite(
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
    "failed_actions": Suite(
        {
            "": Part(
                "court",
                trained_on=("court",),
                keep=lambda take, form: take.margin_px(form.size) >= MARGIN_PX,
            )
        },
        {"outcome_as_simulated": judged("outcome")},
        ask="intent",
    ),
    "permanence": Suite(
        {"": Part("occlude", trained_on=("occlude",))},
        {"kept": judged("permanence")},
        ask="intent",
        mixed="frames",
    ),
    "styles": Suite(
        {"": Part("film", trained_on=("film",))},
        {"style": judged("style"), "camera": judged("camera")},
    ),
    "sync": Suite(
        ROOM,
        {
            "f1_100ms": Metric("sync", _sync("f1_100ms"), "F1", corrected=True),
            "f1_50ms": Metric("sync", _sync("f1_50ms"), "F1", corrected=True),
            "offset": Metric("sync", _sync("offset"), "ms"),
        },
        mixed="sounds",
    ),
    "sound": Suite(
        ROOM,
        {
            "impacts_heard": Metric("onsets_audio", _heard),
            "one_material": Metric("material", _one_material),
            "faster_is_louder": Metric("loudness", _louder),
        },
        mixed="pieces",
    ),
    "speech": Suite(
        {
            "": Part(
                "film",
                trained_on=("film",),
                keep=lambda take, form: take.scene.narration is not None,
            )
        },
        {"words": judged("words"), "word_error_rate": Metric("words", _word_errors)},
    ),
    "facts": Suite(
        ROOM,
        {kind: Metric("facts", _fact(kind)) for kind in (*KINDS, "all")}
        | {
            "all_one_ball": Metric("facts", _all_one_ball),
            "tracked_frames": Metric("tracker", _tracked_frames),
        },
        groups={"balls": lambda take: str(len(take.facts.balls)), "launch": _one_launch},
    ),
    "tokenizers": Suite(
        ROOM,
        {
            name: Metric(oracle, read, unit)
            for name, (oracle, read, unit) in round_trip.METRICS.items()
        },
        mixed=None,
        of=ROUND_TRIP,
    ),
    "phyworld": Suite(
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
}


def values(suite: Suite, clip: Example, reading: Reading) -> dict[str, Value]:
    """Every metric whose oracle there is, of one clip."""
    found = {}
    for name in suite.ready:
        reason = unread(suite.metrics[name].oracle, reading)
        found[name] = Unscored(reason) if reason else suite.metrics[name].read(clip, reading)
    return found


def trained(part: Part, data: dict) -> bool:
    """Were weights with this `data` of their card trained on what the part needs?

    Rooms are older than families and say none.
    """
    return data.get("source") == "playhouse" and data.get("family", "room") in part.trained_on
