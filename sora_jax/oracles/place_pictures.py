"""Paints pictures of the empty places (rooms) of stories, for any view, style and state, so that
oracles can compare frames with them.

The furniture is that of `story_inputs.furniture`, in metres. It is painted as the renderer
paints it (`story_program.py`): boxes and discs with edges one pixel wide, then the light of the
lamp, what shines by itself, the glow of the air, and the grading (change of colours) of the style
cinematic. Characters, the ball, its shadow and what is random (sensor noise, the phase of the floor
boards) are left out.

A view is (left, top, width) in metres: the square that a frame shows.
"""

import dataclasses
import functools

import numpy as np

from sora_jax.worlds.playhouse.camera import BARS
from sora_jax.worlds.playhouse.places import LAMP_HEIGHT, ROOMS, SCORE
from sora_jax.worlds.playhouse.render.story_inputs import furniture
from sora_jax.worlds.playhouse.render.story_program import EDGES, NIGHT

WARM = np.array([1.0, 0.95, 0.75], np.float32)  # the glow of the air around a lamp
BRIGHT = np.array([0.3, 0.59, 0.11], np.float32)  # weights of RGB in the brightness


@dataclasses.dataclass(frozen=True)
class Look:
    """A place with its style and state, of which a picture is painted.

    Attributes:
        place: index in storyboard.PLACES.
        style: a name in FILM_STYLES.
        lamp: 1.0 is on, 0.0 is off.
        door: 1.0 is open, 0.0 is closed, values between are partly open. Default: 0.0.
        score: number of lit lamps on the score board. Default: 0.
    """

    place: int
    style: str
    lamp: float
    door: float = 0.0
    score: int = 0

    @property
    def lit(self) -> float:
        """1.0 for the styles with shading and light falloff (realistic, cinematic), else 0.0."""
        return float(self.style in ("realistic", "cinematic"))

    @property
    def inked(self) -> float:
        """1.0 for the style that draws outlines (anime), else 0.0."""
        return float(self.style == "anime")


def _ramp(pixels: np.ndarray) -> np.ndarray:
    return np.clip(pixels + 0.5, 0.0, 1.0)


def paint(look: Look, views: np.ndarray, size: int) -> np.ndarray:
    """Returns N pictures of an empty place, float32 [N, size, size, 3] in [0, 1].

    Args:
        look: the place with its style and state.
        views: (left, top, width) in metres, [N, 3].
        size: side of the pictures in pixels.
    """
    canvas = _Canvas(np.asarray(views, np.float32), size)
    picture = canvas.wall_and_floor(look)
    boxes, discs, glow = _parts(look.place, look.lamp, look.door, look.score)
    for box in boxes:
        canvas.box(picture, box, EDGES[look.style])
    for disc in discs:
        canvas.disc(picture, disc, EDGES[look.style])
    picture *= look.lamp + (1.0 - look.lamp) * NIGHT
    for disc in glow:
        canvas.disc(picture, disc, 0.0)
    strength = 0.16 * look.lamp * max(look.lit, look.inked)
    if strength:
        x, y = canvas.x - ROOMS[look.place].lamp, canvas.y - LAMP_HEIGHT
        air = np.exp(-np.square(y) / 0.35)[:, :, None] * np.exp(-np.square(x) / 0.35)[:, None]
        picture += (strength * air)[..., None] * WARM
    if look.style == "cinematic":
        picture = graded(picture)
    return np.clip(picture, 0.0, 1.0)


@functools.lru_cache(maxsize=512)
def _parts(
    place: int, lamp: float, door: float, score: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the furniture of a place in one state: boxes [N, 8] (`_Canvas.box`), discs [M, 7]
    (`_Canvas.disc`) and discs that shine by themselves [L, 7].
    """
    parts = furniture(*(np.array([value]) for value in (place, lamp, door, score)))
    boxes, discs, glow = (part[0].astype(np.float32) for part in parts)
    shown = boxes[:, 1] > boxes[:, 0]
    return boxes[shown], discs[discs[:, 2] > 0.0], glow


def graded(pictures: np.ndarray) -> np.ndarray:
    """Returns pictures [N, S, S, 3] with the colours, dark corners and black bars of the style
    cinematic.
    """
    size = pictures.shape[1]
    bright = (pictures @ BRIGHT)[..., None]
    cold, warm = np.array([[-0.10, 0.0, 0.07], [0.05, 0.01, -0.09]], np.float32)
    pictures = pictures * (1.0 + (1.0 - bright) * cold + bright * warm)
    pictures = 0.5 + 1.06 * (pictures - 0.52)
    return (pictures * exposure(size)[..., None]).astype(np.float32)


def exposure(size: int) -> np.ndarray:
    """Returns the share of light that the style cinematic leaves to each pixel, [size, size]: 0 in
    its black bars, less than 1 towards the corners.
    """
    pixel = np.arange(size)
    far = np.square(pixel - 0.5 * size + 0.5) / (0.5 * size * size)
    corner = np.minimum(far[:, None] + far, 1.0)
    open_ = _ramp(pixel + 0.5 - BARS * size) * _ramp((1.0 - BARS) * size - pixel - 0.5)
    return (1.0 - 0.45 * corner) * open_[:, None]


class _Canvas:
    """A painter of N pictures, one for each of N views.

    Args:
        views: float32 [N, 3] in metres.
        size: side of the pictures in pixels.
    """

    def __init__(self, views: np.ndarray, size: int) -> None:
        self.size, self.scale = size, size / views[:, 2:]  # pixels per metre, [N, 1]
        self.left, self.top = views[:, :1], views[:, 1:2]
        self.pixel = np.arange(size, dtype=np.float32)
        centre = self.pixel + 0.5
        self.x, self.y = self.left + centre / self.scale, self.top - centre / self.scale  # [N, S]
        self.inset = 0.9 * size / 64.0

    def _stripes(self, at: np.ndarray, period: float, soft: float) -> np.ndarray:
        if not period:
            return np.zeros_like(at)
        part = at / period
        wave = np.abs(part - np.floor(part) - 0.5) * period
        return _ramp((0.25 * period - wave) * self.scale / soft)

    def wall_and_floor(self, look: Look) -> np.ndarray:
        """Returns pictures of the wall with its wallpaper and of the floor, [N, S, S, 3]."""
        room, y, scale = ROOMS[look.place], self.y, self.scale
        shade = 0.10 * np.clip((y - 1.6) / 2.0, -1.0, 0.6) * look.inked + 1.0
        falls = 0.05 * y - 0.12 - 0.20 * np.exp(-np.maximum(y, 0.0) / 0.2)
        shade = shade * (1.0 + look.lit * falls)
        shade = shade * (1.0 - 0.18 * _ramp((0.07 - np.abs(y - 0.07)) * scale))  # skirting
        soft = 3.0 if look.style == "cinematic" else 1.0
        across = self._stripes(self.x, room.paper[0], soft)[:, None]
        paper = np.maximum(across, self._stripes(y, room.paper[1], soft)[:, :, None])
        wall = np.array(room.wall, np.float32)
        hue = wall + 0.4 * look.inked * (wall - wall.mean())
        picture = (shade[:, :, None] * (1.0 - room.paper[2] * paper))[..., None] * hue
        boards = np.array(room.floor, np.float32)
        floor = (1.0 + look.lit * 0.25 * np.minimum(y, 0.0))[..., None] * boards
        on_floor = _ramp(-y * scale)[:, :, None, None]
        picture += on_floor * (floor[:, :, None] - picture)
        line = 0.7 * look.inked * np.clip(1.1 - np.abs(y * scale), 0.0, 1.0)
        return (picture * (1.0 - line)[:, :, None, None]).astype(np.float32)

    def box(self, picture: np.ndarray, box: np.ndarray, edge: float) -> None:
        """Paints a box over pictures [N, S, S, 3], in place.

        Args:
            picture: the pictures.
            box: (left, right, top, bottom, R, G, B, alpha), edges in metres.
            edge: how much darker its outline is, from 0 (no outline) to 1.
        """
        left, right = ((x - self.left) * self.scale - 0.5 for x in box[:2])
        upper, lower = ((self.top - y) * self.scale - 0.5 for y in box[2:4])
        columns, rows = self._shown(left, right), self._shown(upper, lower)
        x, y = self.pixel[columns], self.pixel[rows]
        if not (x.size and y.size):
            return
        across = _ramp(x - left) * _ramp(right - x) * box[7]
        down = _ramp(y - upper) * _ramp(lower - y)
        covered = down[:, :, None] * across[:, None]
        part, shade = picture[:, rows, columns], 1.0
        if edge:
            inside = _ramp(x - left - self.inset) * _ramp(right - x - self.inset)
            within = _ramp(y - upper - self.inset) * _ramp(lower - y - self.inset)
            wide = (right - left > 3.0 * self.inset)[:, :, None]
            shade = (1.0 - edge * (1.0 - within[:, :, None] * inside[:, None]) * wide)[..., None]
        part += covered[..., None] * (shade * box[4:7] - part)

    def disc(self, picture: np.ndarray, disc: np.ndarray, edge: float) -> None:
        """Paints a disc over pictures [N, S, S, 3], in place.

        Args:
            picture: the pictures.
            disc: (x, y, radius, R, G, B, alpha), lengths in metres.
            edge: how much darker its outline is, from 0 (no outline) to 1.
        """
        column, row = (disc[0] - self.left) * self.scale - 0.5, (self.top - disc[1]) * self.scale
        row, radius = row - 0.5, disc[2] * self.scale
        columns, rows = (self._shown(at - radius, at + radius) for at in (column, row))
        x, y = self.pixel[columns], self.pixel[rows]
        if not (x.size and y.size):
            return
        far = np.sqrt(np.square(y - row)[:, :, None] + np.square(x - column)[:, None] + 1e-12)
        depth = radius[..., None] - far
        covered = (_ramp(depth) * disc[6])[..., None]
        part, shade = picture[:, rows, columns], 1.0
        if edge:
            rim = edge * (radius > 2.5 * self.inset)[..., None]
            shade = (1.0 - rim * (1.0 - _ramp(depth - self.inset)))[..., None]
        part += covered * (shade * disc[3:6] - part)

    def _shown(self, first: np.ndarray, last: np.ndarray) -> slice:
        """Returns the pixels of a row or a column that a thing from `first` to `last`, in pixels
        [N, 1], covers in part in one of the pictures at least.
        """
        start = max(int(first.min()), 0)
        return slice(start, max(min(int(last.max()) + 2, self.size), start))


def lamps_of_score(place: int) -> np.ndarray:
    """Returns the centres of the lamps on the score board of a place, given by its index,
    [SCORE, 2] in metres.
    """
    return _parts(place, 1.0, 0.0, SCORE)[2][1:, :2]
