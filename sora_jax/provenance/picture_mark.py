r"""The invisible mark of a picture: a keyed pattern in the DCT of 8 x 8 blocks, the same in all
frames.

Let Y [H, W] be the luma (0 to 255) of a clip, averaged over its frames, and B_uv the basis of the
orthonormal 8 x 8 DCT. At any pixel p the coefficient (u, v) is

    (1)  C_uv(p) = sum_{a,b} B_uv(a, b) Y(p + (a, b))

The mark repeats in tiles of 64 x 64 pixels. A tile has 8 x 8 blocks, and 13 coefficients a block
(u, v <= 3, u + v >= 2), so n = 832 chips (`code` defines chips, pilots, s_i and c_i). Chip
(u, v, i, j) is coefficient (u, v) of block (i, j). In a picture that was shifted by h pixels it is

    (2)  x = sum_tiles phi(C_uv(64 tile + 8 (i, j) + h)),
         phi(c) = clip(c, -1, 1) / (1 + (c / 8)^2)

phi limits the contribution of a single edge, and discounts strong texture, whose signs the mark
cannot change. A crop shifts the tiles, so `detect` evaluates the pilots at all 64 x 64 shifts by
FFT. A scaled picture is resized back by each factor of SCALES. The likeliest shifts are decoded.
Half of the allowed false alarms belong to the hypothesis that the picture is neither scaled nor
shifted; the other hypotheses share the other half evenly.

Embedding. Coefficients are changed where little energy is needed. Let r = s_i c_i C be the
agreement of a coefficient with its chip, and m the margin that r should have. Lifting r to m costs

    (3)  e = max(m - r, 0)^2

Coefficients are lifted in order of e until the energy of the whole mark is that of the PSNR asked.
The smallest change of RGB that changes luma by 1 is along the weights w of luma,

    (4)  delta RGB = w / (w . w),  w = (0.299, 0.587, 0.114)

The margins start at MARGIN. `embed` can be given a function `rehearse`, such as encoding as h264.
Where it loses a lifted coefficient the margin rises, where r stays high it falls, and the best of
up to ROUNDS attempts is kept.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from PIL import Image
from scipy import ndimage

from sora_jax.clip import as_floats
from sora_jax.errors import UserError
from sora_jax.provenance import code
from sora_jax.provenance.code import Chips, Detection

BLOCK, TILE = 8, 64  # pixels
COEFFICIENTS = tuple((u, v) for u in range(4) for v in range(4) if u + v >= 2)
CHIPS = len(COEFFICIENTS) * (TILE // BLOCK) ** 2
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
PSNR = 45.2  # dB, of the marked frames; rounding to 8 bits takes up to 0.2
# Of a coefficient, in units of luma: the first margin, the r below which it counts as lost, and by
# how much margins rise and fall.
MARGIN, KEPT, RAISE, LOWER = 3.0, 1.5, 1.0, 0.25
ROUNDS, ENOUGH = 8, 24.0  # attempts, and the score T that ends them
LIMIT, TEXTURE = 1.0, 8.0  # constants of phi in equation (2)
SCALES = (1.0, 0.5, 2.0, 2 / 3, 1.5, 0.75, 4 / 3, 0.9, 10 / 9)  # factors that `detect` tries
CANDIDATES = 6  # shifts that are decoded at each scale
SMALLEST = 32  # pixels, the least shorter side of a picture that gets a mark
Rehearsal = Callable[[np.ndarray], np.ndarray]


def embed(
    frames: np.ndarray,
    payload: int,
    key: bytes,
    rehearse: Rehearsal | None = None,
    psnr: float = PSNR,
) -> np.ndarray:
    """Returns frames that carry a payload, uint8 [F, H, W, 3].

    Args:
        frames: [F, H, W, 3], uint8 or float in [0, 1].
        payload: 0 to 2^32 - 1.
        key: the secret that `detect` needs.
        rehearse: function of uint8 frames [F, H, W, 3] that returns them as they will be read back,
            for example through h264. The mark is fitted to survive it. Default: None, one attempt.
        psnr: PSNR of the marked frames against `frames`, in dB. Default: PSNR, 45.2.

    Raises:
        UserError: a side is below SMALLEST pixels, or the payload has more than 32 bits.
    """
    if not 0 <= payload < 2**code.BITS:
        raise UserError(f"payload={payload}; give a number of 32 bits", field="payload")
    values = np.round(255.0 * as_floats(frames, "frames"))
    height, width = values.shape[1:3]
    _check_sides(height, width)
    keyed = code.chips(key, "picture", CHIPS)
    rows, columns = height // BLOCK, width // BLOCK
    wanted = _tiled(keyed.codeword(payload), rows, columns)
    host = wanted * _blocks(values.mean(0) @ LUMA)
    energy = 255.0**2 / 10 ** (psnr / 10) * 3 * (LUMA @ LUMA) * height * width
    margins = np.full(host.shape, MARGIN)
    best, marked = -np.inf, np.empty(0)
    for _ in range(ROUNDS if rehearse else 1):
        lifts = _lifts(host, margins, energy)
        trial = _added(values, wanted * lifts)
        if rehearse is None:
            return trial
        seen = as_floats(rehearse(trial), "rehearsed frames")
        kept = wanted * _blocks(255.0 * seen.mean(0) @ LUMA)
        agreement = _folded(_phi(kept))
        score = agreement.sum() / max(float(np.sqrt((agreement**2).sum())), 1e-9)
        if score > best:
            best, marked = score, trial
        if score >= ENOUGH:
            break
        margins = np.where(
            (lifts > 0) & (kept < KEPT),
            margins + RAISE,
            np.where(kept > 2 * KEPT, np.maximum(margins - LOWER, 1.0), margins),
        )
    return marked


def detect(frames: np.ndarray, key: bytes, scales: tuple[float, ...] = SCALES) -> Detection | None:
    """Returns the mark of frames, or None if they carry none under this key.

    Args:
        frames: [F, H, W, 3], uint8 or float in [0, 1]. They may be cropped, scaled and encoded.
        key: the secret given to `embed`.
        scales: factors by which the marked picture may have been scaled. Default: SCALES.
    """
    return found(folds(frames, scales), code.chips(key, "picture", CHIPS), len(scales))


def folds(
    frames: np.ndarray, scales: tuple[float, ...] = SCALES
) -> Iterator[tuple[float, np.ndarray]]:
    """Yields (scale, x) for each scale: x [13, 64, 64] is the sum over tiles of equation (2), for
    each coefficient and each pixel of a tile.

    It does not depend on a key. Scales at which the marked picture would have had a side below
    SMALLEST pixels are left out.
    """
    luma = (255.0 * as_floats(frames, "frames")).mean(0) @ LUMA
    for scale in scales:
        sides = [round(side / scale) for side in luma.shape]
        if min(sides) < SMALLEST:
            continue
        picture = luma
        if scale != 1.0:
            image = Image.fromarray(luma.astype(np.float32))
            picture = np.asarray(image.resize((sides[1], sides[0]), Image.Resampling.BICUBIC))
        yield scale, _fold(picture)


def found(
    folded: Iterable[tuple[float, np.ndarray]],
    keyed: Chips,
    count: int = len(SCALES),
    false_alarm: float = code.FALSE_ALARM,
) -> Detection | None:
    """Returns the mark in the folded coefficients of a clip, or None if there is none under this
    key.

    Args:
        folded: (scale, x) of each scale, the result of `folds`.
        keyed: the chips of the key.
        count: largest number of scales, among which the false alarms are divided. Default: that of
            SCALES.
        false_alarm: bound on the probability of a detection in a clip without this mark. Default:
            5e-7.
    """
    first = code.threshold(0.5, false_alarm)
    limit = code.threshold(0.5 / (count * TILE**2), false_alarm)
    for scale, x in folded:
        if scale == 1.0:
            payload, score = keyed.best(_chips_at(x, 0, 0))
            if score >= first:
                return Detection(payload, score, first, "neither scaled nor cropped")
        pilots = _pilot_scores(x, keyed)
        for place in np.argsort(pilots, axis=None)[: -CANDIDATES - 1 : -1]:
            row, column = divmod(int(place), TILE)
            payload, score = keyed.best(_chips_at(x, row, column))
            if score >= limit:
                where = f"scaled by {scale:.3g}, tiles shifted by ({row}, {column}) pixels"
                return Detection(payload, score, limit, where)
    return None


def _check_sides(height: int, width: int) -> None:
    if min(height, width) < SMALLEST:
        raise UserError(
            f"frames are {height} x {width}; a mark needs at least {SMALLEST} pixels a side",
            field="frames",
        )


def _cosines(u: int) -> np.ndarray:
    """Returns the one-dimensional DCT basis of frequency u, [8]; B_uv is an outer product."""
    scale = np.sqrt((1.0 if u == 0 else 2.0) / BLOCK)
    return scale * np.cos(np.pi * (np.arange(BLOCK) + 0.5) * u / BLOCK)


def _bases() -> np.ndarray:
    """Returns B_uv of COEFFICIENTS, [13, 8, 8]."""
    return np.stack([np.outer(_cosines(u), _cosines(v)) for u, v in COEFFICIENTS])


def _tiled(codeword: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Returns s_i c_i of every block of a picture of rows x columns blocks, [13, rows, columns]."""
    side = TILE // BLOCK
    tile = codeword.reshape(-1, side, side)
    return tile[:, np.arange(rows)[:, None] % side, np.arange(columns) % side]


def _blocks(luma: np.ndarray) -> np.ndarray:
    """Returns C_uv of the blocks of a luma picture, [13, rows, columns]; pixels that fill no block
    are left out.
    """
    rows, columns = (side // BLOCK for side in luma.shape)
    cut = luma[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    return np.einsum("iajb,mab->mij", cut, _bases(), optimize=True)


def _phi(c: np.ndarray) -> np.ndarray:
    return np.clip(c, -LIMIT, LIMIT) / (1.0 + (c / TEXTURE) ** 2)


def _lifts(host: np.ndarray, margins: np.ndarray, energy: float) -> np.ndarray:
    """Returns what is added to each agreement r, [13, rows, columns]: the lifts that cost least by
    equation (3), up to `energy` in all.

    Args:
        host: the agreements r, [13, rows, columns].
        margins: the margins m, [13, rows, columns].
        energy: sum of squares of all lifts.
    """
    lifts = np.maximum(margins - host, 0.0)
    order = np.argsort(lifts, axis=None)
    paid = np.cumsum(lifts.flat[order] ** 2)
    lifts.flat[order[paid > energy]] = 0.0
    return lifts


def _added(values: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Returns frames (`values`, 0 to 255) whose coefficients have a change [13, rows, columns]
    added, uint8 [F, H, W, 3].
    """
    _, rows, columns = change.shape
    luma = np.einsum("mij,mab->iajb", change, _bases(), optimize=True)
    luma = luma.reshape(rows * BLOCK, columns * BLOCK, 1) * LUMA / (LUMA @ LUMA)
    marked = values.copy()
    marked[:, : luma.shape[0], : luma.shape[1]] += luma
    return np.clip(np.round(marked), 0, 255).astype(np.uint8)


def _folded(x: np.ndarray) -> np.ndarray:
    """Returns the sums over tiles of values of blocks [13, rows, columns], [13, 8, 8]."""
    side = TILE // BLOCK
    padded = np.pad(x, ((0, 0), (0, -x.shape[1] % side), (0, -x.shape[2] % side)))
    tiles = padded.reshape(len(x), -1, side, padded.shape[2] // side, side)
    return tiles.sum((1, 3))


def _fold(luma: np.ndarray) -> np.ndarray:
    """Returns phi(C_uv) at every pixel of a luma picture, summed over tiles, [13, 64, 64]."""
    down = {}
    for u in sorted({u for u, _ in COEFFICIENTS}):
        down[u] = ndimage.correlate1d(luma, _cosines(u), axis=0, origin=-BLOCK // 2)
    rows, columns = (side - BLOCK + 1 for side in luma.shape)
    folded = np.zeros((len(COEFFICIENTS), TILE, TILE))
    for m, (u, v) in enumerate(COEFFICIENTS):
        c = ndimage.correlate1d(down[u], _cosines(v), axis=1, origin=-BLOCK // 2)
        x = _phi(c[:rows, :columns])
        for top, left in itertools.product(range(0, rows, TILE), range(0, columns, TILE)):
            part = x[top : top + TILE, left : left + TILE]
            folded[m, : part.shape[0], : part.shape[1]] += part
    return folded


def _pilot_scores(x: np.ndarray, keyed: Chips) -> np.ndarray:
    """Returns the part of the statistic T that the pilots contribute at each shift, [64, 64]."""
    side = TILE // BLOCK
    sparse = np.zeros(x.shape)
    sparse[:, ::BLOCK, ::BLOCK] = keyed.pilots().reshape(-1, side, side)
    products = np.fft.rfft2(x) * np.conj(np.fft.rfft2(sparse))
    agreement = np.fft.irfft2(products.sum(0), s=(TILE, TILE))
    power = (x**2).reshape(len(x), side, BLOCK, side, BLOCK).sum((0, 1, 3))
    return agreement / np.sqrt(np.tile(power, (side, side)) + 1e-9)


def _chips_at(x: np.ndarray, row: int, column: int) -> np.ndarray:
    """Returns the chips x [n] of folded coefficients [13, 64, 64] at a shift (row, column)."""
    return np.roll(x, (-row, -column), (1, 2))[:, ::BLOCK, ::BLOCK].ravel()
