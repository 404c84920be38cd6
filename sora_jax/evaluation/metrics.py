"""Metrics of a suite: what is read of a clip, and which calibrated oracle (measurement) reads it.

`Metric.read` is a function of the clip, with the take (ground truth) whose caption was the prompt,
and of the clip's reading, that returns a value. The functions below are such functions, or return
one. Their values are numbers, 1.0 for yes and 0.0 for no. A value is None if the scene does not
test the metric, such as the direction of dropped balls.
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
    """The reason why a metric has no number for a clip, although its scene tests the metric."""


# A number, or several if a clip has several events to measure; None if the scene does not test the
# metric.
Value = float | list[float] | None | Unscored


@dataclasses.dataclass(frozen=True)
class Metric:
    """One metric of a suite.

    Attributes:
        oracle: key in `ORACLES`; None for a metric that compares with the reference render only.
        read: function (clip with the take of its prompt, its reading) -> value.
        unit: unit of the values. Default: "share".
        corrected: True to correct the score for its floor, the score by chance
            (`statistics.corrected`); "raw" then holds the mean. Default: False.
    """

    oracle: str | None
    read: Callable[[Example, Reading], Value]
    unit: str = "share"
    corrected: bool = False


def judged(oracle: str) -> Metric:
    """Returns a metric: the share of clips that an oracle, given by its name in ORACLES, reads
    correctly (`Oracle.judge`).
    """

    def read(clip: Example, reading: Reading) -> Value:
        correct = ORACLES[oracle].judge(clip, reading)
        return None if correct is None else float(correct)

    return Metric(oracle, read)


def unread(oracle: str | None, reading: Reading) -> str | None:
    """Returns the reason why an oracle cannot read a clip; None if it can.

    The reason is that a modality which it needs is missing or too short, or that there are too few
    frames per second.

    Args:
        oracle: name in ORACLES; None for no oracle.
        reading: the reading of the clip.
    """
    media = ORACLES[oracle].media if oracle else ()
    return (reading.audio_fault if AUDIO in media else None) or (
        (reading.video_fault or too_slow(oracle, reading.fps))
        if oracle and VIDEO in media
        else None
    )


def fact(kind: str) -> Callable[[Example, Reading], Value]:
    """Returns a function of a clip and its reading: whether all facts of a kind, one of
    `facts.KINDS` or "all", match the prompt.
    """

    def read(clip: Example, reading: Reading) -> Value:
        match = compare(reading.facts, ball_facts(clip.take), reading.coherent)[kind]
        return None if match is None else float(match)

    return read


def seam(clip: Example, reading: Reading) -> Value:
    """Returns the mean absolute difference between the clip's last frame and its first, divided by
    that between neighbouring frames.

    A loop has a value of about 1. The ground truth does not loop, so its value is that of an
    ordinary clip.
    """
    step = np.abs(np.diff(clip.frames, axis=0)).mean()
    if not step:
        return Unscored("nothing moves")
    return float(np.abs(clip.frames[-1] - clip.frames[0]).mean() / step)


def all_one_ball(clip: Example, reading: Reading) -> Value:
    return fact("all")(clip, reading) if len(ball_facts(clip.take).balls) == 1 else None


def tracked_frames(clip: Example, reading: Reading) -> Value:
    """Returns the share of frames in which every ball of the caption is found exactly once and no
    ball of another colour is visible; 0 if a ball of the caption is missing or does not move.
    """
    return float(np.mean(tracked(reading.tracks, ball_facts(clip.take))))


def sync(field: str) -> Callable[[Example, Reading], Value]:
    """Returns a function of a clip and its reading: how well visible and audible impacts agree in
    time.

    A clip without any impact scores 0 if the scene has one, although its impacts agree trivially.

    Args:
        field: "f1_50ms" or "f1_100ms" for F1 of the impacts that match within that time; "offset"
            for the delay of the audio in ms.
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
    """Returns the relative error |g read - g| / g of the gravity g."""
    if all(ball.launch == "rolled" for ball in clip.take.scene.balls):
        return None
    gravity = read_gravity(reading.tracks, reading.fps)
    if gravity is None:
        return Unscored("no ball flies")
    return abs(gravity / clip.take.scene.gravity - 1.0)


def restitution(clip: Example, reading: Reading) -> Value:
    """Returns the share of visible rebounds that gain no speed: their restitution, speed after over
    speed before, is at most 1.
    """
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
    """Returns whether at least one impact is audible; None for prompts without a bounce."""
    expected = any(ball.bounces for ball in ball_facts(clip.take).balls)
    return float(len(reading.heard_impacts) > 0) if expected else None


def one_material(clip: Example, reading: Reading) -> Value:
    """Returns whether all audible impacts sound like one material; None for prompts of several
    balls or of less than two impacts.
    """
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
    """Returns the delay of the speech behind the mouths, in ms; positive if the audio is late."""
    if not any(actor.speech for actor in clip.take.scene.cast):
        return None
    if reading.lips is None:
        return Unscored("no mouth moves, or nobody speaks")
    return 1e3 * reading.lips.offset


def verified(clip: Example, reading: Reading) -> Value:
    """Returns the share of the faces that are verified: their distance to the reference pictures
    (stills) of their own character is below SAME.
    """
    compared = _compared(clip, reading)
    if not isinstance(compared, list):
        return compared
    return float(np.mean([own < SAME for own, _ in compared]))


def taken_for_others(clip: Example, reading: Reading) -> Value:
    """Returns the rate of false acceptance: the share of other held-out characters whose stills are
    nearer than SAME to a face. SAME is chosen so that, on ground truth, this is about as frequent
    as a face that is not `verified`.
    """
    compared = _compared(clip, reading)
    if not isinstance(compared, list):
        return compared
    return float(np.mean([others < SAME for _, others in compared]))


def _compared(clip: Example, reading: Reading) -> list[tuple[float, np.ndarray]] | Unscored | None:
    """Returns for each face of a clip (distance to the stills of its own character, distances to
    those of others), or the reason why there are none (`Value`).
    """
    actors = clip.take.scene.cast
    if not actors:
        return None
    if len(reading.faces) != len(actors):
        return Unscored("not as many faces are seen as there are characters")
    return distances(clip.take, reading.of("identity"))


def voice(clip: Example, reading: Reading) -> Value:
    """Returns the share of turns (successive words of one speaker) that are spoken in the voice of
    their character, compared in order of time. Missing and additional turns count as wrong.
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
    """Returns a function of a clip and its reading: 1.0 or 0.0 for each shot of a story, whether it
    shows the fact of this name (`shot_facts.NAMES`) as the storyboard states it. Shots of which it
    states no such fact are left out.
    """

    def read(clip: Example, reading: Reading) -> Value:
        facts, shots = stated(clip.take.facts.board), shots_of(clip, reading)
        pairs = [pair for pair in zip(shots, facts, strict=True) if name in pair[1]]
        return [float(name not in wrong(*pair)) for pair in pairs] or None

    return read


def order(clip: Example, reading: Reading) -> Value:
    """Returns whether the shots agree better with the storyboard in their order than in any other;
    None if all shots are alike.
    """
    found = in_place(clip, reading)
    return None if found is None else float(found)


def persists(
    kind: str | None = None, gap: int | None = None
) -> Callable[[Example, Reading], Value]:
    """Returns a function of a clip and its reading: 1.0 or 0.0 for each fact that two shots of a
    story show, whether it persists from the one to the other.

    Args:
        kind: kind of fact, one of `story_pairs.KINDS`. Default: None, all.
        gap: number of shots between the two. Default: None, any.
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
