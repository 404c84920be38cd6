"""Follows one ball behind nets, rims and panels: where its disc is, from what of it is to be seen.

With the share alpha of the ball's colour in each pixel (`tracker.py`), the share phi that something
in front hides, and the disc D(c, r) of the ball's radius at c, painted with a ramp of one pixel,
the centre in every frame is

    argmin over c of  sum over pixels (alpha - (1 - phi) D(c, r))^2                              (1)

by Gauss-Newton from the middle of what is seen; so a ball half behind something is where it is, not
where its visible half is. Inside a ball alpha is 1 - phi whatever a highlight says. r^2 pi is the
median of the WHOLEST largest areas that it shows. A frame gives a place only if VISIBLE of the disc
is not hidden and SEEN of that is of its colour.

Units: metres. Limits: pictures of 64 pixels or more; one ball is followed, the one of whose colour
there is most; what there is of other colours or elsewhere is said.
"""

import dataclasses

import numpy as np
from scipy import ndimage

from sora_jax.oracles.tracker import NAMES, PLANE, backdrop, filled, inside, unmix, vivid
from sora_jax.worlds.playhouse.spec import from_pixels, pixels_per_metre

SEEN, VISIBLE = 0.35, 0.4
# the radius is that of so many frames that show most; a disc that is less hidden is whole
WHOLEST, WHOLE = 4, 0.97
SMALL = 0.15  # metres: radius of the least ball that is another one
LEAST = 5.0  # pixels: a smaller blob is noise
NEAR = 3.0  # pixels around the disc in which what has the ball's colour is the ball
STEPS, STIFF = 8, 0.1  # Gauss-Newton steps; what is added to their normal equations


@dataclasses.dataclass(frozen=True)
class Disc:
    """A ball of a colour over F frames: position [F, 2] and radius in metres, NaN where it gives
    none; area bool [F, H, W]: its pixels.

    size [F]: the radius read in each frame in which nothing hides it, else NaN. visible [F]: the
    share of the disc that nothing hides, before [F]: how much of its colour is where it should be
    hidden, both in areas of the disc. twice, others: bool [F]: is there more of its colour
    elsewhere, or of any other one, than a ball of SMALL radius shows?
    """

    colour: str
    position: np.ndarray
    radius: float
    area: np.ndarray
    size: np.ndarray
    visible: np.ndarray
    before: np.ndarray
    twice: np.ndarray
    others: np.ndarray

    @property
    def found(self) -> np.ndarray:
        return np.isfinite(self.position[:, 0])


def still_picture(frames: np.ndarray) -> np.ndarray:
    """The picture [H, W, 3] behind the balls of frames [F, H, W, 3] of a still camera."""
    return backdrop(frames, ndimage.maximum_filter(vivid(frames), size=(1, 5, 5)))


def follow(frames: np.ndarray, still: np.ndarray, front: np.ndarray, extent: float) -> Disc | None:
    """The ball in frames [F, H, W, 3] before a still picture; None where there is none. front: phi,
    [H, W] or [F, H, W]; extent: metres.
    """
    count, size = frames.shape[:2]
    colour = vivid(frames)
    label, alpha = unmix(frames, still, ndimage.maximum_filter(colour, size=(1, 9, 9)))
    label[~ndimage.maximum_filter(colour, size=(1, 3, 3))] = -1
    blobs, share, mass = _blobs(label, alpha)
    k = int(np.argmax([share[blobs == k].sum() for k in range(len(NAMES))]))
    alpha = np.where(blobs == k, share, 0.0)
    clear = np.broadcast_to(1.0 - front, alpha.shape)
    # a highlight is of the ball
    alpha = np.where([inside(filled(a > 0.5)) for a in alpha], np.maximum(alpha, clear), alpha)
    whole = np.sort([_largest(a, 1.0).sum() for a in alpha])[-WHOLEST:]
    radius = float(np.sqrt(np.median(whole) / np.pi))
    if radius < 1.0:
        return None
    scale, disc_area = pixels_per_metre(extent, size), np.pi * radius**2
    small = np.pi * (SMALL * scale) ** 2
    place, own, area = (
        np.full((count, 2), np.nan),
        np.full(count, np.nan),
        np.zeros(alpha.shape, bool),
    )
    visible, twice = np.zeros(count), np.zeros(count, bool)
    before = (alpha * (1.0 - clear)).sum((1, 2)) / disc_area
    row, column = np.mgrid[0:size, 0:size]
    for f in np.flatnonzero(alpha.sum((1, 2)) > 0.1 * disc_area):
        c = _centre(alpha[f], clear[f], radius)
        distance = np.hypot(column - c[0], row - c[1])
        disc = np.clip(radius - distance + 0.5, 0.0, 1.0)
        clear_area = np.sum(clear[f] * disc)
        visible[f] = clear_area / disc_area
        twice[f] = np.sum(alpha[f][distance > radius + NEAR]) > small
        if clear_area > VISIBLE * disc_area and np.sum(alpha[f] * disc) > SEEN * clear_area:
            place[f], area[f] = c, distance < radius + 1.0
            if visible[f] > WHOLE:
                own[f] = np.sqrt(np.sum(alpha[f][distance < radius + NEAR]) / np.pi) / scale
    others = (mass * ((blobs >= 0) & (blobs != k))).max((1, 2)) > small
    return Disc(
        NAMES[k],
        from_pixels(place, extent, size),
        radius / scale,
        area,
        own,
        visible,
        before,
        twice,
        others,
    )


def _blobs(label: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which colour the most of a coloured blob has (-1: none), the share of its pixels' own
    colours, and their sum over it, all [F, H, W].

    The dark side of a ball, and its rim in a video that stores colour coarsely, may look like
    another colour. A single pixel is noise.
    """
    share = np.where(
        label >= 0,
        np.take_along_axis(alpha, np.maximum(label, 0)[..., None].astype(int), axis=-1)[..., 0],
        0.0,
    )
    spot = (share > 0.3) & (
        ndimage.uniform_filter((label >= 0).astype(np.float32), (0, 3, 3), mode="constant") > 0.4
    )
    parts, n = ndimage.label(spot, PLANE)
    votes = np.stack(
        [
            ndimage.sum(np.where(label == k, share, 0.0), parts, np.arange(n + 1))
            for k in range(alpha.shape[-1])
        ]
    )
    mass = np.where(np.arange(n + 1) > 0, votes.sum(0), 0.0)
    of_part = np.where(mass > LEAST, np.argmax(votes, axis=0), -1)
    grown = ndimage.grey_dilation(parts, footprint=PLANE)  # the faint rim of a blob is its own
    return np.where(share > 0.0, of_part[grown], -1), share, mass[grown]


def _largest(alpha: np.ndarray, reach: float) -> np.ndarray:
    """alpha [H, W] of the largest piece, and of what is within `reach` pixels of it, for a rim or a
    net parts a ball.
    """
    parts, n = ndimage.label(ndimage.binary_dilation(alpha > 0.3))
    if n < 2:
        return alpha
    largest = 1 + np.argmax(ndimage.sum(alpha, parts, np.arange(1, n + 1)))
    return np.where(ndimage.distance_transform_edt(parts != largest) < reach, alpha, 0.0)


def _centre(alpha: np.ndarray, clear: np.ndarray, radius: float) -> np.ndarray:
    """(column, row) of equation (1); clear is 1 - phi."""
    row, column = np.mgrid[0 : alpha.shape[0], 0 : alpha.shape[1]]
    alpha = _largest(alpha, radius)
    c = np.array([np.sum(alpha * column), np.sum(alpha * row)]) / max(alpha.sum(), 1e-6)
    for _ in range(STEPS):
        dx, dy = column - c[0], row - c[1]
        distance = np.hypot(dx, dy) + 1e-6
        rim = (np.abs(radius - distance) < 0.5) * clear
        jacobian = np.stack([rim * dx / distance, rim * dy / distance], axis=-1).reshape(-1, 2)
        residual = (alpha - clear * np.clip(radius - distance + 0.5, 0.0, 1.0)).ravel()
        c = c + np.clip(
            np.linalg.solve(jacobian.T @ jacobian + STIFF * np.eye(2), jacobian.T @ residual),
            -1.0,
            1.0,
        )
    return c
