"""Finds the characters in a shot of a story, where they stand, and whether they wear a hat.

1. Foreground. A pixel p belongs to something that hides the place, whose picture has the pixel q
   (`place_pictures.py`), to

       f = 1 - exp(-|p - q|^2 / (2 DIFFERENT^2))                                                 (1)

   f is resampled to a grid of CELL metres, in which a character has one size in every view.
2. Silhouettes. The bodies are the outlines m of heads, hair, ears and heights that the cast has, each
   without and with a hat. With v = 1 where the view shows the grid, a character at x with the
   body m has the evidence

       E(x, m) = sum over cells of  v (2 m - 1) (2 f - 1)                                        (2)

   within REACH metres of x and above the belt. Characters are the largest maxima over x of the
   mean of f in a plain outline (PLAIN), at least APART metres from one another.
3. One body holds for all frames of a shot, and the hat is on in a frame if it has more evidence.

Limits: characters stand on the floor, upright, and not behind one another.
"""

import dataclasses
import functools
import itertools

import numpy as np
from scipy import ndimage

from sora_jax.worlds.playhouse.cast import EARS, HAIRS, HEADS, HEIGHTS, Character
from sora_jax.worlds.playhouse.families.story import HATS
from sora_jax.worlds.playhouse.render.looks import BRIMS, TOPS, look

CELL = 0.04  # metres
ACROSS, UP = (-0.8, 4.8), (0.04, 2.44)  # metres of the grid in x and y
DIFFERENT, DARK = 0.10, 0.06  # of (1), a distance of colours; where the lamp is off
REACH, BELT = 0.66, 0.60  # metres
APART, PLAIN = 0.75, 0.62  # metres; mean of f in the plain outline
SHOWN = 0.35  # least share of the plain outline that a view shows
STRIDE, NUDGE = 0.5, 3  # metres between two frames; cells by which a body may be moved
COLUMNS = np.arange(ACROSS[0], ACROSS[1], CELL)
ROWS = np.arange(UP[1], UP[0], -CELL)
BESIDE = np.arange(-REACH, REACH + 0.5 * CELL, CELL)


@dataclasses.dataclass(frozen=True)
class Person:
    """A character in one frame.

    Attributes:
        x: where it stands, in metres.
        hat: whether it wears a hat.
    """

    x: float
    hat: bool


def foreground(frames: np.ndarray, pictures: np.ndarray, dark: np.ndarray) -> np.ndarray:
    """Returns f of (1), [F, S, S], for frames and pictures of the place, both [F, S, S, 3].

    dark: frames in which the lamp is off, bool [F].
    """
    far = np.square(frames - pictures).sum(-1)
    least = np.where(dark, DARK, DIFFERENT)[:, None, None]
    return 1.0 - np.exp(-0.5 * far / np.square(least))


def on_grid(images: np.ndarray, views: np.ndarray, bars: float = 0.0) -> np.ndarray:
    """Returns images [F, S, S] of views [F, 3] on the grid of metres, [F, rows, columns]; NaN where
    a view does not show it.

    bars: share of a frame that is hidden at its upper and at its lower side.
    """
    size, grids = images.shape[1], []
    for image, (left, top, width) in zip(images, views, strict=True):
        scale = size / width
        column, row = (COLUMNS - left) * scale - 0.5, (top - ROWS) * scale - 0.5
        grid = ndimage.map_coordinates(
            image, np.meshgrid(row, column, indexing="ij"), order=1, mode="nearest"
        )
        hidden = bars * size - 0.5
        grid[(row < hidden) | (row > size - 1 - hidden)] = np.nan
        grid[:, (column < -0.5) | (column > size - 0.5)] = np.nan
        grids.append(grid)
    return np.stack(grids)


def _inside(distance: np.ndarray) -> np.ndarray:
    """Returns the coverage of cells by a region, from the signed distance in metres."""
    return np.clip(0.5 - distance / CELL, 0.0, 1.0)


def _box(x: np.ndarray, y: np.ndarray, w: float, h: float) -> np.ndarray:
    return _inside(np.maximum(np.abs(x) - w, np.abs(y) - h))


def _ellipse(x: np.ndarray, y: np.ndarray, w: float, h: float) -> np.ndarray:
    far = np.hypot(x / w, y / h)
    return _inside((far - 1.0) * min(w, h))


def outline(character: Character, hat: bool) -> np.ndarray:
    """Returns the outline of a character on the grid, [rows, len(BESIDE)] in [0, 1]."""
    parts = {name: np.asarray(value) for name, value in look(character).items()}
    a, b, n = parts["head"]
    height = float(parts["height"])
    x, ground = BESIDE[None], ROWS[:, None]
    y = ground - (height - b)
    power = (np.abs(x / a) + 1e-6) ** n + (np.abs(y / b) + 1e-6) ** n
    factor = power ** (1.0 / n)
    head = np.hypot(x, y) * (factor - 1.0) / factor
    weight, thick, line, _, _, spikes, locks, end, wide = parts["hair"]
    ear_x, ear_y, w, h, tilt, _, present = parts["ears"]
    px, py = np.abs(x) - ear_x, y - ear_y
    ear = _ellipse(
        px * np.cos(tilt) - py * np.sin(tilt), px * np.sin(tilt) + py * np.cos(tilt), w, h
    )
    rim = thick + (y > 0.0) * 0.5 * spikes
    top, brim = parts["top"], parts["brim"]
    if hat:
        top = np.array(TOPS["top hat"]) + [0.0, b, 0.0, 0.0, 0.0]
        brim = np.array(BRIMS["top hat"]) * [1.0, b, a, 1.0, a]
    neck = height - 2.0 * b
    layers = [
        _inside(head),
        weight * _inside(np.maximum(head - rim, line - 0.1 - y)),
        present * ear,
        locks * _box(x, y - 0.5 * (0.15 - end), wide, 0.5 * (0.15 + end)),
        top[0] * _box(x, y - top[1], top[2], top[3]),
        brim[0] * _box(x, y - brim[1], brim[2], brim[3]),
        _box(x, ground - 0.5 * (neck + 0.04), 0.32, 0.5 * (neck + 0.04)),
    ]
    return functools.reduce(np.maximum, layers)


@functools.cache
def _bodies() -> np.ndarray:
    """Returns BODIES: outlines without and with a hat, [N, 2, rows, len(BESIDE)]."""
    plain = Character(
        *("round", "peach", "medium", "usual", "brown", "flat", "none", "bald", "black"),
        *(False, "brick", "middling", None),
    )
    hairs = [hair for hair in HAIRS if hair not in HATS]
    bodies = []
    for head, ears, hair, height in itertools.product(HEADS, EARS, hairs, HEIGHTS):
        one = dataclasses.replace(plain, head=head, ears=ears, hair=hair, height=height)
        bodies.append([outline(one, False), outline(one, True)])
    return np.array(bodies, np.float32)


def _plain() -> np.ndarray:
    return _bodies()[:, 0].min(0)


def places_of(grid: np.ndarray) -> list[int]:
    """Returns where characters stand in one frame, as columns of the grid from left to right.

    grid is f of (1) on the grid, [rows, columns], NaN where it is not shown.
    """
    mask = _plain()
    sums, areas = (
        np.einsum("rcw,rw->c", _windows(part), mask)
        for part in (np.nan_to_num(grid), np.isfinite(grid).astype(np.float32))
    )
    mean = np.where(areas > SHOWN * mask.sum(), sums / np.maximum(areas, 1e-6), 0.0)
    score = ndimage.gaussian_filter1d(mean, 1.5)
    found: list[int] = []
    for column in np.argsort(-score):
        if score[column] < PLAIN:
            break
        if all(abs(column - other) * CELL >= APART for other in found):
            found.append(int(column))
    return sorted(found)


def _windows(grid: np.ndarray) -> np.ndarray:
    """Returns the cells within REACH of each column, [rows, columns, len(BESIDE)]; 0 beyond the
    grid.
    """
    padded = np.pad(grid, ((0, 0), (len(BESIDE) // 2,) * 2))
    return np.lib.stride_tricks.sliding_window_view(padded, len(BESIDE), axis=1)


def find_people(
    frames: np.ndarray, pictures: np.ndarray, views: np.ndarray, bars: float, dark: np.ndarray
) -> list[list[Person]]:
    """Returns the characters in every frame of a shot, from left to right.

    Args:
        frames: [F, S, S, 3].
        pictures: of the place without characters, [F, S, S, 3].
        views: (left, top, width) in metres of each frame, [F, 3].
        bars: share of a frame that is hidden at its upper and at its lower side.
        dark: frames in which the lamp is off, bool [F].
    """
    grids = on_grid(foreground(frames, pictures, dark), views, bars)
    columns = [places_of(grid) for grid in grids]
    tracks: list[list[tuple[int, int]]] = []  # (frame, column)
    for number, found in enumerate(columns):
        for column in found:
            near = [
                track
                for track in tracks
                if track[-1][0] < number and abs(track[-1][1] - column) * CELL < STRIDE
            ]
            if near:
                min(near, key=lambda track: abs(track[-1][1] - column)).append((number, column))
            else:
                tracks.append([(number, column)])
    people: list[list[Person]] = [[] for _ in frames]
    for track in tracks:
        for number, person in _dressed(grids, track):
            people[number].append(person)
    return [sorted(one, key=_x) for one in people]


def _x(person: Person) -> float:
    return person.x


def _dressed(grids: np.ndarray, track: list[tuple[int, int]]) -> list[tuple[int, Person]]:
    """Returns (frame, person) of a track: its place, and whether it wears a hat, by (2)."""
    above = ROWS > BELT
    signs = 2.0 * _bodies()[:, :, above] - 1.0  # [N, 2, rows, len(BESIDE)]
    shifts = np.arange(-NUDGE, NUDGE + 1)
    found = []
    for number, column in track:
        grid = np.nan_to_num(2.0 * grids[number][above] - 1.0)
        near = np.clip(column + shifts, 0, len(COLUMNS) - 1)
        windows = _windows(grid)[:, near].swapaxes(0, 1)  # [shifts, rows, len(BESIDE)]
        found.append(windows.reshape(len(shifts), -1) @ signs.reshape(-1, windows[0].size).T)
    evidence = np.stack(found).reshape(len(track), len(shifts), -1, 2)
    best = evidence.max((1, 3)).sum(0).argmax()  # the body
    of_body = evidence[:, :, best]  # [frames, shifts, 2]
    people = []
    for (number, column), one in zip(track, of_body, strict=True):
        shift, hat = np.unravel_index(one.argmax(), one.shape)
        x = float(ACROSS[0] + CELL * (column + shifts[shift]))
        people.append((number, Person(x, bool(hat))))
    return people
