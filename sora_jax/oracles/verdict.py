"""What the oracles read in a clip, for people, and whether it is what the prompt asked: every fact
of a caption, asked, seen and met.

A prompt is read and judged by a family of scenes (`worlds.playhouse.families`): the family turns
it into facts, and facts into lines. A clip meets its prompt when every line that an oracle reads is
met. For rooms this is when `oracles.facts.compare` says "all".
"""

import dataclasses
import functools
from typing import Any

import numpy as np

from sora_jax.clip import Clip
from sora_jax.oracles import arcs
from sora_jax.oracles.camera import Camera, move, read_move, steady
from sora_jax.oracles.facts import read_ball
from sora_jax.oracles.permanence import Panel, Permanence, read_panel, read_permanence
from sora_jax.oracles.reading import Reading
from sora_jax.oracles.sync import match
from sora_jax.oracles.tracker import lasting
from sora_jax.worlds.playhouse.captions import BallFacts, CaptionError
from sora_jax.worlds.playhouse.families import FAMILIES
from sora_jax.worlds.playhouse.families.base import Line
from sora_jax.worlds.playhouse.render.inputs import ON_TWOS


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether a clip shows what its prompt asks.

    Attributes:
        met: None where that cannot be said; `reason` then says why.
        lines: every fact, as asked and as seen.
        family: the family that read the prompt; None where none did.
    """

    met: bool | None
    lines: tuple[Line, ...] = ()
    family: str | None = None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON: {"met": bool, "facts": [...], "family": ...}, or {"met": None, "reason": ...,
        "family": ...}, with facts where there are any.
        """
        said: dict[str, Any] = {"met": self.met, "family": self.family}
        if self.met is None:
            said["reason"] = self.reason
        if self.met is not None or self.lines:
            said["facts"] = [dataclasses.asdict(line) for line in self.lines]
        return said


def judge_prompt(prompt: str, reading: Reading, family: str | None = None) -> Verdict:
    """Whether a clip shows what `prompt` asks, by the first family that can read the prompt.

    Args:
        family: the one that the model was trained on, which is tried first; the others follow in
            the registry's order.
    """
    if not prompt.strip():
        return Verdict(None, reason="there is no prompt")
    if family is not None and family not in FAMILIES:
        return Verdict(
            None,
            reason=f"the model was trained on family {family!r}, which is not registered here; "
            "import the module that registers it",
        )
    errors: dict[str, CaptionError] = {}
    for name in dict.fromkeys([*([family] if family else []), *FAMILIES]):
        try:
            facts = FAMILIES[name].parse(prompt)
        except CaptionError as error:
            errors[name] = error
            continue
        return _verdict(name, FAMILIES[name].judge(facts, Evidence(reading)))
    name = max(errors, key=lambda name: errors[name].column)
    return Verdict(
        None, reason=f"no family reads it as a caption; {name} reads furthest: {errors[name]}"
    )


def _verdict(family: str, lines: list[Line]) -> Verdict:
    read = [line.met for line in lines if line.met is not None]
    if not read:
        return Verdict(None, tuple(lines), family, "no oracle reads any of its facts")
    return Verdict(all(read), tuple(lines), family)


@dataclasses.dataclass(frozen=True)
class Stage:
    """A clip with a panel, seen by a camera that stands still, pans or pushes in.

    Attributes:
        camera: which of these moves it makes.
        panel: None where there is none.
        steady: the clip as a camera that stands still would show it.
    """

    camera: Camera
    panel: Panel | None
    steady: "Evidence"


class Evidence:
    """What a family judges by (`families.base.Reading`): a `Reading`, and what is read of the clip
    once its camera is held still.
    """

    def __init__(self, reading: Reading):
        self._reading = reading

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reading, name)

    @functools.cached_property
    def steady(self) -> "Evidence | None":
        """A film as a camera that stands still would show it; None without posts."""
        return self._held(self.camera.views) if self.camera else None

    @functools.cached_property
    def stage(self) -> Stage | None:
        """A clip with a panel that may hide a post; None without posts."""
        views = read_move(self.frames, self.fps)
        if views is None:
            return None
        held, camera = self._held(views), Camera(*move(views, self.fps), views)
        return Stage(camera, read_panel(held.frames, views[:: self._held_for]), held)

    @functools.cached_property
    def permanence(self) -> Permanence | None:
        """What becomes of the ball that goes behind a panel; None where none does."""
        n = self._held_for
        if n == 1:
            return self._reading.permanence
        return read_permanence(self.frames[::n], self.fps / n)

    @property
    def _held_for(self) -> int:
        """Frames for which a drawing stays: anime is drawn on twos at high rates."""
        return 2 if self.style == "anime" and self.fps >= ON_TWOS else 1

    def _held(self, views: np.ndarray) -> "Evidence":
        frames = steady(np.asarray(self.frames, np.float32), views)[:: self._held_for]
        return Evidence(Reading(Clip(frames, None, self.fps / self._held_for)))

    @functools.cached_property
    def balls(self) -> list[BallFacts]:
        """Of every ball, also of one that is hidden most of the time."""
        return [read_ball(track, self.fps) for track in lasting(self.tracks)]

    @functools.cached_property
    def landings(self) -> tuple[str, ...]:
        """The colours of the balls of a room in the order in which they first strike the floor."""
        times = {}
        for track in lasting(self.tracks):
            kinks = arcs.kinks(arcs.fit(track, self.fps), track, self.fps)
            floor = [kink.time for kink in kinks if kink.kind == "floor"]
            if floor:
                times[track.colour] = min(floor)
        return tuple(sorted(times, key=times.__getitem__))


def say_balls(reading: Reading) -> str:
    """The balls found, in a line."""
    found = {track.colour: track.found.mean() for track in reading.tracks}
    said = []
    for ball in reading.facts.balls:
        look = " ".join(
            word
            for word in (ball.size, ball.colour, ball.launch, ball.direction)
            if word is not None
        )
        bounces = {0: "no bounce seen", 1: "1 bounce"}.get(ball.bounces, f"{ball.bounces} bounces")
        said.append(f"{look}, {bounces} (found once in {found[ball.colour]:.0%} of frames)")
    return "; ".join(said) or "no ball"


def say_impacts(reading: Reading) -> str:
    """The impacts found, in a line; whether they agree is said only where there is something to
    agree about.
    """
    parts = []
    for name, times in (("seen", reading.seen), ("heard", reading.heard)):
        parts.append(
            f"impacts {name} at {' '.join(f'{t:.2f}' for t in times)} s"
            if times
            else f"no impact {name}"
        )
    if reading.unsynced:
        if reading.seen or reading.heard or reading.samples is None:
            parts.append(f"their agreement is not scored: {reading.unsynced}")
        return "; ".join(parts)
    pairs = len(match(reading.heard, reading.seen, 0.1))
    alone = [
        f"{len(times) - pairs} {name}"
        for name, times in (("seen", reading.seen), ("heard", reading.heard))
        if len(times) > pairs
    ]
    if not pairs:
        parts.append(f"unmatched: {' and '.join(alone)}")
    else:
        rest = f", unmatched: {' and '.join(alone)}" if alone else ""
        parts.append(f"{pairs} agree to 100 ms (F1 {reading.sync.f1_100ms:.2f}){rest}")
    return "; ".join(parts)
