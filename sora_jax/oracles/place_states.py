"""Reads the door and the score board of a place (a room of a story) in every frame of a shot.

The empty place is painted with each possible value: openings of the door, numbers of lit lamps
(`place_pictures.py`). The value whose picture agrees best with the frame is read. Only pixels count
whose colour depends on the value. A value is unseen in a frame if the view shows too little of the
door (DOOR_SHOWN) or of the score board, or if no value agrees with a share EXPLAINED of the pixels
that count, because a character may hide them.
"""

import dataclasses

import numpy as np

from sora_jax.oracles.place_pictures import Look, exposure, paint
from sora_jax.oracles.shot_views import SIGMA, Sight, soft
from sora_jax.worlds.playhouse.places import (
    BOARD_HEIGHT,
    DOOR_HALF,
    DOOR_HEIGHT,
    ROOMS,
    SCORE,
)

UNSEEN = -1
OPENINGS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of a door, from closed to open
DEPENDS = 0.08  # difference of colours, in [0, 1], by which a pixel depends on the value
# least agreement of the best value, and by how much it must exceed that of another one
EXPLAINED, MARGIN = 0.15, 0.03
PART = 0.2  # least share of the pixels that depend on the value which no character hides
DOOR_SHOWN = 0.45  # least share of a door's area in the view
WIDER = 1.6  # times SIGMA: tolerance of colours, wider since the door and the lamps are small


@dataclasses.dataclass(frozen=True)
class States:
    """What a shot shows of its place's state, by frame.

    Attributes:
        door: int64 [F], 1 is open, 0 closed, or UNSEEN.
        score: int64 [F], number of lit lamps on the score board, or UNSEEN.
        pictures: float32 [F, S, S, 3], the empty place in this state, painted as sharp as the
            frames.
    """

    door: np.ndarray
    score: np.ndarray
    pictures: np.ndarray


def read_states(frames: np.ndarray, sight: Sight, hidden: np.ndarray | None = None) -> States:
    """Returns the state of the place of a shot in every frame.

    Args:
        frames: float32 [F, S, S, 3] in [0, 1], blurred by `shot_views.soft`.
        sight: place, style and view of the shot.
        hidden: mask of the columns in which a character may hide the door, bool [F, S]. Default:
            None, none are known.
    """
    size, count = frames.shape[1], len(frames)
    lamps = sight.lamp.astype(float)
    opening, score = np.zeros(count), np.zeros(count, int)
    door = np.full(count, UNSEEN)
    board = np.full(count, UNSEEN)
    open_ = exposure(size) > 0.0 if sight.style == "cinematic" else np.ones((size, size), bool)
    beside = open_ if hidden is None else open_ & ~hidden[:, None]
    door_shown, board_shown = _shown(sight)
    if (door_shown > 0.0).any():
        pictures = np.stack([_painted(sight, lamps, x, 0, size) for x in OPENINGS])
        best, known = _best(frames, pictures, beside, np.array(OPENINGS) >= 0.5)
        opening = np.array(OPENINGS)[best]
        door = np.where(known & (door_shown > DOOR_SHOWN), (opening >= 0.5).astype(int), UNSEEN)
    if board_shown.any():
        pictures = np.stack([_painted(sight, lamps, 0.0, x, size) for x in range(SCORE + 1)])
        best, known = _best(frames, pictures, open_, np.arange(SCORE + 1))
        score = best
        board = np.where(known & board_shown, best, UNSEEN)
    states = np.stack([lamps, opening, score], axis=-1)
    final = np.empty_like(frames)
    for state in np.unique(states, axis=0):
        at = (states == state).all(-1)
        lamp, opened, lit = map(float, state)
        look = Look(sight.place, sight.style, lamp, opened, int(lit))
        final[at] = soft(paint(look, sight.views[at], size), sight.blur)
    return States(door, board, final)


def _painted(sight: Sight, lamps: np.ndarray, door: float, score: int, size: int) -> np.ndarray:
    """Returns pictures of the empty place of a shot, [F, size, size, 3].

    Args:
        sight: place, style and view of the shot.
        lamps: 1.0 where the lamp is on, 0.0 where it is off, [F].
        door: opening of the door, from 0 to 1.
        score: number of lit lamps on the score board.
        size: side of the pictures in pixels.
    """
    pictures = np.empty((len(lamps), size, size, 3), np.float32)
    for lamp in np.unique(lamps):
        look = Look(sight.place, sight.style, float(lamp), door, score)
        pictures[lamps == lamp] = soft(paint(look, sight.views[lamps == lamp], size), sight.blur)
    return pictures


def _best(
    frames: np.ndarray, pictures: np.ndarray, open_: np.ndarray, meaning: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (index of the value whose picture agrees best with each frame [F], mask of the frames
    in which it agrees well enough, bool [F]).

    Args:
        frames: [F, S, S, 3].
        pictures: painted with each of V values, [V, F, S, S, 3].
        open_: mask of the pixels that may count, bool; broadcasts to [F, S, S].
        meaning: what is read for each value, [V]. The best value must exceed those with another
            meaning by MARGIN.
    """
    apart = np.abs(pictures - pictures[:1]).max((0, -1)) > DEPENDS
    whole = apart.sum((-1, -2))
    apart &= open_
    pixels = apart.sum((-1, -2))
    far = np.square(frames - pictures).sum(-1)
    like = np.exp(far * (-0.5 / (WIDER * SIGMA) ** 2))
    agree = (like * apart).sum((-1, -2)) / np.maximum(pixels, 1)  # [V, F]
    best = agree.argmax(0)
    other = np.where(meaning[:, None] != meaning[best], agree, 0.0).max(0)
    top = agree.max(0)
    return best, (top > EXPLAINED) & (top - other > MARGIN) & (pixels > PART * whole)


def _shown(sight: Sight) -> tuple[np.ndarray, np.ndarray]:
    """Returns (share of the door's area that the view of each frame shows [F], mask of the frames
    that show the whole score board, bool [F]).
    """
    room, (left, top, width) = ROOMS[sight.place], sight.views.T
    hidden = 0.1 * width if sight.style == "cinematic" else np.zeros_like(width)
    right, bottom = left + width, top - width
    across = np.minimum(right, room.door + DOOR_HALF) - np.maximum(left, room.door - DOOR_HALF)
    up = np.minimum(top - hidden, DOOR_HEIGHT) - np.maximum(bottom + hidden, 0.0)
    area = np.maximum(across, 0.0) * np.maximum(up, 0.0) / (2.0 * DOOR_HALF * DOOR_HEIGHT)
    middle = room.lamp + (1.15 if room.lamp <= 2.0 else -1.15)
    board = (left < middle - 0.7) & (right > middle + 0.7) & (top - hidden > BOARD_HEIGHT + 0.12)
    return area, board
