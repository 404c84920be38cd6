r"""The invisible mark of a sound: keyed changes of level in the STFT, repeated every 0.64 s.

Let X(f, k) be the STFT of the samples at bin f and hop k, with Hann windows of 32 ms, a hop of 8 ms
and bins of 31.25 Hz. A cell is 40 ms (5 hops) by 94 Hz (3 bins, a band). A period has 16 cells of
time and 56 bands from 500 to 5,750 Hz, so n = 896 chips, one a cell (`code` defines chips, pilots,
s_i and c_i). A mark changes the level of each cell, in dB, by the sign a = s_i c_i of its chip
times a gain. Where a = 1 it adds faint noise, so that silence carries the mark too:

    (1)  X'(f, k) = X(f, k) 10^{a gain / 20} + FLOOR sqrt(sum window^2) N(f, k) [a = 1]

N has unit magnitude and fixed phases; [a = 1] is 1 or 0. The gain is the smallest of GAINS with
which the score T of `code` reaches ENOUGH, or else the largest. The detector reads the level of the
cell of band b that begins at hop k,

    (2)  L(b, k) = log(EPS + sum_{f in b, k <= k' < k + 5} |X(f, k')|^2 / sum window^2)

subtracts its mean over the neighbourhood of 5 bands and 5 cells, and clips the difference to LIMIT
either way: D(b, k). A hypothesis (p, q, r) says that the mark's period begins at hop p before hop r
of the clip and at hop q from there on; p and q differ if a piece was cut out. Chip i is

    (3)  x_i = sum of D over the cells of chip i

The pilots are summed for all hypotheses (by running sums), and the likeliest CANDIDATES are
decoded. Half of the allowed false alarms belong to the hypothesis that the clip was neither cut nor
shifted; the other hypotheses share the other half evenly.
"""

import numpy as np
from scipy import ndimage, signal

from sora_jax.errors import UserError
from sora_jax.provenance import code
from sora_jax.provenance.code import Chips, Detection

HOP = 0.008  # seconds
OVERLAP = 4  # hops of a window
CELL, CELLS = 5, 16  # hops of a cell, cells of a period
PERIOD = CELL * CELLS  # hops of a period
BINS, BANDS, LOWEST = 3, 56, 16  # bins of a band, bands, first bin
CHIPS = CELLS * BANDS
GAINS, ENOUGH = (0.5, 1.0, 1.5, 2.0), 18.0  # dB, tried until the score T reaches ENOUGH
FLOOR = 10 ** (-60 / 20)  # rms of the added noise in a cell, full scale 1
EPS, LIMIT = 1e-10, 1.0  # of equation (2), and of D, a natural logarithm of power
CANDIDATES = 8  # hypotheses that are decoded
SHORTEST, LEAST_RATE = 1.0, 12_000  # least duration in seconds, least samples per second


def embed(samples: np.ndarray, payload: int, key: bytes, rate: int = 16_000) -> np.ndarray:
    """Returns samples that carry a payload, float32 [S].

    Args:
        samples: [S], float in [-1, 1].
        payload: 0 to 2^32 - 1.
        key: the secret that `detect` needs.
        rate: samples per second, at least 12,000. Default 16,000.

    Raises:
        UserError: the samples last less than SHORTEST seconds, the rate is too low, or the payload
            has more than 32 bits.
    """
    if not 0 <= payload < 2**code.BITS:
        raise UserError(f"payload={payload}; give a number of 32 bits", field="payload")
    if len(samples) < SHORTEST * rate:
        raise UserError(
            f"{len(samples) / rate:.2f} s of sound are too short for a mark; give at least "
            f"{SHORTEST:g} s",
            field="samples",
        )
    keyed = code.chips(key, "sound", CHIPS)
    codeword = keyed.codeword(payload)
    marked = np.empty(0)
    for gain in GAINS:
        marked = _marked(np.asarray(samples, np.float64), codeword, gain, _transform(rate))
        level = levels(marked, rate)
        if code.score(_chips_at(level, 0, 0, len(level)), codeword) >= ENOUGH:
            break
    return marked


def detect(samples: np.ndarray, key: bytes, rate: int = 16_000) -> Detection | None:
    """Returns the mark of samples, or None if they carry none under this key.

    Args:
        samples: [S], float in [-1, 1]. They may be encoded, trimmed, or have a piece cut out.
        key: the secret given to `embed`.
        rate: samples per second, at least 12,000. Default 16,000.

    Raises:
        UserError: the rate is too low.
    """
    return found(levels(samples, rate), code.chips(key, "sound", CHIPS))


def levels(samples: np.ndarray, rate: int = 16_000) -> np.ndarray:
    """Returns D, the clipped relative level of the cells that begin at each hop, [hops, BANDS]. It
    does not depend on a key.
    """
    transform = _transform(rate)
    if len(samples) < transform.m_num:
        return np.zeros((0, BANDS))
    spectrum = transform.stft(np.asarray(samples, np.float64), p0=0)
    power = np.abs(spectrum[LOWEST : LOWEST + BINS * BANDS]) ** 2 / (transform.win**2).sum()
    bands = power.reshape(BANDS, BINS, -1).sum(1)
    running = np.cumsum(np.pad(bands, ((0, 0), (1, 0))), axis=1)
    level = np.log(EPS + np.maximum(running[:, CELL:] - running[:, :-CELL], 0.0))
    around = ndimage.uniform_filter1d(level, 5, axis=0, mode="nearest")
    level -= ndimage.uniform_filter1d(around, 5 * CELL, axis=1, mode="nearest")
    return np.clip(level, -LIMIT, LIMIT).T


def found(
    level: np.ndarray, keyed: Chips, false_alarm: float = code.FALSE_ALARM
) -> Detection | None:
    """Returns the mark in the levels of a clip, or None if there is none under this key.

    Args:
        level: D, [hops, BANDS], the result of `levels`.
        keyed: the chips of the key.
        false_alarm: bound on the probability of a detection in a clip without this mark. Default:
            5e-7.
    """
    hops = len(level)
    if hops < PERIOD:
        return None
    first = code.threshold(0.5, false_alarm)
    limit = code.threshold(0.5 / (PERIOD**2 * hops), false_alarm)
    payload, score = keyed.best(_chips_at(level, 0, 0, hops))
    if score >= first:
        return Detection(payload, score, first, "from the beginning")
    for begin, after, cut in _likeliest(level, keyed):
        payload, score = keyed.best(_chips_at(level, begin, after, cut))
        if score >= limit:
            place = f"begins at {begin * HOP:.3f} s"
            if begin != after:
                place += f", cut near {cut * HOP:.1f} s"
            return Detection(payload, score, limit, place)
    return None


def _transform(rate: int) -> signal.ShortTimeFFT:
    """Returns the STFT for samples at `rate` Hz. Raises UserError below LEAST_RATE."""
    hop = round(HOP * rate)
    if rate < LEAST_RATE:
        raise UserError(f"samples at {rate} Hz; a mark needs at least {LEAST_RATE}", field="rate")
    window = np.asarray(signal.get_window("hann", OVERLAP * hop))
    return signal.ShortTimeFFT(window, hop, rate)


def _marked(
    samples: np.ndarray, codeword: np.ndarray, gain: float, transform: signal.ShortTimeFFT
) -> np.ndarray:
    """Returns samples with the levels of their cells changed by `gain` dB, equation (1)."""
    spectrum = transform.stft(samples)
    hops = np.arange(transform.p_min, transform.p_min + spectrum.shape[1])
    sign = codeword.reshape(CELLS, BANDS)[hops // CELL % CELLS].T.repeat(BINS, axis=0)
    phases = np.random.default_rng(0).uniform(0.0, 2 * np.pi, sign.shape)
    noise = FLOOR * np.sqrt((transform.win**2).sum()) * np.exp(1j * phases)
    changed = spectrum[LOWEST : LOWEST + BINS * BANDS]
    changed[:] = changed * 10 ** (sign * gain / 20) + noise * (sign > 0)
    marked = transform.istft(spectrum, k1=len(samples))
    return np.clip(marked, -1.0, 1.0).astype(np.float32)


def _chips_at(level: np.ndarray, begin: int, after: int, cut: int) -> np.ndarray:
    """Returns the chips x [n] of the hypothesis (begin, after, cut), equation (3)."""
    x = np.zeros((CELLS, BANDS))
    for start, stop, phase in ((0, cut, begin), (cut, len(level), after)):
        hops = np.arange(start + (phase - start) % CELL, stop, CELL)
        np.add.at(x, (hops - phase) // CELL % CELLS, level[hops])
    return x.ravel()


def _likeliest(level: np.ndarray, keyed: Chips) -> list[tuple[int, int, int]]:
    """Returns the CANDIDATES hypotheses (p, q, r) whose pilots agree best, the best first."""
    agreement = level @ keyed.pilots().reshape(CELLS, BANDS).T  # [hops, cells]
    hops, phases = np.arange(len(level))[:, None], np.arange(PERIOD)
    cells = (hops - phases) // CELL % CELLS
    begins = (hops - phases) % CELL == 0
    gains = np.where(begins, np.take_along_axis(agreement, cells, 1), 0.0)  # [hops, PERIOD]
    running = np.pad(np.cumsum(gains, 0), ((1, 0), (0, 0)))
    rest = running[-1] - running
    cuts = np.arange(0, len(running), CELL)
    best = np.full((PERIOD, PERIOD), -np.inf)
    where = np.zeros((PERIOD, PERIOD), int)
    for cut in cuts:
        total = running[cut][:, None] + rest[cut]
        where = np.where(total > best, cut, where)
        best = np.maximum(best, total)
    order = np.argsort(best, axis=None)[::-1][:CANDIDATES]
    pairs = (divmod(int(place), PERIOD) for place in order)
    return [(begin, after, int(where[begin, after])) for begin, after in pairs]
