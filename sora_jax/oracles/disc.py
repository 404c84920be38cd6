"""Tracks one ball behind nets, rims and panels: its full disc is fitted to the visible part.

With the share alpha of the ball's colour in each pixel (`tracker.py`), the share phi of the pixel
that an object in front hides, and the picture D(c, r) of a disc with the ball's radius r at c,
whose edge is one pixel wide, the centre in every frame is

    argmin over c of  sum over pixels (alpha - (1 - phi) D(c, r))^2                              (1)

by Gauss-Newton from the centroid of the visible part. The centre of a half-hidden ball is
therefore that of its disc, not that of its visible half. Inside a ball alpha is set to 1 -
phi, also in a highlight. pi r^2 is the median of the WHOLEST largest visible areas. A frame
gives a position only if a share MIN_UNHIDDEN of the disc is not hidden and a share
MIN_COLOURED of that part has the ball's colour.

Results are in metres. Limits: frames of 64 pixels or more. One ball is tracked, the one with the
largest coloured area. Frames that show further balls, of its colour or of others, are flagged;
these balls are not tracked.
"""

import dataclasses

import numpy as np
from scipy import ndimage

from sora_jax.oracles.tracker import (
    PLANE,
    backdrop,
    box_mean,
    components,
    filled,
    inside,
    unmix,
    vivid,
)
from sora_jax.worlds.playhouse.spec import from_pixels, palette, pixels_per_metre

MIN_COLOURED, MIN_UNHIDDEN = 0.35, 0.4
# number of frames, those with the largest area, that give the radius; least visible share of a disc
# that counts as whole
WHOLEST, WHOLE = 4, 0.97
SMALL = 0.15  # metres: least radius of a second ball
MIN_BLOB = 5.0  # pixels: a smaller blob is noise
NEAR = 3.0  # pixels around the disc in which the ball's colour belongs to the ball
STEPS, DAMPING = 8, 0.1  # Gauss-Newton: number of steps; damping added to the normal equations


@dataclasses.dataclass(frozen=True)
class Disc:
    """The track of one ball over F frames, followed as a disc that objects in front may hide.

    Attributes:
        colour: name of its palette colour.
        position: centre [F, 2] in metres; NaN in frames that give none.
        radius: of the disc in all frames, in metres.
        area: mask of the ball's pixels, bool [F, H, W].
        size: [F], radius measured in each frame in metres; NaN where something hides the ball.
        visible: [F], share of the disc that nothing hides.
        before: [F], area with the ball's colour where an object in front should hide it, relative
            to the area of the disc.
        twice: bool [F], True where the ball's colour covers more area outside of the disc than a
            ball of radius SMALL does.
        others: bool [F], True where another colour covers more than a ball of radius SMALL does.
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
        """A mask, bool [F]: frames that give a position."""
        return np.isfinite(self.position[:, 0])


def still_picture(frames: np.ndarray) -> np.ndarray:
    """Returns the background behind the balls, [H, W, 3], from frames [F, H, W, 3] of a static
    camera.

    Values are in [0, 1]. Each pixel is the median over the frames in which no ball covers it; one
    that is always covered gets the median of its row.
    """
    return backdrop(frames, ndimage.maximum_filter(vivid(frames), size=(1, 5, 5)))


def follow(frames: np.ndarray, still: np.ndarray, front: np.ndarray, extent: float) -> Disc | None:
    """Returns the track of the ball with the largest coloured area; None without a ball.

    Args:
        frames: [F, H, W, 3] of a static camera, in [0, 1].
        still: background without balls, [H, W, 3].
        front: phi, the share of each pixel that an object in front of the ball hides, [H, W] or
            [F, H, W].
        extent: metres that the width of a frame shows.
    """
    count, size = frames.shape[:2]
    colour = vivid(frames)
    label, alpha = unmix(frames, still, ndimage.maximum_filter(colour, size=(1, 9, 9)))
    label[np.logical_not(ndimage.maximum_filter(colour, size=(1, 3, 3)))] = -1
    blobs, share, mass = _blobs(label, alpha)
    k = int(np.argmax([share[blobs == k].sum() for k in range(len(palette()))]))
    alpha = np.where(blobs == k, share, 0.0)
    clear = np.broadcast_to(1.0 - front, alpha.shape)
    # a highlight belongs to the ball
    alpha = np.where([inside(filled(a > 0.5)) for a in alpha], np.maximum(alpha, clear), alpha)
    whole = np.sort([_largest(a, 1.0).sum() for a in alpha])[-WHOLEST:]
    radius = float(np.sqrt(np.median(whole) / np.pi))
    if radius < 1.0:
        return None
    scale, disc_area = pixels_per_metre(extent, size), np.pi * radius**2
    small = np.pi * (SMALL * scale) ** 2
    centres, size_m, area = (
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
        if (
            clear_area > MIN_UNHIDDEN * disc_area
            and np.sum(alpha[f] * disc) > MIN_COLOURED * clear_area
        ):
            centres[f], area[f] = c, distance < radius + 1.0
            if visible[f] > WHOLE:
                size_m[f] = np.sqrt(np.sum(alpha[f][distance < radius + NEAR]) / np.pi) / scale
    others = (mass * ((blobs >= 0) & (blobs != k))).max((1, 2)) > small
    return Disc(
        tuple(palette())[k],
        from_pixels(centres, extent, size),
        radius / scale,
        area,
        size_m,
        visible,
        before,
        twice,
        others,
    )


def _blobs(label: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Assigns each coloured blob (connected region of a frame) the colour that most of it has.

    The dark side of a ball may look like another colour. So may its rim, in a video with subsampled
    colour. A blob of less than MIN_BLOB pixels is noise.

    Args:
        label: index of each pixel's colour, -1 for none, [F, H, W].
        alpha: share of each colour, [F, H, W, colours].

    Returns:
        (index of the colour of each pixel's blob, -1 for none; share of the pixel's own colour;
        sum of that share over the blob), all [F, H, W].
    """
    share = np.where(
        label >= 0,
        np.take_along_axis(alpha, np.maximum(label, 0)[..., None].astype(int), axis=-1)[..., 0],
        0.0,
    )
    spot = (share > 0.3) & (box_mean((label >= 0).astype(np.float32), 3, mode="constant") > 0.4)
    parts, n = components(spot, PLANE)
    votes = np.stack(
        [
            ndimage.sum(np.where(label == k, share, 0.0), parts, np.arange(n + 1))
            for k in range(alpha.shape[-1])
        ]
    )
    mass = np.where(np.arange(n + 1) > 0, votes.sum(0), 0.0)
    of_part = np.where(mass > MIN_BLOB, np.argmax(votes, axis=0), -1)
    # a blob's faint rim belongs to it
    grown = np.asarray(ndimage.grey_dilation(parts, footprint=PLANE), int)
    return np.where(share > 0.0, of_part[grown], -1), share, mass[grown]


def _largest(alpha: np.ndarray, reach: float) -> np.ndarray:
    """Returns alpha [H, W] with 0 farther than `reach` pixels from its largest connected region. A
    rim or a net in front can split a ball into several regions.
    """
    parts, n = components(np.asarray(ndimage.binary_dilation(alpha > 0.3)))
    if n < 2:
        return alpha
    largest = 1 + np.argmax(ndimage.sum(alpha, parts, np.arange(1, n + 1)))
    distance = np.asarray(ndimage.distance_transform_edt(parts != largest))
    return np.where(distance < reach, alpha, 0.0)


def _centre(alpha: np.ndarray, clear: np.ndarray, radius: float) -> np.ndarray:
    """Returns the centre (column, row) of the disc by equation (1); clear is 1 - phi, [H, W]."""
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
            np.linalg.solve(jacobian.T @ jacobian + DAMPING * np.eye(2), jacobian.T @ residual),
            -1.0,
            1.0,
        )
    return c
