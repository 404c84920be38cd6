"""Finds the ball of a story (a clip with cuts) in every frame of a shot, and its colour.

1. The light of the place and the grading (change of colours) of the style are removed from the
   frames. Let u be a pixel's colour in RGB less GLOSS times its smallest channel, and c a colour of
   the palette, treated alike. The pixel belongs to that colour to the degree

       m = exp(-angle(u, c)^2 / (2 HUE^2)),   0 for a pixel that is too dark or too bright       (1)

   so shades of one colour are one colour.
2. m is resampled to a grid in metres (`people.on_grid`). The score of a place is the mean of m over
   a disc of the ball's size, less that over the ring around it. The ball is where the score is
   largest and at least LEAST. Clothes and hair of a similar colour fill the ring too, so they score
   low; scores in front of a character are also multiplied by CLOTHED.

The colour of the ball is that with the largest sum of scores over the frames of the shot.
"""

import dataclasses

import numpy as np
from scipy import signal

from sora_jax.oracles.people import CELL, COLUMNS, ROWS, Person, on_grid
from sora_jax.oracles.place_pictures import BRIGHT, exposure
from sora_jax.oracles.shot_views import SOFT, Sight
from sora_jax.worlds.playhouse.camera import BARS
from sora_jax.worlds.playhouse.render.story_program import NIGHT
from sora_jax.worlds.playhouse.spec import COLOURS

# Radians, and share of the smallest channel (which gloss and light from the floor raise), in lit
# styles (realistic, cinematic) and in drawn ones (flat, anime).
HUE, GLOSS = {"lit": 0.16, "drawn": 0.11}, {"lit": 0.7, "drawn": 0.0}
SHADES = (0.22, 1.6)  # range of a pixel's brightness, over that of the plain colour
DISC, RING = 0.13, (0.23, 0.30)  # metres: radius; inner and outer radius
# least score by frame size: mouths and eyes are large in a close-up
LEAST = {"wide": 0.28, "two-shot": 0.36, "close-up": 0.5}
# Scores are multiplied by CLOTHED up to BODY metres to the side of a character and, above the
# height HEAD[1], up to HEAD[0]: hair, clothes and mouths.
BODY, HEAD, CLOTHED = 0.32, (0.58, 0.85), 0.6
DULL = 0.4  # share by which a pixel of blur lowers the scores of small balls
# least number of frames in which a ball is seen, and least median score there
FEW, USUAL = (
    3,
    {"lit": 0.42, "drawn": 0.30},
)
NAMES = tuple(COLOURS)
_PALETTE = np.array([COLOURS[name] for name in NAMES], np.float32)


@dataclasses.dataclass(frozen=True)
class StoryBall:
    """The ball in a shot of F frames.

    Attributes:
        colour: a name in COLOURS; None if no ball is seen.
        position: centre (x, y) in metres, from the left wall and the floor, float64 [F, 2]; NaN in
            frames in which it is not seen.
    """

    colour: str | None
    position: np.ndarray


def plain_colours(frames: np.ndarray, sight: Sight) -> np.ndarray:
    """Returns frames [F, S, S, 3] without the light of the place and the grading of the style, so
    that balls have the colours of the palette. `sight` is the view of the shot.
    """
    if sight.style == "cinematic":
        frames = frames / np.maximum(exposure(frames.shape[1]), 0.2)[..., None]
        frames = np.clip((frames - 0.5) / 1.06 + 0.52, 0.0, None)
        bright = (frames @ BRIGHT)[..., None]
        cold, warm = np.array([-0.10, 0.0, 0.07]), np.array([0.05, 0.01, -0.09])
        frames = frames / (1.0 + (1.0 - bright) * cold + bright * warm)
    light = np.where((sight.lamp == 0)[:, None], NIGHT, 1.0)
    return frames / light[:, None, None]


def _membership(frames: np.ndarray, look: str) -> np.ndarray:
    """Returns to what degree the pixels of frames [F, S, S, 3] belong to each colour of the
    palette: m of (1), [colours, F, S, S]. look: "lit" or "drawn", the kind of style.
    """
    size = np.linalg.norm(frames, axis=-1)
    plain = np.linalg.norm(_PALETTE, axis=-1)
    vivid = frames - GLOSS[look] * frames.min(-1, keepdims=True)
    ideal = _PALETTE - GLOSS[look] * _PALETTE.min(-1, keepdims=True)
    ideal /= np.linalg.norm(ideal, axis=-1, keepdims=True)
    cosine = np.einsum("fhwc,kc->kfhw", vivid, ideal)
    cosine = cosine / np.maximum(np.linalg.norm(vivid, axis=-1), 1e-6)
    far = np.square(np.arccos(np.clip(cosine, -1.0, 1.0)))
    member = np.exp(-0.5 * far / HUE[look] ** 2)
    shade = size / plain[:, None, None, None]
    return member * ((shade > SHADES[0]) & (shade < SHADES[1]))


def _kernel() -> np.ndarray:
    """Returns weights [K, K] over cells of the grid that give the mean over the disc less that over
    the ring.
    """
    reach = int(RING[1] / CELL) + 1
    away = CELL * np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1])
    disc, ring = away <= DISC, (away >= RING[0]) & (away <= RING[1])
    return disc / disc.sum() - ring / ring.sum()


def find_ball(frames: np.ndarray, sight: Sight, people: list[list[Person]]) -> StoryBall:
    """Returns the ball of a shot: its colour, and its position in every frame.

    Args:
        frames: float32 [F, S, S, 3] in [0, 1], blurred by `shot_views.soft`.
        sight: place, style and view of the shot.
        people: the characters in each frame.
    """
    look = "lit" if sight.style in ("realistic", "cinematic") else "drawn"
    bars = BARS if sight.style == "cinematic" else 0.0
    members = _membership(plain_colours(frames, sight), look)
    grids = np.stack([on_grid(member, sight.views, bars) for member in members])
    scores = signal.fftconvolve(
        np.nan_to_num(grids), _kernel()[None, None], mode="same", axes=(2, 3)
    )
    for number, present in enumerate(people):
        for person in present:
            wide = np.where(HEAD[1] < ROWS, HEAD[0], BODY)
            scores[:, number, np.abs(COLUMNS - person.x) < wide[:, None]] *= CLOTHED
    flat = scores.reshape(*scores.shape[:2], -1)
    small = sight.base.frame != "close-up"
    clear = 1.0 - DULL * (sight.blur - SOFT) * small
    best, least = flat.max(-1), clear * LEAST[sight.base.frame]  # [colours, F]
    colour = int(np.where(best > least, best, 0.0).sum(1).argmax())
    seen = best[colour] > least
    if seen.sum() < FEW or np.median(best[colour, seen]) < clear * USUAL[look]:
        seen[:] = False
    row, column = np.unravel_index(flat[colour].argmax(-1), scores.shape[2:])
    position = np.stack([COLUMNS[column], ROWS[row]], axis=-1)
    position[~seen] = np.nan
    return StoryBall(NAMES[colour] if seen.any() else None, position)
