"""How far each oracle can be trusted: its score under every condition, and the limits that the
scores must keep.

An oracle's score under a condition is the share of clips in which its reading is within its stated
tolerance of the scene's truth:

    tracker        every ball once in every frame, of one size, and no other; rms error of the
    tracker        every ball once in every frame, of one size, and no other; rms error of the
                   centres at most 0.3 pixels
    facts          every fact of every ball as captioned
    onsets_video   every impact found within 25 ms, none invented
    onsets_audio   every impact found within 10 ms, none invented
    sync           F1 at 50 ms at least 0.9 and median offset within 10 ms (clips with an impact)
    material       every lone impact on floor or wall told right (clips with such an impact)
    physics        no law broken (`physics.MOST`)
    loudness       every floor and wall impact seen and heard, the clearly faster louder (clips with
                   two such)
    words          every word heard as said, in order, by voices that were not trained on (clips
                   with words: `examples.narrated`)
    motion         velocities within 0.15 units a second of the scene's, no ball lost (PhyWorld's
                   balls: `examples.phyworld`)
    style          the style told right (films, as many of each style)
    outcome        what is tried, on which side, and what comes of it (courts whose outcome is
                   clear: `Take.margin_px`)
    permanence     what goes behind a panel comes out, or is there when it lifts, as what it was and
                   on its course (`occlude`)
    camera         views within 0.5 pixels rms; the move, where it shows, told right, and the way of
                   pans and push-ins within 5 % (films)

An oracle is judged on the clips of its stage (`Oracle.stage`): rooms, rooms with a narrator, or
another family of scenes. Ground truth must reach 0.98, blur, noise and compression 0.95; corrupted
and shuffled clips must stay under CEILING, empty ones too; of physics and permanence under STRICT,
where the corruption breaks a law at all (`ASKED`), of style, shuffled, under chance. Physics,
permanence and sync know no scene: to shuffle is to show the frames in another order, or to pair one
clip's picture with another's sound. A style is shuffled with all others'. A few reversed clips stay
right for facts: a rolled ball that a wall sends back rolls the same way when played backwards.
Impacts slower than 0.3 m/s are silent in this world and not asked for.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from sora_jax.evaluation import conditions
from sora_jax.evaluation.conditions import CORRUPTED, KEPT
from sora_jax.oracles import examples, loudness, phyworld
from sora_jax.oracles.examples import AUDIO, VIDEO, Example
from sora_jax.oracles.facts import compare
from sora_jax.oracles.material import read_material
from sora_jax.oracles.onsets import Onset, merge
from sora_jax.oracles.reading import Reading
from sora_jax.oracles.sync import lag, match
from sora_jax.oracles.tracker import SAME_SIZE
from sora_jax.worlds.playhouse.camera import views
from sora_jax.worlds.playhouse.draw import CLIP_SECONDS
from sora_jax.worlds.playhouse.families.court import MARGIN_PX
from sora_jax.worlds.playhouse.sound import FAINTEST
from sora_jax.worlds.playhouse.spec import FILM_STYLES

GROUND_TRUTH, DEGRADED, CEILING, STRICT = 0.98, 0.95, 0.20, 0.05
# number of the first scene that `experiments.calibrate` reads: the oracles' constants
# were chosen on others
FIRST = 10_000
SHIFTS = (-0.16, -0.08, -0.04, -0.02, 0.0, 0.02, 0.04, 0.08, 0.16)  # seconds
Scores = dict[str, dict[str, dict[str, float]]]


def true_impacts(take) -> list[float]:
    """Times of a take's audible contacts in s, with those that no oracle can part made one."""
    return [
        o.time
        for o in merge(
            [Onset(c.time, c.speed) for c in take.trajectory.contacts if c.speed >= FAINTEST]
        )
    ]


def _tracker(c: Example, read: Reading) -> bool:
    tracks = {t.colour: t for t in read.tracks}
    if set(tracks) != {b.colour for b in c.take.scene.balls}:
        return False
    true = c.take.trajectory.positions(c.format.frame_times())
    for k, ball in enumerate(c.take.scene.balls):
        seen = tracks[ball.colour]
        if (
            not seen.found.all()
            or seen.swelling > SAME_SIZE
            or seen.rms_pixels(true[:, k], c.format.size) > 0.3
        ):
            return False
    return True


def _facts(c: Example, read: Reading) -> bool:
    return compare(read.facts, c.take.facts, read.coherent)["all"]


def _all_found(found: list[float], true: list[float], window: float) -> bool:
    return len(match(found, true, window)) == len(found) == len(true)


def _onsets_video(c: Example, read: Reading) -> bool | None:
    true = true_impacts(c.take)
    return _all_found(read.seen, true, 0.025) if true else None


def _onsets_audio(c: Example, read: Reading) -> bool | None:
    true = true_impacts(c.take)
    return _all_found(read.heard, true, 0.010) if true else None


def _sync(c: Example, read: Reading) -> bool | None:
    if not true_impacts(c.take):
        return None
    # NaN, an offset of nothing, is False
    return read.sync.f1_50ms >= 0.9 and abs(read.sync.offset) <= 0.010


def lone_impacts(take) -> list[tuple[float, str]]:
    """(time, material) of the floor and wall contacts with no other contact from 0.25 s before to
    0.12 s after, at 1 m/s or faster.
    """
    contacts = take.trajectory.contacts
    lone = []
    for c in contacts:
        near = any(o is not c and -0.25 < o.time - c.time < 0.12 for o in contacts)
        if c.b < 0 and c.speed >= 1.0 and not near and c.time < CLIP_SECONDS - 0.15:
            lone.append((c.time, take.scene.balls[c.a].material))
    return lone


def heard_at(heard: list[float], time: float) -> float | None:
    """The onset read nearest to an impact at `time` (s), if one is within 30 ms."""
    near = [onset for onset in heard if abs(onset - time) < 0.03]
    return min(near, key=lambda onset: abs(onset - time), default=None)


def heard_right(c: Example, read: Reading) -> list[bool]:
    """For each lone impact: is it heard, and its material told right at the onset where it is
    heard?
    """
    onsets = [(heard_at(read.heard, time), material) for time, material in lone_impacts(c.take)]
    return [
        onset is not None and read_material(c.samples, onset)[0] == material
        for onset, material in onsets
    ]


def _material(c: Example, read: Reading) -> bool | None:
    right = heard_right(c, read)
    return all(right) if right else None


def _physics(c: Example, read: Reading) -> bool:
    return read.physics is not None and not read.physics.violations


def speeds(take) -> list[float]:
    """Approach speeds in m/s of a take's audible contacts with floor and walls, if one is clearly
    faster than another; else none.
    """
    found = [
        contact.speed
        for contact in take.trajectory.contacts
        if contact.b < 0 and contact.speed >= FAINTEST
    ]
    return found if loudness.in_order([(speed, 0.0) for speed in found]) is not None else []


def _loudness(c: Example, read: Reading) -> bool | None:
    if not (true := speeds(c.take)):
        return None
    pairs = loudness.impacts(read)
    return len(pairs) == len(true) and loudness.in_order(pairs) is True


def _words(c: Example, read: Reading) -> bool | None:
    return read.words == said(c.take) if said(c.take) else None


def _motion(c: Example, read: Reading) -> bool | None:
    error, lost = phyworld.read_motion(c.frames, c.take, c.format.fps)
    return None if lost is None else error is not None and error <= 0.15 and lost == 0.0


def _style(c: Example, read: Reading) -> bool:
    return read.style == c.take.scene.style


def _outcome(c: Example, read: Reading) -> bool | None:
    """None where it hangs on less than what can be seen."""
    if c.take.margin_px(c.format.size) < MARGIN_PX:
        return None
    seen, facts = read.outcome, c.take.facts
    return seen is not None and (seen.action, seen.direction, seen.outcome) == (
        facts.action,
        facts.direction,
        facts.outcome,
    )


def _permanence(c: Example, read: Reading) -> bool:
    return read.permanence is not None and read.permanence.kept


# pixels that a camera which follows or shakes must move by in two frames to be seen to
SHOWS = 0.75


def true_views(c: Example) -> np.ndarray:
    """(left, top, width) [F, 3] that the frames were taken with."""
    return views(c.take.scene, c.format.frame_times())


def _travel(c: Example) -> np.ndarray:
    """How far in pixels the picture's corner is from its middle place in every frame, ascending
    [F].
    """
    true = true_views(c)
    return (
        np.sort(np.abs(true[:, :2] - np.median(true[:, :2], axis=0)).max(1))
        * c.format.size
        / true[0, 2]
    )


def _camera(c: Example, read: Reading) -> bool:
    true, seen, look = true_views(c), read.camera, c.take.facts.look
    if seen is None or seen.rms_pixels(true, c.format.size) > 0.5:
        return False
    if look.camera in ("pan", "push-in"):
        axis = 0 if look.camera == "pan" else 2
        ways = [np.polyfit(c.format.frame_times(), v[:, axis], 1)[0] for v in (seen.views, true)]
        return (seen.kind, seen.direction) == (look.camera, look.direction) and abs(
            ways[0] / ways[1] - 1.0
        ) <= 0.05
    return seen.kind == look.camera or _travel(c)[-2] < SHOWS


def said(take) -> list[str]:
    """The words said in a take."""
    return [word for _, word in take.scene.narration.words] if take.scene.narration else []


@dataclasses.dataclass(frozen=True)
class Oracle:
    """How an oracle is judged: media it reads, the corruptions that must fool it, judge(clip,
    reading) -> right, or None where nothing is asked.

    ceiling: the most that what must fail may score. stage: a name in `examples.STAGES`, the clips
    it is judged on. empty: the clips that show nothing of what is read.
    """

    media: tuple[str, ...]
    judge: Callable[[Example, Reading], bool | None]
    corruptions: tuple[str, ...]
    tolerance: str
    ceiling: float = CEILING
    stage: str = "room"
    empty: Callable[[list[Example]], list[Example]] = examples.empty


ORACLES = {
    "tracker": Oracle(
        (VIDEO,),
        _tracker,
        ("vanish", "teleport", "double", "visitor", "resized", "recolour"),
        "every ball once in every frame, of one size, rms <= 0.3 px",
    ),
    "facts": Oracle(
        (VIDEO,),
        _facts,
        (
            "recolour",
            "mirror",
            "reverse",
            "freeze",
            "vanish",
            "teleport",
            "double",
            "visitor",
            "resized",
        ),
        "every fact of every ball",
    ),
    "onsets_video": Oracle(
        (VIDEO,),
        _onsets_video,
        ("freeze", "reverse", "slow"),
        "all impacts within 25 ms, none invented",
    ),
    "onsets_audio": Oracle(
        (AUDIO,), _onsets_audio, ("late", "backwards"), "all impacts within 10 ms, none invented"
    ),
    "sync": Oracle(
        (VIDEO, AUDIO),
        _sync,
        ("slow", "reverse", "late", "backwards"),
        "F1@50 ms >= 0.9, |offset| <= 10 ms",
    ),
    "material": Oracle((AUDIO,), _material, ("octave",), "every lone impact's material"),
    "physics": Oracle(
        (VIDEO,),
        _physics,
        (
            "swap",
            "reverse",
            "hasten",
            "quicken",
            "tunnel",
            "vanish",
            "teleport",
            "double",
            "visitor",
            "resized",
        ),
        "no law broken",
        ceiling=STRICT,
    ),
    "loudness": Oracle(
        (VIDEO, AUDIO),
        _loudness,
        ("loudness",),
        f"faster is louder, where {loudness.CLEARLY} times as fast",
    ),
    "words": Oracle(
        (AUDIO,), _words, ("pieces", "backwards"), "every word, in order", stage="narrated"
    ),
    "motion": Oracle(
        (VIDEO,),
        _motion,
        ("freeze", "reverse", "slow", "vanish", "teleport", "double", "recolour"),
        "velocities within 0.15 units/s, no ball lost",
        stage="phyworld",
    ),
    "style": Oracle(
        (VIDEO,),
        _style,
        ("restyle", "turn", "tiles"),
        "the style",
        1 / len(FILM_STYLES),
        "film",
        examples.blank,
    ),
    "outcome": Oracle(
        (VIDEO,),
        _outcome,
        (
            "vanish",
            "teleport",
            "double",
            "mirror",
            "reverse",
            "freeze",
            "swap",
            "unstopped",
            "hovering",
            "unfurnished",
        ),
        "what is tried, on which side, and what comes of it",
        stage="court",
    ),
    "permanence": Oracle(
        (VIDEO,),
        _permanence,
        ("lost", "swapped", "resized", "stuck", "early", "in_front"),
        "the same ball, on its course",
        ceiling=STRICT,
        stage="occlude",
    ),
    "camera": Oracle(
        (VIDEO,),
        _camera,
        ("freeze", "reverse"),
        "views rms <= 0.5 px, the move, its way within 5 %",
        stage="film",
    ),
}


# how often `calibrate` reports
STEPS = (3 + len(KEPT) + len(CORRUPTED)) * len({oracle.stage for oracle in ORACLES.values()})


def bounces(c: Example) -> bool:
    """Does the scene have a rebound from the floor?"""
    return any(
        contact.kind == "floor" and contact.rebound > 0 for contact in c.take.trajectory.contacts
    )


# m/s: the rebound of a hop that, hastened, lasts four frames at 8 frames a second; three fit any
# gravity
HOP = 3.2
SEEN_TO_LEAVE = 0.4  # seconds that a ball takes to go through a wall


# outcomes in which a thrown ball meets something
STOPPED = {"rim-in", "bank-in", "rim-out", "board-out", "saved", "post"}


# Where a corruption can make an oracle's reading wrong: a mirror changes nothing where no ball has
# a direction.
ASKED: dict[tuple[str, str], Callable[[Example], bool]] = {
    ("facts", "corrupted_mirror"): lambda c: any(b.direction for b in c.take.facts.balls),
    ("physics", "corrupted_reverse"): bounces,
    ("physics", "corrupted_hasten"): lambda c: any(
        x.kind == "floor" and x.rebound > HOP for x in c.take.trajectory.contacts
    ),
    ("physics", "corrupted_tunnel"): lambda c: any(
        x.kind == "wall" and x.time < c.format.seconds - SEEN_TO_LEAVE
        for x in c.take.trajectory.contacts
    ),
    ("camera", "corrupted_freeze"): lambda c: (
        _travel(c)[-3] > 1.0 or c.take.facts.look.camera == "push-in"
    ),
    ("outcome", "corrupted_unstopped"): lambda c: c.take.facts.outcome in STOPPED,
    ("outcome", "corrupted_hovering"): lambda c: (
        c.take.facts.outcome in STOPPED or c.take.facts.action == "jump"
    ),
    ("camera", "corrupted_reverse"): lambda c: c.take.facts.look.camera in ("pan", "push-in"),
}


def _shuffled(name: str, clips: list[Example]) -> list[tuple[Example, Reading]]:
    if ORACLES[name].stage == "narrated":
        return [
            (dataclasses.replace(c, take=o.take), c.read())
            for c, o in zip(clips, clips[1:] + clips[:1])
            if said(c.take) != said(o.take)
        ]
    if name == "style":  # with every other's: chance, whatever the order
        return [
            (dataclasses.replace(c, take=o.take), read)
            for c, read in [(c, c.read()) for c in clips]
            for o in clips
            if o is not c
        ]
    if name == "outcome":
        return [
            (c, c.read())
            for c in examples.shuffled(
                clips, lambda take: (take.facts.action, take.facts.direction, take.facts.outcome)
            )
        ]
    if name == "camera":
        return [
            (c, c.read())
            for c in examples.shuffled(
                clips, lambda take: (take.facts.look.camera, take.facts.look.direction)
            )
        ]
    made = (
        examples.disordered(clips)
        if name in ("physics", "permanence")
        else examples.shuffled(clips)
    )
    if name in ("sync", "loudness"):
        made = [
            dataclasses.replace(c, samples=o.samples) for c, o in zip(clips, clips[1:] + clips[:1])
        ]
    return [(c, c.read()) for c in made]


def calibrate(
    clips: list[Example],
    report: Callable[[str], object] = lambda name: None,
    oracles: tuple[str, ...] = tuple(ORACLES),
) -> Scores:
    """{oracle: {condition: {score, n}}}, for the conditions that touch the oracle's medium.
    report(name) as each is made.

    clips: rooms; the other stages' clips, as many and of the same split and format, are made here.
    oracles: the ones to judge.
    """
    scores: Scores = {name: {} for name in oracles}

    def judge(condition, name, made):
        asked = ASKED.get((name, condition), lambda c: True)
        right = [
            r
            for r in (ORACLES[name].judge(c, read) for c, read in made if asked(c))
            if r is not None
        ]
        scores[name][condition] = {
            "score": round(float(np.mean(right)), 4) if right else None,
            "n": len(right),
        }

    table = {"ground_truth": (None, lambda c: c), **KEPT, **CORRUPTED}
    for stage in dict.fromkeys(ORACLES[name].stage for name in oracles):
        here, staged = (
            [name for name in oracles if ORACLES[name].stage == stage],
            examples.STAGES[stage](clips),
        )
        for condition, (medium, change) in table.items():
            report(condition)
            users = [name for name in here if _uses(ORACLES[name], condition, medium)]
            made = [(c, c.read()) for c in change(staged)] if users else []
            for name in users:
                judge(condition, name, made)
        report("empty")
        for make in dict.fromkeys(ORACLES[name].empty for name in here):
            made = [(c, c.read()) for c in make(staged)]
            for name in here:
                if ORACLES[name].empty is make:
                    judge("empty", name, made)
        report("shuffled")
        for name in here:
            judge("shuffled", name, _shuffled(name, staged))
    return scores


def _uses(oracle: Oracle, condition: str, medium: str | None) -> bool:
    return (medium is None or medium in oracle.media) and (
        condition not in CORRUPTED or condition.removeprefix("corrupted_") in oracle.corruptions
    )


def violations(
    scores: Scores,
    floors: tuple[float, float] = (GROUND_TRUTH, DEGRADED),
    ceiling: float | None = None,
) -> list[str]:
    """What is outside the limits, one line each; a ceiling given replaces CEILING, and stricter
    ones stay.
    """
    lines = []
    for name, rows in scores.items():
        for condition, row in rows.items():
            score, n = row["score"], row["n"]
            if not n:
                lines.append(f"{name}, {condition}: no clip to judge")
            elif condition == "ground_truth" or condition in KEPT:
                least = floors[0] if condition == "ground_truth" else floors[1]
                if score < least:
                    lines.append(
                        f"{name}, {condition}: {score:.3f} of {n} clips, at least {least:.2f} "
                        "wanted"
                    )
            elif score > (
                most := own
                if (own := ORACLES[name].ceiling) < CEILING or ceiling is None
                else ceiling
            ):
                lines.append(
                    f"{name}, {condition}: {score:.3f} of {n} clips, at most {most:.2f} wanted"
                )
    return lines


def shift_recovery(
    clips: list[Example], shifts: tuple[float, ...] = SHIFTS
) -> list[tuple[float, float]]:
    """(shift put in, offset read) in s: the samples of every sound moved against their picture
    (late: positive), then read again.

    The offset is the median over clips; shifts beyond the window of a clip's pairing are found by
    `sync.lag`.
    """
    asked = [(c, c.read()) for c in clips if true_impacts(c.take)]
    rows = []
    for shift in shifts:
        heard = [
            dataclasses.replace(c, samples=conditions.moved(c.samples, shift)).read().heard
            for c, _ in asked
        ]
        rows.append(
            (shift, float(np.nanmedian([lag(h, read.seen) for h, (_, read) in zip(heard, asked)])))
        )
    return rows
