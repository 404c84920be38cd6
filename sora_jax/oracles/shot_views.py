"""Finds which place (room) a shot of a story shows, and from which view, by comparison with painted
places. A story is a clip with cuts, a shot the part between two.

A view (left, top, width in metres) follows from a frame size, a base (x of its centre c and its
width w, in metres), and a camera move (`staging.CAMERAS`). For a pixel p of a frame and q of the
picture of an empty place (`place_pictures.py`), the agreement is

    A = mean over pixels of  exp(-|p - q|^2 / (2 SIGMA^2))                                       (1)

so whatever hides the place, such as characters, lowers A by its area alone.

1. The middle frame of the shot, averaged to COARSE pixels, is compared with pictures of all
   places and styles, with the lamp on or off and the door open or closed, from a grid of views.
   The BEST views are kept, at most one for each place, style, frame size and APART metres of c.
2. Their c and w are refined at SIZE pixels, and the camera move is that of the largest A over
   LOOKS frames.

Pictures are then blurred until they are as sharp as the frames (BLURS). In each frame the lamp is
on if a picture with the lamp on has a larger A than one with the lamp off.

Limits: only views that the stories of this world have (`staging.py`) are found.
"""

import dataclasses
import functools
import itertools
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from sora_jax.oracles.place_pictures import Look, paint
from sora_jax.oracles.style import SIZE
from sora_jax.worlds.playhouse.places import DOOR_HALF, EXTENT, ROOMS
from sora_jax.worlds.playhouse.spec import FILM_STYLES
from sora_jax.worlds.playhouse.staging import (
    CAMERAS,
    CLOSE,
    FACE,
    PUSH,
    STANDING,
    TWO,
    TWO_BELOW,
    WIDE,
    WIDE_BELOW,
)
from sora_jax.worlds.playhouse.storyboard import MOVES, PLACES

COARSE = 16  # pixels
SIGMA = 0.07  # of (1): a distance of colours, RGB in [0, 1]
SOFT = 0.6  # pixels: blur of frames and pictures
BLURS = (SOFT, 0.9, 1.2, 1.6)  # of pictures, for frames that are less sharp
BEST, APART = 6, 0.6  # number of views; metres between the centres of those of one place
LAST = 2  # views that remain after the refinement, whose camera moves are compared
LOOKS = 4  # frames
WIDEST = 3.95  # metres: width of a two-shot of characters at the two ends of a room
# metres: steps of the grid of centres by frame size; steps of the refinement, one after another
STEPS = {"wide": 0.15, "two-shot": 0.12, "close-up": 0.07}
FINER = (0.06, 0.03, 0.015)
ZOOMS = (1.0, 1.0 + 0.5 * PUSH)  # factors on the width in the middle of a shot
# Another centre within SPREAD metres could be that of the view if its A is at most SURE less.
SURE, SPREAD = 0.03, 1.2


@dataclasses.dataclass(frozen=True)
class Base:
    """The view of a shot without the displacement by its camera move.

    Attributes:
        frame: frame size, a name in storyboard.FRAMES.
        centre: x of the middle of the view in metres.
        width: metres that the width of the frame shows.
    """

    frame: str
    centre: float
    width: float

    def views(self, displaced: np.ndarray) -> np.ndarray:
        """Returns the views (left, top, width) in metres, [N, 3], after displacements.

        Args:
            displaced: (shift to the right in widths, factor on the width), [N, 2], as the function
                `displaced` returns them.
        """
        below = {"wide": WIDE_BELOW, "two-shot": TWO_BELOW}.get(self.frame, FACE - 0.5 * CLOSE)
        shift, size = displaced[:, 0], displaced[:, 1] * self.width
        left = self.centre + shift * self.width - 0.5 * size
        return np.stack([left, below + 0.5 * self.width + 0.5 * size, size], axis=-1)


@dataclasses.dataclass(frozen=True)
class Sight:
    """The place that a shot shows, and the view of it.

    Attributes:
        place: index in storyboard.PLACES.
        style: a name in FILM_STYLES.
        base: the view without the camera move.
        move: camera move, one of storyboard.MOVES.
        views: (left, top, width) of each frame in metres, [F, 3].
        lamp: 1 where the lamp is on, 0 where it is off, int64 [F].
        agreement: A of (1), the mean over LOOKS frames, in [0, 1].
        spread: uncertainty of the centre of the view: largest distance in metres of another centre
            that agrees about as well.
        blur: pixels by which pictures of the place are blurred to be as sharp as the frames.
    """

    place: int
    style: str
    base: Base
    move: str
    views: np.ndarray
    lamp: np.ndarray
    agreement: float
    spread: float
    blur: float


def soft(frames: np.ndarray, blur: float = SOFT) -> np.ndarray:
    """Returns frames [F, H, W, 3] blurred by `blur` pixels. Default: SOFT."""
    return ndimage.gaussian_filter(frames, (0, blur, blur, 0))


def displaced(move: str, parts: np.ndarray) -> np.ndarray:
    """Returns (shift to the right in widths of the view, factor on the width), [N, 2], of a camera
    move.

    Args:
        move: one of storyboard.MOVES.
        parts: moments of the shot, [N], from 0 (its start) to 1 (its end).
    """
    start, end = (np.array(knot) for knot in CAMERAS.get(move, STANDING))
    return start + parts[:, None] * (end - start)


def _grid() -> list[tuple[Base, float]]:
    """Returns (base, zoom) of the views with which the middle frame of a shot is compared. zoom is
    the factor on the width.
    """
    bases = [Base("wide", 0.5 * EXTENT + i * STEPS["wide"], WIDE) for i in (-1, 0, 1)]
    width = TWO
    while width < WIDEST:
        centres = np.arange(0.85, EXTENT - 0.84, STEPS["two-shot"])
        bases += [Base("two-shot", float(c), width) for c in centres]
        width *= 1.06
    centres = np.arange(0.35, EXTENT - 0.34, STEPS["close-up"])
    bases += [Base("close-up", float(c), CLOSE) for c in centres]
    return list(itertools.product(bases, ZOOMS))


@functools.cache
def _bank() -> tuple[list[tuple[Base, float]], list[Look], np.ndarray]:
    """Returns (grid of N views, L looks: places with style and state, their pictures
    [L, N, COARSE, COARSE, 3]).
    """
    grid = _grid()
    views = np.concatenate([base.views(np.array([[0.0, zoom]])) for base, zoom in grid])
    states = itertools.product(range(len(PLACES)), FILM_STYLES, (0.0, 1.0), (0.0, 1.0))
    looks = [Look(*state) for state in states]
    return grid, looks, np.stack([paint(look, views, COARSE) for look in looks])


def agreement(frames: np.ndarray, pictures: np.ndarray) -> np.ndarray:
    """Returns the agreement A of (1) of frames and pictures [..., H, W, 3], which broadcast: [...],
    in [0, 1].
    """
    apart = frames - pictures
    far = np.einsum("...c,...c->...", apart, apart)
    return np.exp(far * np.float32(-0.5 / SIGMA**2)).mean((-1, -2))


def _coarse(frame: np.ndarray) -> list[tuple[Look, Base, float]]:
    """Returns (look, base, zoom) of the BEST views that agree with a frame [SIZE, SIZE, 3], in
    falling order of agreement.
    """
    grid, looks, pictures = _bank()
    side = SIZE // COARSE
    small = frame.reshape(COARSE, side, COARSE, side, 3).mean((1, 3))
    scores = np.stack([agreement(small, of_look) for of_look in pictures])  # [L, N]
    found: dict[tuple[int, str, str, int], tuple[Look, Base, float]] = {}
    order = np.argsort(-scores, axis=None)
    for number, view in zip(*np.unravel_index(order, scores.shape), strict=True):
        look, (base, zoom) = looks[number], grid[view]
        key = (look.place, look.style, base.frame, int(base.centre / APART))
        found.setdefault(key, (look, base, zoom))
        if len(found) == BEST:
            break
    return list(found.values())


class _Shot:
    """The frames of a shot, compared with one place in one style.

    Args:
        frames: float32 [F, SIZE, SIZE, 3].
        look: the place with its style and its state in the middle frame.
    """

    def __init__(self, frames: np.ndarray, look: Look) -> None:
        self.frames, self.look = frames, look
        self.parts = (np.arange(len(frames)) + 0.5) / len(frames)
        self.middle = len(frames) // 2

    def of_middle(self, views: np.ndarray) -> np.ndarray:
        """Returns the agreement of the middle frame with pictures from views [N, 3], [N]."""
        return agreement(self.frames[self.middle], soft(paint(self.look, views, SIZE)))

    def scores(self, numbers: np.ndarray, views: np.ndarray, blurs: Sequence[float]) -> np.ndarray:
        """Returns the agreement of frames, [B, 2, N]: for each of B blurs, in pixels, with pictures
        with the lamp off, and on.

        The door is open or closed, whichever agrees better.

        Args:
            numbers: indices of the frames, [N].
            views: the view of each, [N, 3].
            blurs: deviations in pixels of the blur of the pictures, [B].
        """
        frames, door = self.frames[numbers], ROOMS[self.look.place].door
        far = np.maximum(views[:, 0] - door, door - views[:, 0] - views[:, 2])
        doors = (0.0, 1.0) if far.min() < 2.0 * DOOR_HALF else (0.0,)
        found = np.zeros((len(blurs), 2, len(numbers)))
        for lamp, door in itertools.product((0, 1), doors):
            pictures = paint(dataclasses.replace(self.look, lamp=lamp, door=door), views, SIZE)
            for one, blur in zip(found, blurs, strict=True):
                one[lamp] = np.maximum(one[lamp], agreement(frames, soft(pictures, blur)))
        return found

    def refined(self, base: Base, zoom: float) -> tuple[float, Base]:
        """Returns (largest agreement of the middle frame with views near `base`, their base), with
        the factor `zoom` on the width.
        """
        best = 0.0
        for step in FINER:
            wider = (-2, -1, 0, 1, 2) if base.frame == "two-shot" else (0,)
            near = [
                Base(base.frame, base.centre + i * step, _at_least(base, 1.5 * j * step))
                for i, j in itertools.product((-2, -1, 0, 1, 2), wider)
            ]
            views = np.concatenate([one.views(np.array([[0.0, zoom]])) for one in near])
            scores = self.of_middle(views)
            best, base = float(scores.max()), near[int(scores.argmax())]
        return best, base

    def moved(self, base: Base) -> tuple[float, str]:
        """Returns (mean agreement over LOOKS frames, camera move) of the move that agrees best."""
        numbers = np.unique(np.linspace(0, len(self.frames) - 1, LOOKS).round().astype(int))
        views = [base.views(displaced(move, self.parts[numbers])) for move in MOVES]
        every = np.tile(numbers, len(MOVES))
        scores = self.scores(every, np.concatenate(views), (SOFT,))[0].max(0)
        means = scores.reshape(len(MOVES), -1).mean(-1)
        return max(zip(means.tolist(), MOVES, strict=True))

    def sharpness(self, views: np.ndarray) -> float:
        """Returns the one of BLURS, in pixels, with which pictures from views [F, 3] agree best
        with the frames.
        """
        numbers = np.array([0, self.middle])
        scores = self.scores(numbers, views[numbers], BLURS)
        return BLURS[int(scores.max(1).sum(-1).argmax())]

    def spread(self, base: Base, move: str) -> float:
        """Returns the largest distance in metres from the centre of `base`, up to SPREAD, of one
        that agrees about as well (SURE).
        """
        at = displaced(move, self.parts[[self.middle]])
        far = np.arange(-SPREAD, SPREAD + 0.01, 0.05)
        near = [dataclasses.replace(base, centre=base.centre + float(x)) for x in far]
        scores = self.of_middle(np.concatenate([one.views(at) for one in near]))
        best = scores[np.abs(far) < 0.03].max()
        return float(np.abs(far[scores >= best - SURE]).max())


def find_sight(frames: np.ndarray) -> Sight:
    """Returns the place that a shot shows and its view, from its frames, float32
    [F, SIZE, SIZE, 3] in [0, 1].
    """
    frames = soft(frames)
    near = []
    for look, base, zoom in _coarse(frames[len(frames) // 2]):
        shot = _Shot(frames, look)
        near.append((*shot.refined(base, zoom), shot))
    near = sorted(near, key=_first)[-LAST:]
    found = [(*shot.moved(base), base, shot) for _, base, shot in near]
    score, move, base, shot = max(found, key=_first)
    views = base.views(displaced(move, shot.parts))
    blur = shot.sharpness(views)
    lamp = shot.scores(np.arange(len(frames)), views, (blur,))[0].argmax(0)
    spread = shot.spread(base, move)
    return Sight(shot.look.place, shot.look.style, base, move, views, lamp, score, spread, blur)


def _at_least(base: Base, wider: float) -> float:
    """Returns the width of `base` plus `wider` metres; for a two-shot at least TWO."""
    return max(base.width + wider, TWO) if base.frame == "two-shot" else base.width + wider


def _first(found: tuple) -> float:
    return found[0]
