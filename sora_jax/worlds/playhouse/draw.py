"""The data set as a pure function from (split, index, family) to a take.

A take is a scene with its motion, facts and captions. A family (`families/`) is a kind of
scene. It draws facts first, then a scene whose physics fulfils them, by rejection sampling. So
captions are balanced, and the video never contradicts them. The facts alone, written as one
string (`facts.key`), decide the split. A prompt of `val` therefore names a combination of facts
that `train` never contains, although every single fact is common there.
"""

import dataclasses
import numbers
from typing import Any

from sora_jax.config import known_keywords
from sora_jax.errors import UserError, expect
from sora_jax.modality import ClipFormat
from sora_jax.worlds.playhouse.families import FAMILIES
from sora_jax.worlds.playhouse.families.base import Family
from sora_jax.worlds.playhouse.families.story import SHOTS
from sora_jax.worlds.playhouse.spec import CLIP_SECONDS, WORLD_VERSION, Scene
from sora_jax.worlds.playhouse.stream import Stream
from sora_jax.worlds.playhouse.trajectory import Trajectory

SPLITS = {
    "train": 0,
    "val": 1,
    "ood_velocity": 2,
    "ood_size": 3,
    "ood_velocity_size": 4,
    "ood_gravity": 5,
    "combo": 6,
    "paraphrase": 7,
}
SPLITS |= {"order": 8, "speakers": 9, "length": 10, "identity": 11}
SPLITS |= {f"gap_{n}": 11 + n for n in range(1, 7)}
SPLITS |= {"train_flips": 18, "train_boosts": 19}
PARAPHRASES, INTENTS = 8, 4  # captions and intents stored with a take
# Sets of facts drawn for one aim (`Family.aim`) before it is given up. In a small split, some aims
# have no facts, such as an outcome together with one style and camera.
MAX_REDRAWS = 10_000
AIMS = 10  # aims given up before drawing fails
# Scenes drawn for one set of facts before it is given up. Crowded balls may leave hardly any scene.
TRIES = 20


@dataclasses.dataclass(frozen=True)
class Take:
    """One item of the data set, the ground truth of a clip: a scene with its motion, its facts and
    its captions.

    Attributes:
        split: a name in SPLITS.
        index: number of the take in its split, from 0.
        scene: the scene.
        trajectory: its motion.
        facts: the facts that the captions state, of the family's `facts_type`.
        captions: PARAPHRASES texts, each of which states all facts.
        family: name of the family. Default: "room".
        intents: INTENTS texts that state the attempted action without its outcome; () for a family
            without outcomes. Default: ().
        margin: lower bound in metres of the distance, before the outcome, between the path of the
            ball and the path of a launch with another outcome. Default: None, no outcome.
        margin_speed: difference in m/s of the speeds of those two launches. Default: None, no
            outcome.
        hidden: (index of a ball, start, end) in s of every interval in which the whole ball is
            behind a panel (a shape that hides it). Default: ().
    """

    split: str
    index: int
    scene: Scene
    trajectory: Trajectory
    facts: Any
    captions: tuple[str, ...]
    family: str = "room"
    intents: tuple[str, ...] = ()
    margin: float | None = None
    margin_speed: float | None = None
    hidden: tuple[tuple[int, float, float], ...] = ()

    def margin_px(self, size: int) -> float:
        """Returns `margin` in pixels of a frame of size x size; infinite for a take without an
        outcome.
        """
        return float("inf") if self.margin is None else self.margin * size / self.scene.extent


def check(split: str, family: str, style: str | None = None) -> None:
    """Checks that a family exists and has a split and a style.

    Args:
        split: name of the split.
        family: name in FAMILIES.
        style: name of the style. Default None: not checked.

    Raises:
        UserError: the family does not exist, or has no such split or style.
    """
    kind = FAMILIES[family]
    if split not in kind.splits:
        raise UserError(
            f"family {family} has no split {split!r}; it has {', '.join(kind.splits)}",
            field="split",
        )
    if style is not None and style not in kind.styles:
        choice = f"has {', '.join(kind.styles)}"
        if not kind.styles:
            others = [name for name, other in FAMILIES.items() if other.styles]
            choice = f"draws its own; leave the style out, or use {' or '.join(others)}"
        raise UserError(
            f"family {family} has no style {style!r} to choose; it {choice}", field="style"
        )
    if style is not None and style not in (styles := kind.styles_of(split)):
        raise UserError(
            f"the split {split} of {family} has no clips in style {style!r}; it has "
            f"{', '.join(styles)}",
            field="style",
        )


def whole_index(index: Any) -> int:
    """Returns the index of a take as an int.

    Raises:
        UserError: it is not an integer of 0 or more.
    """
    expect(index, numbers.Integral, "index", "give an integer of 0 or more")
    if isinstance(index, bool) or index < 0:
        raise UserError(f"index={index}; give an integer of 0 or more", field="index")
    return int(index)


@known_keywords
def draw(
    split: str,
    index: int,
    seconds: float = CLIP_SECONDS,
    family: str = "room",
    style: str | None = None,
) -> Take:
    """Returns the take (scene, motion, facts and captions) of a split with an index.

    It is a pure function of the arguments, bitwise the same on any machine.

    Args:
        split: one of the family's splits.
        index: number of the take, from 0.
        seconds: duration of the motion. Default: CLIP_SECONDS. Takes of family film in the split
            `length` last twice as long. Talks and stories have durations of their own.
        family: a name in FAMILIES. Default: "room".
        style: the style, for a family with several. Default: None, which draws it.

    Raises:
        UserError: the family, split or style does not exist; `seconds` is not positive, or given
            for a family with a duration of its own; or the index is not an integer of 0 or more, or
            is beyond the end of a finite family.
        RuntimeError: no scene is found for AIMS aims.
    """
    check(split, family, style)
    if not seconds > 0:
        raise UserError(f"seconds={seconds}; give a positive duration", field="seconds")
    kind, index = FAMILIES[family], whole_index(index)
    if kind.own_seconds and seconds != CLIP_SECONDS:
        raise UserError(
            f"seconds={seconds:g}: scenes of family {family} have a duration of their own; leave "
            "it out",
            field="seconds",
        )
    stream = Stream(WORLD_VERSION, SPLITS[split], index, *kind.random_key)
    for _ in range(AIMS):
        # redrawn only after MAX_REDRAWS failures; otherwise hard aims would become rare
        aim = kind.aim(stream, split, index, style)
        for _ in range(MAX_REDRAWS):
            facts = kind.draw_facts(stream, split, aim)
            if kind.split_of(facts) != split:
                continue
            for _ in range(TRIES):
                drawn = kind.draw_scene(stream, facts, seconds)
                if drawn:
                    scene, motion = drawn
                    captions = tuple(
                        kind.caption(facts, stream.integer(1 << 20), split)
                        for _ in range(PARAPHRASES)
                    )
                    return Take(
                        split,
                        index,
                        scene,
                        motion,
                        facts,
                        captions,
                        family,
                        _intents(kind, facts),
                        **kind.details(scene, motion, facts, seconds),
                    )
    raise RuntimeError(
        f"{family}/{split}/{index}: no scene among {MAX_REDRAWS} sets of facts for each of "
        f"{AIMS} aims"
    )


def _intents(kind: Family, facts: Any) -> tuple[str, ...]:
    texts = [kind.intent(facts, variant) for variant in range(INTENTS)]
    return tuple(text for text in texts if text is not None)


def long_format(split: str, format: ClipFormat) -> ClipFormat:
    """Returns the clip format of the takes of a split, made from `format`.

    Clips of the split `length` have 2 F - 1 frames, where `format` has F. If `format` has shots,
    clips of a split in `story.SHOTS` have SHOTS[split] shots, each as long as the first. All other
    clips have `format` itself.
    """
    if format.shots and split in SHOTS:
        shots = format.shots[:1] * SHOTS[split]
        return dataclasses.replace(format, frames=sum(shots), shots=shots)
    if split != "length":
        return format
    return dataclasses.replace(format, frames=2 * format.frames - 1)


def in_style(take: Take, style: str) -> Take:
    """Returns a take of family film, occlude, talk or story in another style.

    Motion, camera and sound are bitwise the same. Facts and captions state the new style. The new
    facts may belong to another split, but `split` of the take stays.

    Raises:
        UserError: the family has no such style.
    """
    check("train", take.family, style)
    kind, scene = FAMILIES[take.family], dataclasses.replace(take.scene, style=style)
    facts = kind.restyled(take.facts, style)
    captions = tuple(kind.caption(facts, variant, take.split) for variant in range(PARAPHRASES))
    return dataclasses.replace(
        take, scene=scene, facts=facts, captions=captions, intents=_intents(kind, facts)
    )
