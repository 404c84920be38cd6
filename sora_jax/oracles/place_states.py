"""Reads the door and the score board of a place in every frame of a shot.

Each of several values is painted (`place_pictures.py`), and the one that agrees best with the
frame holds. Only pixels count whose colour depends on the value. A value is unseen in a frame if
the view shows less than a part of those pixels (SHOWN), or if no value explains EXPLAINED of
them, for a character may hide them.
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
OPENINGS = (0.0, 0.25, 0.5, 0.75, 1.0)
DEPENDS = 0.08  # difference of colours of two values
EXPLAINED, MARGIN = 0.15, 0.03  # of the agreement: of the best value, and above the next
PART = 0.2  # share of the pixels that no character hides, at least
DOOR_SHOWN = 0.45  # share of a door's area
WIDER = 1.6  # times SIGMA: the differences of small parts


@dataclasses.dataclass(frozen=True)
class States:
    """What a shot shows of its place's state, by frame.

    Attributes:
        door: 1 is open, 0 closed, UNSEEN: int64 [F].
        score: lit lamps of the score board, or UNSEEN: int64 [F].
        pictures: of the place in this state, float32 [F, S, S, 3], as sharp as the frames.
    """

    door: np.ndarray
    score: np.ndarray
    pictures: np.ndarray


def read_states(frames: np.ndarray, sight: Sight, hidden: np.ndarray | None = None) -> States:
    """Returns the state of the place of a shot.

    Args:
        frames: float32 [F, S, S, 3], blurred as by `soft`.
        sight: the view of the shot.
        hidden: columns in which a character may hide the door, bool [F, S]. Default: None, unknown.
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
    """Returns pictures of the place with a door and a score, [F, size, size, 3]."""
    pictures = np.empty((len(lamps), size, size, 3), np.float32)
    for lamp in np.unique(lamps):
        look = Look(sight.place, sight.style, float(lamp), door, score)
        pictures[lamps == lamp] = soft(paint(look, sight.views[lamps == lamp], size), sight.blur)
    return pictures


def _best(
    frames: np.ndarray, pictures: np.ndarray, open_: np.ndarray, meaning: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the number of the value that agrees best in each frame [F], and whether it does well
    enough, bool [F].

    Args:
        frames: [F, S, S, 3].
        pictures: of V values, [V, F, S, S, 3].
        open_: pixels that count, bool, which broadcasts to [F, S, S].
        meaning: what is read of each value, [V]; the best must exceed those of another meaning.
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
    """Returns the share of the door's area that each view shows, [F], and whether it shows the
    whole score board, bool [F].
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
