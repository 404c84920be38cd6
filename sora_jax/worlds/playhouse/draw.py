"""(split, index, family) -> one scene with its motion, facts and captions: the data set as a
function.

A family (`families/`) is a kind of scene: it draws facts, then physics that fulfils them, by
rejection: so captions are balanced and the picture never contradicts them. The split is decided by
the factor tuple (`facts.key`) alone: a prompt of `val` therefore names a combination that `train`
never holds, though every single factor is common there.
"""

import dataclasses
import numbers
from typing import Any

from sora_jax.errors import UserError, expect
from sora_jax.modality import ClipFormat
from sora_jax.worlds.playhouse.families import FAMILIES
from sora_jax.worlds.playhouse.families.base import Family
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
SPLITS |= {"order": 8, "speakers": 9, "length": 10}
PARAPHRASES, INTENTS = 8, 4  # captions and intents kept with a scene
# sets of facts tried before an aim is given up: a fate in a look may have no tuple in a small split
MOST_FACTS = 10_000
AIMS = 10  # aims given up before a family is called impossible
# scenes drawn for one set of facts, which are then given up: crowded balls may hardly be possible
TRIES = 20


@dataclasses.dataclass(frozen=True)
class Take:
    """A scene played once: what happens in it, what is said of it, in several paraphrases.

    captions say all the facts; intents, where the family has an outcome, only what is tried.
    margin: how far in metres the path before the outcome is, at least, from that of a launch with
    another outcome, and margin_speed by how many m/s those launches differ; None where there is no
    outcome. hidden: (ball, start, end) in s of every time at which all of a ball is behind a panel.
    """

    split: str
    index: int
    scene: Scene
    trajectory: Trajectory
    facts: object
    captions: tuple[str, ...]
    family: str = "room"
    intents: tuple[str, ...] = ()
    margin: float | None = None
    margin_speed: float | None = None
    hidden: tuple[tuple[int, float, float], ...] = ()

    def margin_px(self, size: int) -> float:
        """`margin` in pixels of a picture of size x size; infinite where there is no other
        outcome.
        """
        return float("inf") if self.margin is None else self.margin * size / self.scene.extent


def check(split: str, family: str, style: str | None = None) -> None:
    """Raises UserError for a family that does not exist, or a split or style that it does not
    have.
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
    if style is not None and style not in (kept := kind.styles_of(split)):
        raise UserError(
            f"the split {split} of {family} has no clips in style {style!r}; it has "
            f"{', '.join(kept)}",
            field="style",
        )


def whole_index(index: Any) -> int:
    """The number of a take as an int. Raises UserError for anything but an integer of 0 or more."""
    expect(index, numbers.Integral, "index", "give an integer of 0 or more")
    if isinstance(index, bool) or index < 0:
        raise UserError(f"index={index}; give an integer of 0 or more", field="index")
    return int(index)


def draw(
    split: str,
    index: int,
    seconds: float = CLIP_SECONDS,
    family: str = "room",
    style: str | None = None,
) -> Take:
    """The take number `index` of a family's split; a pure function of its arguments, bitwise the
    same everywhere.

    style: the only one, where a family has several; None draws it. The split `length` has clips
    longer than `seconds` (`long_format`).

    Raises UserError for no such family, split or style, or an index that is no integer of 0 or
    more or lies beyond a family that is finite.
    """
    check(split, family, style)
    kind, index = FAMILIES[family], whole_index(index)
    stream = Stream(WORLD_VERSION, SPLITS[split], index, *kind.random_key)
    for _ in range(AIMS):
        # redrawn only after MOST_FACTS failures; otherwise hard aims would become rare
        aim = kind.aim(stream, split, index, style)
        for _ in range(MOST_FACTS):
            facts = kind.draw_facts(stream, split, aim)
            if kind.split_of(facts) != split:
                continue
            for _ in range(TRIES):
                played = kind.draw_scene(stream, facts, seconds)
                if played:
                    scene, motion = played
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
        f"{family}/{split}/{index}: no scene among {MOST_FACTS} sets of facts for each of "
        f"{AIMS} aims"
    )


def _intents(kind: Family, facts: object) -> tuple[str, ...]:
    said = [kind.intent(facts, variant) for variant in range(INTENTS)]
    return tuple(text for text in said if text is not None)


def long_format(split: str, format: ClipFormat) -> ClipFormat:
    """The format for clips of a split: those of `length` have twice the frames, less one."""
    return (
        dataclasses.replace(format, frames=2 * format.frames - 1) if split == "length" else format
    )


def in_style(take: Take, style: str) -> Take:
    """The same take of film or occlude in another style: motion, camera and sound are bitwise the
    same, facts and captions say the style.

    Its factor tuple may belong to another split than the take's.
    """
    check("train", take.family, style)
    facts = dataclasses.replace(take.facts, look=dataclasses.replace(take.facts.look, style=style))
    kind, scene = FAMILIES[take.family], dataclasses.replace(take.scene, style=style)
    captions = tuple(kind.caption(facts, variant, take.split) for variant in range(PARAPHRASES))
    return dataclasses.replace(
        take, scene=scene, facts=facts, captions=captions, intents=_intents(kind, facts)
    )
