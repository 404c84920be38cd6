"""Evidence for a family's judge: oracle readings of a clip, also after its camera motion is
removed.
"""

import dataclasses
import functools
from typing import Any

import numpy as np

from sora_jax.clip import Clip
from sora_jax.oracles import arcs
from sora_jax.oracles.camera import Camera, move
from sora_jax.oracles.camera_views import read_move, steady
from sora_jax.oracles.facts import read_ball
from sora_jax.oracles.panel import Panel, read_panel
from sora_jax.oracles.permanence import Permanence, read_permanence
from sora_jax.oracles.reading import Reading
from sora_jax.oracles.tracker import lasting
from sora_jax.worlds.playhouse.captions import BallFacts
from sora_jax.worlds.playhouse.render.inputs import ON_TWOS


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
        if name.startswith("_"):  # before `__init__`, as copies are made
            raise AttributeError(name)
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
