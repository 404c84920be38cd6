"""Camera motion of a film (a scene filmed by a moving camera), from its view in every frame.

A view is (left, top, width) in metres: the square of the scene that a frame shows.
`camera_views.py` reads the views from two posts at the sides of the scene. Their motion is first
classified as even (linear in time) or uneven, then named:

    even      push-in if the width shrinks by ZOOMED m/s or more; pan if `left` moves at the speed
              of a pan; follow if `left` moves by MOVED m or more otherwise; else static. Static
              includes a follow of a ball that falls straight down and a shake of zero amplitude.
    uneven    shake if `top` moves more than `left`, else follow
"""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from sora_jax.oracles.base import Oracle
from sora_jax.oracles.camera_views import TOP, read_views
from sora_jax.oracles.conditions import Condition
from sora_jax.oracles.corruptions import freeze, reverse
from sora_jax.oracles.examples import VIDEO, Example, shuffled
from sora_jax.oracles.tracker import EXTENT
from sora_jax.worlds.playhouse.camera import SIDEWAYS
from sora_jax.worlds.playhouse.camera import views as views_of
from sora_jax.worlds.playhouse.draw import Take
from sora_jax.worlds.playhouse.families.film import FilmFacts
from sora_jax.worlds.playhouse.spec import CLIP_SECONDS

if TYPE_CHECKING:
    from sora_jax.oracles.reading import Reading

# m/s; metres; metres: largest deviation of an even motion from a line in time
ZOOMED, MOVED, EVEN = 0.125, 0.12, 1e-3
# Tolerances of the oracle: rms pixels from the true views; relative error of the speed of a pan or
# push-in.
MAX_RMS, SPEED_TOLERANCE = 0.5, 0.05
# pixels: a follow or shake counts as visible if its displacement reaches this in two frames
MIN_SHIFT = 0.75
EVEN_MOVES = {"pan": 0, "push-in": 2}  # even moves, and the column of the views that they change


@dataclasses.dataclass(frozen=True)
class Camera:
    """The camera motion of a clip.

    Attributes:
        kind: static, pan, push-in, follow or shake.
        direction: "left" or "right" for a pan, else None.
        views: the square of the scene that each frame shows, (left, top, width) in metres, [F, 3].
    """

    kind: str
    direction: str | None
    views: np.ndarray

    def rms_pixels(self, target: np.ndarray, size: int) -> float:
        """Returns the rms distance between these views and others, in pixels: how far apart the
        scene's four corners are drawn.

        Args:
            target: the other views, [F, 3].
            size: width of the frames in pixels.
        """
        corners = np.array([(x, y) for x in (0.0, EXTENT) for y in (0.0, TOP)])
        predicted, expected = (
            np.stack([corners[:, 0] - v[:, :1], v[:, 1:2] - corners[:, 1]], axis=-1)
            * size
            / v[:, 2][:, None, None]
            for v in (self.views, target)
        )
        return float(np.sqrt(np.mean(np.sum(np.square(predicted - expected), axis=-1))))


def read_camera(frames: np.ndarray, fps: float) -> Camera | None:
    """Returns the camera motion of a film; None if the two posts at the sides of the scene are not
    visible.

    Args:
        frames: [F, H, W, 3] in [0, 1].
        fps: frames/s.
    """
    views = read_views(frames)
    return None if views is None else Camera(*move(views, fps), views)


def move(views: np.ndarray, fps: float) -> tuple[str, str | None]:
    """Returns (kind, direction) of a camera motion: kind is static, pan, push-in, follow or shake;
    direction is "left" or "right" for a pan, else None.

    Args:
        views: (left, top, width) in metres of every frame, [F, 3].
        fps: frames/s.
    """
    t = (np.arange(len(views)) + 0.5) / fps
    line = np.polyfit(t, views, 1)
    residual = np.abs(views - t[:, None] * line[0] - line[1])
    if residual.max() > EVEN:
        # a shake moves more vertically than horizontally
        sideways, up, _ = np.abs(views - np.median(views, axis=0)).sum(0)
        return ("shake" if up > sideways else "follow"), None
    if line[0, 2] < -ZOOMED:
        return "push-in", None
    pan_speed = 2.0 * SIDEWAYS * EXTENT / CLIP_SECONDS  # m/s of a pan
    if abs(abs(line[0, 0]) / pan_speed - 1.0) < 0.08:  # tolerance of the speed
        return "pan", "right" if line[0, 0] > 0 else "left"
    return ("follow" if np.ptp(views[:, 0]) > MOVED else "static"), None


def true_views(c: Example) -> np.ndarray:
    """Returns the view of the take's camera in every frame of a clip, (left, top, width) in metres,
    [F, 3].
    """
    return views_of(c.take.scene, c.format.frame_times())


def _travel(c: Example) -> np.ndarray:
    """Returns how far the camera of a clip's take moves the picture from its median position in
    each frame, in pixels, sorted ascending [F].
    """
    views = true_views(c)
    shift = np.abs(views[:, :2] - np.median(views[:, :2], axis=0)).max(1)
    return np.sort(shift) * c.format.size / views[0, 2]


def _move_of(take: Take) -> tuple[str, str | None]:
    facts = take.facts
    assert isinstance(facts, FilmFacts)
    return facts.look.camera, facts.look.direction


class CameraOracle(Oracle):
    """Oracle `camera`: kind, direction and views of the camera's motion in a film."""

    name = "camera"
    media = (VIDEO,)
    tolerance = (
        f"views within {MAX_RMS} px rms, the kind of motion, "
        f"its speed within {100 * SPEED_TOLERANCE:.0f} %"
    )
    corruptions = (reverse, freeze)
    stage = "film"

    def read(self, reading: "Reading") -> Camera | None:
        """Returns the camera motion of a clip and its views; None if the posts are not visible."""
        return read_camera(reading.frames, reading.fps)

    def judge(self, example: Example, reading: "Reading") -> bool:
        """Returns whether the views match those of the example's take within MAX_RMS and, where the
        motion is visible, its kind matches too; of a pan or push-in also direction and speed.
        """
        target, camera = true_views(example), reading.of(self.name)
        if camera is None or camera.rms_pixels(target, example.format.size) > MAX_RMS:
            return False
        kind, direction = _move_of(example.take)
        if kind not in EVEN_MOVES:
            return camera.kind == kind or _travel(example)[-2] < MIN_SHIFT
        times, axis = example.format.frame_times(), EVEN_MOVES[kind]
        speed, target_speed = (np.polyfit(times, v[:, axis], 1)[0] for v in (camera.views, target))
        same = (camera.kind, camera.direction) == (kind, direction)
        return bool(same and abs(speed / target_speed - 1.0) <= SPEED_TOLERANCE)

    def applies(self, condition: Condition, example: Example) -> bool:
        """Returns whether a condition can change the visible camera motion of the example: False
        for `freeze` if the camera does not visibly move, and for `reverse` if it neither pans nor
        pushes in.
        """
        kind, _ = _move_of(example.take)
        if condition is freeze:
            return _travel(example)[-3] > 1.0 or kind == "push-in"
        return condition is not reverse or kind in EVEN_MOVES

    def shuffle(self, clips: list[Example]) -> list[Example]:
        """Returns every clip with the take of another clip that has another camera motion."""
        return shuffled(clips, _move_of)
