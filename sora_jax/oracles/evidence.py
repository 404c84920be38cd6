"""Evidence: the oracle readings of a clip that a family of scenes judges prompts by, with and
without the camera motion of the clip.
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
    """Readings of a clip of family `occlude`, in which a panel hides a ball.

    Attributes:
        camera: the camera motion: static, pan or push-in.
        panel: the panel, a board in front of the balls; None if none is found.
        steady: readings of the clip with the camera motion removed.
    """

    camera: Camera
    panel: Panel | None
    steady: "Evidence"


class Evidence:
    """Readings of one clip for the judge of a family of scenes, with and without its camera motion.

    It has all attributes of `oracles.reading.Reading`, and implements the protocol
    `families.base.Reading`.
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
        """Readings of the film with its camera motion removed; None without the two posts at the
        sides of the scene, from which that motion is read.
        """
        return self._steadied(self.camera.views) if self.camera else None

    @functools.cached_property
    def stage(self) -> Stage | None:
        """Camera, panel and steady clip of a clip of family `occlude`; None without the two posts
        at the sides of the scene, from which the camera motion is read.
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
        """Whether the ball that a panel hides is there again afterwards, the same and on its
        course; None if no ball goes behind a panel.
        """
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
        """The facts of every ball that is visible in at least a third of the frames."""
        return [read_ball(track, self.fps) for track in lasting(self.tracks)]

    @functools.cached_property
    def landings(self) -> tuple[str, ...]:
        """The colours of the balls that hit the floor, in the order in which they first do."""
        times = {}
        for track in lasting(self.tracks):
            kinks = arcs.kinks(arcs.fit(track, self.fps), track, self.fps)
            impacts = [kink.time for kink in kinks if kink.kind == "floor"]
            if impacts:
                times[track.colour] = min(impacts)
        return tuple(sorted(times, key=times.__getitem__))
