"""Finds the characters in a shot of a story, where they stand, and whether they wear a hat.

1. Foreground. With p a pixel, q that of the picture of the empty place (`place_pictures.py`),
   d = |p - q|, and M the largest d within NEARBY pixels, something that hides the place covers of
   the pixel

       f = min(1, d / (FULL M)) (1 - exp(-M^2 / (2 DIFFERENT^2)))                                (1)

   but at least 1 - exp(-d'^2 / (2 DIFFERENT^2)), with d' the smallest d of it and its neighbours. f
   is resampled to a grid of CELL metres, in which a character has the same size in every view.
2. Silhouettes. A body is an outline m on the grid, 1 inside. There is one for every combination of
   heads, hair, ears and heights of characters, each without and with a hat. With v = 1 where the
   view shows the grid, a character at x with the body m has the evidence

       E(x, m) = sum over cells of  v (2 m - 1) (2 f - 1)                                        (2)

   within REACH metres of x and above the chest (BELT). Characters are the largest maxima over x of
   the mean of f in the part that all outlines share, if it exceeds PLAIN, at least APART metres
   from one another.
3. E is averaged over LASTS frames. A hat raises the largest E over the bodies. It is on if the
   relative gain exceeds HAT plus VARIETY times how much the colours above the crown differ, because
   a hat has one colour, and long ears leave a gap. Within a shot it changes once at most. It is
   unknown near the threshold (UNSURE), and for a character without a visible hat before a dark
   place (DIM).

Limits: characters stand on the floor, upright, and not behind one another.
"""

import dataclasses
import functools
import itertools

import numpy as np
from scipy import ndimage

from sora_jax.oracles.shot_views import SOFT, Sight
from sora_jax.worlds.playhouse.camera import BARS
from sora_jax.worlds.playhouse.cast import EARS, HAIRS, HEADS, HEIGHTS, Character
from sora_jax.worlds.playhouse.families.story import HATS
from sora_jax.worlds.playhouse.render.looks import BRIMS, TOPS, look

CELL = 0.04  # metres
ACROSS, UP = (-0.8, 4.8), (-0.24, 2.44)  # metres: range of the grid in x and in y
# distances of colours in (1), RGB in [0, 1]: with the lamp on, and with the lamp off
DIFFERENT, DARK = 0.10, 0.045
REACH, BELT = 0.64, 1.05  # metres: to the sides; height from which outlines are compared
NEARBY, FULL = 5, 0.75  # pixels; share of M from which a pixel is covered wholly
# By how much outlines are enlarged: pixels for all frames, pixels more in the style anime, pixels
# for each pixel of blur; and metres to which the sum is rounded.
GROWN, INKED, SMEARED, STEP = 0.2, 0.45, 0.25, 0.012
# The foreground within EDGE cells of the sides of an outline's window counts against a character,
# with weight RIM.
RIM, EDGE = 0.25, 3
APART, PLAIN = 0.85, 0.50  # metres; least mean of f in the shared part of the outlines
CENTRED = 0.2  # metres: largest distance of the subject of a close-up from the middle of its view
LASTS, CHANGE = 3, 0.06  # frames; cost of a change of hats in a shot
HAT, UNSURE = 0.01, 0.02  # least gain of E by a hat; distance from the threshold that is unknown
VARIETY = (0.15, 0.1)  # weight, and usual value, of the variety of colours above a crown
DIM = 0.13  # brightness of a place before which a dark hat is not seen
ABOVE = (0.05, 0.25)  # metres above the crown: the part of a hat whose colours are compared
SHOWN, WHOLE = 0.35, 0.8  # least share of the shared outline in a close-up, and in other views
STRIDE, NUDGE = 0.5, 3  # metres moved between two frames; cells by which a body may be shifted
COLUMNS = np.arange(ACROSS[0], ACROSS[1], CELL)  # x of the columns of the grid, metres
ROWS = np.arange(UP[1], UP[0], -CELL)  # y of the rows, metres, from the top
BESIDE = CELL * np.arange(-round(REACH / CELL), round(REACH / CELL) + 1)  # x within a window


@dataclasses.dataclass(frozen=True)
class Person:
    """A character in one frame.

    Attributes:
        x: where it stands, in metres from the left wall.
        hat: True if it wears a hat; None if that cannot be told.
    """

    x: float
    hat: bool | None


def foreground(frames: np.ndarray, pictures: np.ndarray, dark: np.ndarray) -> np.ndarray:
    """Returns how much of each pixel something hides the place, f of (1), [F, S, S].

    Args:
        frames: [F, S, S, 3] in [0, 1].
        pictures: of the empty place, [F, S, S, 3] in [0, 1].
        dark: mask of the frames in which the lamp is off, bool [F].
    """
    far = np.square(frames - pictures).sum(-1)
    least = np.where(dark, DARK, DIFFERENT)[:, None, None]
    apart = np.sqrt(far)
    most = ndimage.maximum_filter(apart, (1, NEARBY, NEARBY))
    covered = np.clip(apart / np.maximum(FULL * most, 1e-6), 0.0, 1.0)
    covered *= 1.0 - np.exp(-0.5 * np.square(most / least))
    inner = 1.0 - np.exp(-0.5 * np.square(ndimage.minimum_filter(apart, (1, 3, 3)) / least))
    return np.maximum(covered, inner)


def on_grid(images: np.ndarray, views: np.ndarray, bars: float = 0.0) -> np.ndarray:
    """Returns images resampled to the grid of CELL metres, [F, rows, columns]; NaN where a view
    does not show the grid.

    Args:
        images: [F, S, S].
        views: (left, top, width) in metres of each image, [F, 3].
        bars: share of the height that black bars hide at the top and at the bottom each. Default 0.
    """
    size, pixel = images.shape[1], np.arange(images.shape[1])
    left, top, width = views[:, :1], views[:, 1:2], views[:, 2:]
    column, row = (COLUMNS - left) * size / width - 0.5, (top - ROWS) * size / width - 0.5
    # linear between pixels: weights of the pixels in each row and column of the grid
    down, across = (
        np.maximum(1.0 - np.abs(np.clip(at, 0, size - 1)[..., None] - pixel), 0.0).astype(
            np.float32
        )
        for at in (row, column)
    )
    grids = down @ images @ across.swapaxes(1, 2)
    hidden = bars * size - 0.5
    unseen = (row < hidden) | (row > size - 1 - hidden)
    beside = (column < -0.5) | (column > size - 0.5)
    return np.where(unseen[:, :, None] | beside[:, None], np.nan, grids)


def _box(x: np.ndarray, y: np.ndarray, w: float, h: float, r: float = 0.0) -> np.ndarray:
    """Returns the signed distance in metres of points (x, y) to a box at the origin of half width w
    and half height h with corners of radius r; negative inside.
    """
    across, up = np.abs(x) - (w - r), np.abs(y) - (h - r)
    outside = np.hypot(np.maximum(across, 0.0), np.maximum(up, 0.0))
    return outside + np.minimum(np.maximum(across, up), 0.0) - r


def _ellipse(x: np.ndarray, y: np.ndarray, w: float, h: float) -> np.ndarray:
    return (np.hypot(x / w, y / h) - 1.0) * min(w, h)


def outline(character: Character, hat: bool, grow: float) -> np.ndarray:
    """Returns the outline of a character in the middle of a window of the grid, 1 inside,
    [rows, len(BESIDE)] in [0, 1].

    Args:
        character: the character.
        hat: True to add a hat that it has put on.
        grow: metres by which the outline is moved outwards.
    """
    parts = {name: np.asarray(value) for name, value in look(character).items()}
    a, b, n = parts["head"]
    height = float(parts["height"])
    x, ground = BESIDE[None], ROWS[:, None]
    y = ground - (height - b)
    power = (np.abs(x / a) + 1e-6) ** n + (np.abs(y / b) + 1e-6) ** n
    factor = power ** (1.0 / n)
    head = np.hypot(x, y) * (factor - 1.0) / factor
    top, brim = parts["top"], parts["brim"]
    if hat:
        top = np.add(TOPS["top hat"], (0.0, b, 0.0, 0.0, 0.0))
        brim = np.multiply(BRIMS["top hat"], (1.0, b, a, 1.0, a))
    weight, thick, line, _, _, spikes, locks, end, wide = parts["hair"]
    rim = thick + (y > 0.0) * 0.5 * spikes
    ground_up = 0.5 * (height - 2.0 * b + 0.04)
    layers = [
        (1.0, head),
        (weight, np.maximum(head - rim, line - 0.1 - y)),
        (parts["ears"][-1], _ear(x, y, parts["ears"])),
        (locks, _box(x, y - 0.5 * (0.15 - end), wide, 0.5 * (0.15 + end), 0.1)),
        (top[0], _box(x, y - top[1], *top[2:])),
        (brim[0], _box(x, y - brim[1], brim[2], brim[3])),
        (1.0, _box(x, ground - ground_up, 0.32, ground_up)),
    ]
    distance = functools.reduce(np.minimum, [part for weight, part in layers if weight])
    return np.clip(0.5 - (distance - grow) / CELL, 0.0, 1.0)


def _ear(x: np.ndarray, y: np.ndarray, ears: np.ndarray) -> np.ndarray:
    """Returns the signed distance in metres of points (x, y) to the ears; `ears` is an entry of
    looks.EARS.
    """
    ear_x, ear_y, w, h, tilt, pointed, _ = ears
    px, py = np.abs(x) - ear_x, y - ear_y
    across = px * np.cos(tilt) - py * np.sin(tilt)
    along = px * np.sin(tilt) + py * np.cos(tilt)
    if not pointed:
        return _ellipse(across, along, w, h)
    side = (np.abs(across) * 2.0 * h + (along - h) * w) / np.hypot(2.0 * h, w)
    return np.maximum(side, -(along + h))


@functools.cache
def _bodies(grow: float) -> np.ndarray:
    """Returns the outlines of the bodies without and with a hat, [N, 2, rows, len(BESIDE)], moved
    outwards by `grow` metres.
    """
    plain = Character(
        *("round", "peach", "medium", "usual", "brown", "flat", "none", "bald", "black"),
        *(False, "brick", "middling", None),
    )
    hairs = [hair for hair in HAIRS if hair not in HATS]
    bodies = []
    for head, ears, hair, height in itertools.product(HEADS, EARS, hairs, HEIGHTS):
        one = dataclasses.replace(plain, head=head, ears=ears, hair=hair, height=height)
        bodies.append([outline(one, False, grow), outline(one, True, grow)])
    return np.array(bodies, np.float32)


def _plain() -> np.ndarray:
    return _bodies(0.0)[:, 0].min(0)


def places_of(grid: np.ndarray, close: float | None = None) -> list[int]:
    """Returns where characters stand in one frame, as columns of the grid from left to right.

    Args:
        grid: foreground f of (1) on the grid, [rows, columns], NaN where the view does not show it.
        close: for a close-up, x of the middle of its view in metres, near which its only character
            stands. Default: None, another view.
    """
    mask, known = _plain(), np.nan_to_num(grid)
    sums, areas = (
        np.einsum("rcw,rw->c", _windows(part), mask)
        for part in (known, np.isfinite(grid).astype(np.float32))
    )
    least = SHOWN if close is not None else WHOLE
    mean = np.where(areas > least * mask.sum(), sums / np.maximum(areas, 1e-6), 0.0)
    beside = _windows(known)[(ROWS > 0.8) & (ROWS < 1.7)].mean(0)
    rim = 0.5 * (beside[:, :EDGE].mean(1) + beside[:, -EDGE:].mean(1))
    score = ndimage.gaussian_filter1d(mean - RIM * rim, 1.5)
    if close is not None:
        score = np.where(np.abs(COLUMNS - close) < CENTRED, score, 0.0)
    highest = (score == ndimage.maximum_filter1d(score, 5)) & (score > PLAIN)
    found: list[int] = []
    for column in np.flatnonzero(highest)[np.argsort(-score[highest])]:
        if all(abs(column - other) * CELL >= APART for other in found):
            found.append(int(column))
    return sorted(found)


def _windows(grid: np.ndarray) -> np.ndarray:
    """Returns the window of cells within REACH metres of each column of a grid [rows, columns], as
    [rows, columns, len(BESIDE)]; 0 beyond the grid.
    """
    padded = np.pad(grid, ((0, 0), (len(BESIDE) // 2,) * 2))
    return np.lib.stride_tricks.sliding_window_view(padded, len(BESIDE), axis=1)


def find_people(frames: np.ndarray, pictures: np.ndarray, sight: Sight) -> list[list[Person]]:
    """Returns the characters in every frame of a shot, from left to right.

    Args:
        frames: [F, S, S, 3] in [0, 1], blurred by `shot_views.soft`.
        pictures: of the place without characters, [F, S, S, 3].
        sight: place, style and view of the shot.
    """
    style, views = sight.style, sight.views
    bars = BARS if style == "cinematic" else 0.0
    grids = on_grid(foreground(frames, pictures, sight.lamp == 0), views, bars)
    # what a view does not show counts as bright
    backs = np.nan_to_num(on_grid(pictures.mean(-1), views, bars), nan=1.0)
    close = sight.base.centre if sight.base.frame == "close-up" else None
    colours = np.stack([on_grid(frames[..., i], views, bars) for i in range(3)], axis=-1)
    columns = [places_of(grid, close) for grid in grids]
    grown = GROWN + (INKED if style == "anime" else 0.0) + SMEARED * (sight.blur - SOFT)
    grow = round(grown * float(np.median(views[:, 2])) / frames.shape[1] / STEP) * STEP
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
        for number, person in _dressed(_apart(grids, columns, track), colours, backs, track, grow):
            people[number].append(person)
    return [sorted(one, key=_x) for one in people]


def _x(person: Person) -> float:
    return person.x


def _dressed(
    grids: np.ndarray,
    colour_grids: np.ndarray,
    backs: np.ndarray,
    track: list[tuple[int, int]],
    grow: float,
) -> list[tuple[int, Person]]:
    """Returns (frame, person) for each frame of a track: where the character stands, and whether it
    wears a hat, by (2).

    Args:
        grids: foreground f on the grid without other characters, [F, rows, columns].
        colour_grids: the frames on the grid, [F, rows, columns, 3].
        backs: brightness of the empty place on the grid, [F, rows, columns].
        track: (frame, column of the grid) of the character.
        grow: metres by which outlines are enlarged.
    """
    above = ROWS > BELT
    signs = 2.0 * _bodies(grow)[:, :, above] - 1.0  # [N, 2, rows, len(BESIDE)]
    shifts = np.arange(-NUDGE, NUDGE + 1)
    found = []
    for number, column in track:
        grid = np.nan_to_num(2.0 * grids[number][above] - 1.0)  # 0 where it is not shown
        near = np.clip(column + shifts, 0, len(COLUMNS) - 1)
        windows = _windows(grid)[:, near].swapaxes(0, 1)  # [shifts, rows, len(BESIDE)]
        found.append(windows.reshape(len(shifts), -1) @ signs.reshape(-1, windows[0].size).T)
    evidence = np.stack(found).reshape(len(track), len(shifts), -1, 2)
    of_body = ndimage.uniform_filter1d(evidence.max(1), LASTS, axis=0, mode="nearest")
    best, most = of_body.argmax(1), of_body.max(1)  # [frames, 2]: without and with a hat
    moved = [
        [column + int(shifts[evidence[i, :, best[i, hat], hat].argmax()]) for hat in (0, 1)]
        for i, (_, column) in enumerate(track)
    ]
    heights = np.array(list(HEIGHTS.values()))[best[:, 1] % len(HEIGHTS)]
    variety = [
        _variety(colour_grids[number], columns[1], height)
        for (number, _), columns, height in zip(track, moved, heights, strict=True)
    ]
    gain = (most[:, 1] - most[:, 0]) / np.maximum(most[:, 0], 1.0)
    values = gain - VARIETY[0] * (np.array(variety) - VARIETY[1]) - HAT
    hats = _one_change(values)
    sure = np.abs(ndimage.uniform_filter1d(values, LASTS, mode="nearest")) > UNSURE
    # a dark hat cannot be told from a dark place
    behind = [
        np.quantile(backs[number][_over(height), max(columns[1] - 7, 0) : columns[1] + 8], 0.3)
        for (number, _), columns, height in zip(track, moved, heights, strict=True)
    ]
    sure &= (hats == 1) | ~(np.array(behind) < DIM)
    return [
        (number, Person(float(ACROSS[0] + CELL * columns[hat]), bool(hat) if known else None))
        for (number, _), columns, hat, known in zip(track, moved, hats, sure, strict=True)
    ]


def _apart(grids: np.ndarray, columns: list[list[int]], track: list[tuple[int, int]]) -> np.ndarray:
    """Returns grids [F, rows, columns] with NaN where another character is nearer than that of a
    track.

    Args:
        grids: foreground f on the grid.
        columns: the columns in which characters stand, for each frame.
        track: (frame, column) of the character.
    """
    own = grids.copy()
    for number, column in track:
        for other in columns[number]:
            middle = (column + other) // 2
            if other < column:
                own[number, :, :middle] = np.nan
            elif other > column:
                own[number, :, middle + 1 :] = np.nan
    return own


def _one_change(values: np.ndarray) -> np.ndarray:
    """Returns 0 or 1 for each frame, [F], with at most one change, so that the sum of the `values`
    [F] at 1 less that of those at 0 is largest; a change costs CHANGE.
    """
    before = np.concatenate([[0.0], np.cumsum(values)])
    gains = 2.0 * before - before[-1]  # of 1 before each frame, and 0 from it on
    falls, rises = int(gains.argmax()), int(gains.argmin())
    number, constant = np.arange(len(values)), abs(before[-1])
    if max(gains[falls], -gains[rises]) <= constant + CHANGE:
        return np.full(len(values), int(before[-1] > 0.0))
    if gains[falls] > -gains[rises]:
        return (number < falls).astype(int)
    return (number >= rises).astype(int)


def _over(height: float) -> np.ndarray:
    """Returns a mask of the rows of the grid in which a character with the crown at `height` metres
    has its hat (ABOVE), bool [rows].
    """
    return (height + ABOVE[0] < ROWS) & (height + ABOVE[1] > ROWS)


def _variety(grid: np.ndarray, column: int, height: float) -> float:
    """Returns how much the colours above the crown of a character differ, over their brightness; it
    is small for a hat, which has one colour. VARIETY[1] if the view does not show them.

    Args:
        grid: a frame on the grid, [rows, columns, 3].
        column: of the grid, where the character stands.
        height: of its crown in metres.
    """
    rows = (height + ABOVE[0] < ROWS) & (height + ABOVE[1] > ROWS)
    colours = grid[rows, max(column - 4, 0) : column + 5].reshape(-1, 3)
    colours = colours[np.isfinite(colours).all(-1)]
    if len(colours) < 6:
        return VARIETY[1]
    middle = np.median(colours, axis=0)
    return float(np.linalg.norm(colours - middle, axis=-1).mean() / (0.15 + middle.mean()))
