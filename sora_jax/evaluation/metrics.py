"""Metrics of a suite: what is read of a clip, and which calibrated oracle reads it.

A metric's `read` takes the clip with the take that was asked for, and its reading. The functions
below are such, or return one.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from sora_jax.oracles.catalogue import ORACLES
from sora_jax.oracles.examples import AUDIO, VIDEO, Example
from sora_jax.oracles.facts import ball_facts, compare, tracked
from sora_jax.oracles.heads import SAME
from sora_jax.oracles.identity import distances
from sora_jax.oracles.loudness import in_order, speeds
from sora_jax.oracles.onsets import true_impacts
from sora_jax.oracles.physics import bounces, read_gravity
from sora_jax.oracles.phyworld import compare_motion
from sora_jax.oracles.reading import Reading, too_slow
from sora_jax.oracles.shot_facts import stated, wrong
from sora_jax.oracles.shots import in_place, shots_of
from sora_jax.oracles.speakers import is_voice, spoken_turns
from sora_jax.oracles.state import kept
from sora_jax.oracles.story_pairs import pairs_of
from sora_jax.oracles.words import spoken_words, word_error_rate


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

    A modality that it needs is missing or too short, or there are too few frames per second.

    Args:
        oracle: name in ORACLES; None for no oracle.
        reading: that of the clip.
    """
    media = ORACLES[oracle].media if oracle else ()
    return (reading.audio_fault if AUDIO in media else None) or (
        (reading.video_fault or too_slow(oracle, reading.fps))
        if oracle and VIDEO in media
        else None
    )


def fact(kind: str) -> Callable[[Example, Reading], Value]:
    """Returns a metric: whether all facts of a kind match the prompt."""

    def read(clip: Example, reading: Reading) -> Value:
        match = compare(reading.facts, ball_facts(clip.take), reading.coherent)[kind]
        return None if match is None else float(match)

    return read


def all_one_ball(clip: Example, reading: Reading) -> Value:
    return fact("all")(clip, reading) if len(ball_facts(clip.take).balls) == 1 else None


def tracked_frames(clip: Example, reading: Reading) -> Value:
    """Returns the share of frames in which every ball of the caption is found exactly once. 0 if
    one of them does not move.
    """
    return float(np.mean(tracked(reading.tracks, ball_facts(clip.take))))


def sync(field: str) -> Callable[[Example, Reading], Value]:
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


def law(field: str) -> Callable[[Example, Reading], Value]:
    def read(clip: Example, reading: Reading) -> Value:
        physics = reading.of("physics")
        if physics is None:
            return Unscored("no ball is found")
        value = getattr(physics, field)
        return None if value is None else float(value)

    return read


def gravity(clip: Example, reading: Reading) -> Value:
    """Returns the relative error |g read - g| / g."""
    if all(ball.launch == "rolled" for ball in clip.take.scene.balls):
        return None
    gravity = read_gravity(reading.tracks, reading.fps)
    if gravity is None:
        return Unscored("no ball flies")
    return abs(gravity / clip.take.scene.gravity - 1.0)


def restitution(clip: Example, reading: Reading) -> Value:
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


def heard(clip: Example, reading: Reading) -> Value:
    """Returns whether an impact is audible, for prompts with a bounce."""
    expected = any(ball.bounces for ball in ball_facts(clip.take).balls)
    return float(len(reading.heard_impacts) > 0) if expected else None


def one_material(clip: Example, reading: Reading) -> Value:
    """Returns whether all impacts of a single ball have the same material."""
    if len(ball_facts(clip.take).balls) != 1 or len(true_impacts(clip.take)) < 2:
        return None
    if len(reading.heard_impacts) < 2:
        return Unscored("fewer than two impacts are audible")
    return float(len(set(reading.of("material"))) == 1)


def louder(clip: Example, reading: Reading) -> Value:
    if not speeds(clip.take):
        return None
    louder = in_order(reading.of("loudness"))
    if louder is None:
        return Unscored("no two impacts that are visible and audible differ clearly in speed")
    return float(louder)


def word_errors(clip: Example, reading: Reading) -> Value:
    return word_error_rate(reading.of("words"), spoken_words(clip.take))


def lips_offset(clip: Example, reading: Reading) -> Value:
    """Returns the delay of the speech behind the mouths, in ms."""
    if not any(actor.speech for actor in clip.take.scene.cast):
        return None
    if reading.lips is None:
        return Unscored("no mouth moves, or nobody speaks")
    return 1e3 * reading.lips.offset


def verified(clip: Example, reading: Reading) -> Value:
    """Returns the share of the faces that are nearer to their own stills than SAME."""
    compared = _compared(clip, reading)
    if not isinstance(compared, list):
        return compared
    return float(np.mean([own < SAME for own, _ in compared]))


def taken_for_others(clip: Example, reading: Reading) -> Value:
    """Returns the share of the stills of other held-out characters that are nearer than SAME to a
    face. It is equal to the share of faces that are not `verified` at the equal error rate.
    """
    compared = _compared(clip, reading)
    if not isinstance(compared, list):
        return compared
    return float(np.mean([others < SAME for _, others in compared]))


def _compared(clip: Example, reading: Reading) -> list[tuple[float, np.ndarray]] | Unscored | None:
    """Returns the distances of the faces of a clip to stills (`identity.distances`)."""
    actors = clip.take.scene.cast
    if not actors:
        return None
    if len(reading.faces) != len(actors):
        return Unscored("not as many faces are seen as there are characters")
    return distances(clip.take, reading.of("identity"))


def voice(clip: Example, reading: Reading) -> Value:
    """Returns the share of turns that are spoken in the voice of their character, in order of time.

    Turns that are missing or too many are in no voice.
    """
    said = spoken_turns(clip.take)
    if not said:
        return None
    turns = reading.speakers.turns
    right = sum(is_voice(turn, of) for turn, (_, of) in zip(turns, said, strict=False))
    return right / max(len(said), len(turns))


def motion(which: int, reason: str) -> Callable[[Example, Reading], Value]:
    def read(clip: Example, reading: Reading) -> Value:
        values = compare_motion(reading.of("motion"), clip.take, reading.fps)
        return (
            Unscored(reason) if values[which] is None and values[1] is not None else values[which]
        )

    return read


def shot_fact(name: str) -> Callable[[Example, Reading], Value]:
    """Returns a metric: the shots that show what the storyboard states of them, of those of which
    it states a fact of this name (`shot_facts.py`).
    """

    def read(clip: Example, reading: Reading) -> Value:
        facts, shots = stated(clip.take.facts.board), shots_of(clip, reading)
        pairs = [pair for pair in zip(shots, facts, strict=True) if name in pair[1]]
        return [float(name not in wrong(*pair)) for pair in pairs] or None

    return read


def order(clip: Example, reading: Reading) -> Value:
    """Returns whether every shot stands where the storyboard has it; None for alike shots."""
    found = in_place(clip, reading)
    return None if found is None else float(found)


def persists(
    kind: str | None = None, gap: int | None = None
) -> Callable[[Example, Reading], Value]:
    """Returns a metric: the facts that persist from the shot that shows them last to the one that
    shows them again.

    Args:
        kind: one of `story_pairs.KINDS`. Default: None, all.
        gap: number of shots between. Default: None, any.
    """

    def read(clip: Example, reading: Reading) -> Value:
        board = clip.take.facts.board
        judged = kept(board, shots_of(clip, reading))
        values = [
            float(keeps)
            for pair, keeps in judged
            if kind in (None, pair.kind) and gap in (None, pair.gap)
        ]
        asked = any(kind in (None, p.kind) and gap in (None, p.gap) for p in pairs_of(board))
        return values or (Unscored("no two views show it") if asked else None)

    return read
