"""Finds cuts: the times at which a new shot begins. (A shot is the part between two cuts.)

A cut replaces the picture, or moves the camera in an instant. It is read from the background,
which fills most of a frame and moves evenly within a shot. Frames are resampled to 64 x 64 pixels,
and the gradients of their three colour channels are compared, because gradients keep their
directions when a lamp is switched. Black bars at the top and bottom are left out.

1. Content. With a, b the gradients of two frames, a shifted by d, and <> sums over a window,

       alike = max over |d| <= NEAR of  <a b> / sqrt(<a a> <b b>)                                (1)

   A pixel has changed if its window has texture in one of the frames and (1) is below ALIKE. The
   content differs if a share of more than CHANGED of the frame has changed.
2. Registration. Over the whole frame, the correlation

       C(d, z) = sum a b / sqrt(sum a a  sum b b),   a shifted by d and enlarged by z            (2)

   has its maximum C at the motion of the background between two frames. Expected are all motions
   between no motion and those of the frames just before and just after, to JUMP pixels. C' is the
   maximum over them. The registration breaks if C lies elsewhere, exceeds LOCKED, and

       C - C' > EXPLAINED (1 - C')                                                               (3)

A frame t begins a shot if, for each of the last two frames before t and each of the first two from
t on, the content differs or the registration breaks between the two. So a flash of one frame, a
shake and a cross-fade are no cuts.

The noise is subtracted from the sums; its variance is estimated from second differences of pixels.
The constants were chosen on scenes 0 to 499 of the split `val`. Limits: frames with texture in less
than a share COVERED, such as a plain room, give no cut; a shot has at least two frames; a cut
between two equal views of one place cannot be seen.
"""

import functools
import itertools

import numpy as np
from scipy import fft, ndimage

from sora_jax.oracles.style import SIZE, resampled

SMOOTH, BARS = 1.0, 8  # pixels: deviation of the blur; rows left out at the top and the bottom
WINDOW = 5  # pixels: side of the windows of (1)
ALIKE, CHANGED, COVERED = 0.6, 0.28, 0.5  # correlation; share of the picture; share with texture
TEXTURE, NOISE = 0.0015, 0.6  # least <a a> of texture; <a a> of noise, relative to its variance
NEAR, FAR = 2, 5  # pixels: largest shifts d of (1) and of (2), in each direction
ZOOMS = (0.9, 0.95, 1.0, 1.05, 1.1)  # z of (2)
# pixels; least correlation at an unexpected motion; share of the mismatch 1 - C' that it explains
JUMP, LOCKED, EXPLAINED = 1.5, 0.75, 0.48
STILL = 0.95  # correlation of two frames above which the registration cannot break
KNOWN = 0.5  # least correlation of a known motion

Shifts = tuple[tuple[int, ...], ...]  # (down, right) in pixels
_NEAR: Shifts = tuple(itertools.product(range(-NEAR, NEAR + 1), repeat=2))
_REACH = np.arange(-FAR, FAR + 1)  # pixels: shifts of (2) in each direction
_SHAPE = SIZE - 2 * BARS, SIZE - 2  # rows and columns of gradients
_PADDED = [fft.next_fast_len(n + FAR, real=True) for n in _SHAPE]  # no shift reaches around


def read_cuts(frames: np.ndarray, fps: float) -> list[float]:
    """Returns the times in s at which a new shot begins, without the start of the first.

    Args:
        frames: [F, H, W, 3] in [0, 1].
        fps: frames/s.
    """
    film = _Film(resampled(frames))
    return [t / fps for t in range(2, len(frames) - 1) if film.cut(t)]


def _gradients(frame: np.ndarray) -> np.ndarray:
    """Returns the gradients of a frame [SIZE, SIZE, 3] without the bars, [rows, columns, 6]:
    differences across, then down, of each colour channel.
    """
    soft = ndimage.gaussian_filter(frame, (SMOOTH, SMOOTH, 0))
    across, down = soft[1:-1, 2:] - soft[1:-1, :-2], soft[2:, 1:-1] - soft[:-2, 1:-1]
    return np.concatenate([across, down], axis=-1)[BARS - 1 : 1 - BARS]


def _windowed(x: np.ndarray) -> np.ndarray:
    """Returns the means of pictures [..., H, W] over windows of WINDOW pixels."""
    return ndimage.uniform_filter(x, WINDOW, mode="nearest", axes=(-2, -1))


def _powers(gradients: np.ndarray) -> np.ndarray:
    """Returns the sum of squares of a picture [H, W, C] over the part that still overlaps the frame
    after each shift (down, right) of up to FAR pixels, [2 FAR + 1, 2 FAR + 1].
    """
    squares = np.einsum("hwc,hwc->hw", gradients, gradients, dtype=np.float64)
    sums = np.pad(squares.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    (top, bottom), (left, right) = (
        (np.maximum(-_REACH, 0), n - np.maximum(_REACH, 0)) for n in _SHAPE
    )
    rows = sums[bottom] - sums[top]
    return rows[:, right] - rows[:, left]


class _Film:
    """The frames of a clip, compared in pairs.

    Args:
        frames: float32 [F, SIZE, SIZE, 3].
    """

    def __init__(self, frames: np.ndarray) -> None:
        self.frames = frames
        # the second differences of white noise have six times its variance
        second = 2.0 * frames[:, :, 1:-1] - frames[:, :, 2:] - frames[:, :, :-2]
        deviation = float(np.median(np.abs(second))) / 0.6745
        self.noise = NOISE * deviation * deviation / 6.0
        self.gradients = functools.lru_cache(maxsize=32)(self._gradients_of)
        self.spectrum = functools.lru_cache(maxsize=32)(self._spectrum)
        self.motion = functools.lru_cache(maxsize=32)(self._motion)

    def _gradients_of(self, number: int, zoom: float = 1.0) -> np.ndarray:
        frame = self.frames[number]
        if zoom != 1.0:
            inverse = np.diag([1.0 / zoom, 1.0 / zoom, 1.0, 1.0])
            inverse[:2, 3] = (1.0 - 1.0 / zoom) * 0.5 * (SIZE - 1)
            frame = ndimage.affine_transform(frame, inverse, order=1, mode="nearest")
        return _gradients(frame)

    def _spectrum(self, number: int, zoom: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """Returns (the Fourier transform of a frame's gradients, their `_powers`)."""
        gradients = self.gradients(number, zoom)
        return np.asarray(fft.rfft2(gradients, _PADDED, axes=(0, 1))), _powers(gradients)

    def cut(self, t: int) -> bool:
        """Returns whether the frame of index t begins a shot."""
        changed, covered = self._changed(t - 1, t, ((0, 0),))
        if covered < COVERED:
            return False
        if changed < CHANGED and self._correlation(t - 1, t) > STILL:
            return False
        pairs = [(a, b) for a in (t - 1, t - 2) for b in (t, t + 1)]
        return all(self._differs(a, b) or self._breaks(a, b, t) for a, b in pairs)

    def _differs(self, a: int, b: int) -> bool:
        return self._changed(a, b, _NEAR)[0] > CHANGED

    def _changed(self, a: int, b: int, shifts: Shifts) -> tuple[float, float]:
        """Returns (share of the pixels that changed between frames a and b, share that have
        texture), by (1) over these shifts.
        """
        first, second = self.gradients(a), self.gradients(b)
        powers = [
            np.maximum(_windowed(np.einsum("hwc,hwc->hw", x, x)), 0.0) for x in (first, second)
        ]
        moved, power = (
            np.stack([np.roll(x, shift, (0, 1)) for shift in shifts]) for x in (first, powers[0])
        )
        scale = np.sqrt(power * powers[1]) + 0.5 * self.noise + 1e-9
        alike = (_windowed(np.einsum("shwc,hwc->shw", moved, second)) / scale).max(0)
        texture = np.maximum(*powers) > max(TEXTURE, 4.0 * self.noise)
        return float((texture & (alike < ALIKE)).mean()), float(texture.mean())

    def _correlations(self, a: int, b: int, zoom: float = 1.0) -> np.ndarray:
        """Returns the correlation (2) of frames a and b for each shift (down, right) of _REACH,
        [2 FAR + 1, 2 FAR + 1], with `a` enlarged by `zoom`.
        """
        (first, power), (second, other) = self.spectrum(a, zoom), self.spectrum(b)
        spectrum = np.einsum("hwc,hwc->hw", first.conj(), second)
        products = np.asarray(fft.irfft2(spectrum, _PADDED))
        noise = self.noise * np.multiply.outer(*(n - np.abs(_REACH) for n in _SHAPE))
        clean = [np.maximum(p - noise, 0.3 * p) for p in (power, other[::-1, ::-1])]
        return products[np.ix_(_REACH, _REACH)] / np.sqrt(clean[0] * clean[1] + 1e-12)

    def _correlation(self, a: int, b: int) -> float:
        near = slice(FAR - NEAR, FAR + NEAR + 1)
        return float(self._correlations(a, b)[near, near].max())

    def _motion(self, a: int) -> np.ndarray:
        """Returns the motion of the background from frame a to the next, (down, right) in pixels.

        Zero beyond the ends of the clip, and where no shift has a correlation of KNOWN.
        """
        if not 0 <= a < len(self.frames) - 1:
            return np.zeros(2)
        values = self._correlations(a, a + 1)
        best = np.unravel_index(np.argmax(values), values.shape)
        return _REACH[list(best)].astype(float) if values[best] > KNOWN else np.zeros(2)

    def _breaks(self, a: int, b: int, t: int) -> bool:
        """Returns whether the registration (3) of frames a and b breaks at frame t, with a < t <=
        b: the background moves between them as no continuous motion does.
        """
        before, after = self.motion(t - 2), self.motion(t)
        # all motion but that of the one step from t - 1 to t
        known = (t - 1 - a) * before + (b - t) * after
        steps = np.stack([before, after, np.zeros(2)])
        # no motion at all is expected too: a camera that shakes comes back
        low = np.minimum(known + steps.min(0), 0.0)
        high = np.maximum(known + steps.max(0), 0.0)
        beyond = [
            np.maximum(np.maximum(least - _REACH, _REACH - most), 0.0)
            for least, most in zip(low, high, strict=True)
        ]
        values = np.stack([self._correlations(a, b, zoom) for zoom in ZOOMS])
        # a zoom moves the middle of an edge by half the side times what it exceeds 1
        zoomed = 0.5 * SIZE * np.abs(np.array(ZOOMS) - 1.0)
        expected = np.hypot.outer(*beyond) + zoomed[:, None, None] <= JUMP
        near = values[expected].max(initial=-1.0)
        far = min(values[~expected].max(initial=-1.0), 1.0)
        return bool(far > LOCKED and far - near > EXPLAINED * (1.0 - near))
