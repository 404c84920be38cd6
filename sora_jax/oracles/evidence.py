"""Evidence for a family's judge: oracle readings of a clip, with and without its camera motion."""

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
    """Readings of a clip with a panel, filmed by a camera that is static, pans or pushes in.

    Attributes:
        camera: the camera motion, one of these three.
        panel: the panel; None without one.
        steady: the clip with the camera motion removed.
    """

    camera: Camera
    panel: Panel | None
    steady: "Evidence"


class Evidence:
    """Readings of one clip for the judge of a family of scenes, with and without its camera motion.

    It has all attributes of a `Reading`, and implements `families.base.Reading`.
    """

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def __getattr__(self, name: str) -> Any:
        # copy and pickle look up private names before `__init__` has set `_reading`
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._reading, name)

    @functools.cached_property
    def steady(self) -> "Evidence | None":
        """The film with its camera motion removed; None without posts at the sides of the scene."""
        return self._steadied(self.camera.views) if self.camera else None

    @functools.cached_property
    def stage(self) -> Stage | None:
        """Panel, camera and steady clip of a clip with a panel; None without posts at the sides of
        the scene.
        """
        views = read_move(self.frames, self.fps)
        if views is None:
            return None
        steadied, camera = self._steadied(views), Camera(*move(views, self.fps), views)
        return Stage(
            camera, read_panel(steadied.frames, views[:: self._frames_per_drawing]), steadied
        )

    @functools.cached_property
    def permanence(self) -> Permanence | None:
        """Whether the ball behind a panel persists; None if no ball goes behind a panel."""
        n = self._frames_per_drawing
        if n == 1:
            return self._reading.permanence
        return read_permanence(self.frames[::n], self.fps / n)

    @property
    def _frames_per_drawing(self) -> int:
        """Number of frames that one drawing lasts: 2 for anime at high frame rates ("on twos"),
        else 1.
        """
        return 2 if self.style == "anime" and self.fps >= ON_TWOS else 1

    def _steadied(self, views: np.ndarray) -> "Evidence":
        frames = steady(np.asarray(self.frames, np.float32), views)[:: self._frames_per_drawing]
        return Evidence(Reading(Clip(frames, None, self.fps / self._frames_per_drawing)))

    @functools.cached_property
    def balls(self) -> list[BallFacts]:
        """The facts of every ball, including balls that are hidden most of the time."""
        return [read_ball(track, self.fps) for track in lasting(self.tracks)]

    @functools.cached_property
    def landings(self) -> tuple[str, ...]:
        """The colours of the balls in the order of their first floor impacts, for family `room`."""
        times = {}
        for track in lasting(self.tracks):
            kinks = arcs.kinks(arcs.fit(track, self.fps), track, self.fps)
            impacts = [kink.time for kink in kinks if kink.kind == "floor"]
            if impacts:
                times[track.colour] = min(impacts)
        return tuple(sorted(times, key=times.__getitem__))
