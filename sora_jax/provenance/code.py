r"""The payload code of an invisible mark, and the threshold of its detection.

A mark consists of n chips: numbers x_i that a detector reads from a clip, each at its place in the
picture or in the spectrum. Marking moves x_i towards the sign s_i c_i. The s_i are signs drawn from
a secret key. The c_i are the codeword: 1 for the pilots, by which the place of the mark is found,
and the coded bits (-1 or 1) of the payload for the other chips, each bit on many of them.

Code. A payload u of 32 bits becomes 128 bits by a tail-biting convolutional code of rate 1/4 and
constraint length 9 (generators 463, 535, 733, 745 in octal, free distance 24):

    (1)  b_{4t+g} = sum_d G_{g,d} u_{(t - d) mod 32}   (mod 2),  d = 0 ... 8

`decode` runs the Viterbi algorithm over soft values, once around the circle and three quarters of
a turn beyond it on either side, so that the state at the seam is found from the values themselves.

Detection. The statistic of a codeword c at a hypothesis h, such as a shift of the picture, is

    (2)  T_h(c) = sum_i s_i c_i x_i(h) / sqrt(sum_i x_i(h)^2)

In a clip without this mark the x_i do not depend on the key, so the s_i are independent fair signs
and Hoeffding's inequality holds for any x, with no assumption about pictures or sounds:

    (3)  P(T_h(c) >= t) <= exp(-t^2 / 2)

Summed over the 2^32 codewords and over the hypotheses, each with a share w_h of the false alarms
p (sum_h w_h <= 1), no search of the detector can exceed p when it asks for

    (4)  T >= t_h = sqrt(2 ln(2^32 / (p w_h)))
"""

import dataclasses
import functools
import hashlib

import numpy as np

BITS = 32  # of a payload
RATE = 4  # coded bits for each bit
MEMORY = 8  # bits that the encoder remembers
CODED = BITS * RATE
GENERATORS = (0o463, 0o535, 0o733, 0o745)
FALSE_ALARM = 5e-7  # probability for one mark; a clip has two, so at most 1e-6 in all
_WRAP = 24  # steps of the Viterbi algorithm before and after the circle of 32
_TAPS = np.array([[g >> (MEMORY - d) & 1 for d in range(MEMORY + 1)] for g in GENERATORS])


@dataclasses.dataclass(frozen=True)
class Detection:
    """A mark that was found.

    Attributes:
        payload: the 32 bits that the mark carries, from 0 to 2^32 - 1.
        score: the statistic T of equation (2).
        threshold: t_h of equation (4), which `score` reaches.
        place: where the mark lies, as text: scale and shift of a picture, offset and cut of a
            sound.
    """

    payload: int
    score: float
    threshold: float
    place: str


@dataclasses.dataclass(frozen=True)
class Chips:
    """The keyed chips of a mark.

    Attributes:
        signs: s_i, -1 or 1, [n].
        bits: index of the coded bit that chip i carries, 0 to 127; -1 for a pilot, [n].
    """

    signs: np.ndarray
    bits: np.ndarray

    def codeword(self, payload: int) -> np.ndarray:
        """Returns the signs s_i c_i with which a payload is marked, [n]."""
        return self.signs * np.append(encode(payload), 1.0)[self.bits]

    def pilots(self) -> np.ndarray:
        """Returns the signs of the pilots, and 0 for other chips, [n]."""
        return np.where(self.bits < 0, self.signs, 0.0)

    def best(self, x: np.ndarray) -> tuple[int, float]:
        """Returns the payload decoded from chips x [n], and its statistic T, equation (2)."""
        carried = self.bits >= 0
        soft = np.bincount(self.bits[carried], (self.signs * x)[carried], CODED)
        payload = decode(soft)
        return payload, score(x, self.codeword(payload))


def chips(key: bytes, mark: str, count: int) -> Chips:
    """Returns the keyed chips of a mark. Every coded bit is on the same number of chips.

    Args:
        key: the secret.
        mark: name of the mark, "picture" or "sound", so that each has chips of its own.
        count: number n of chips. The largest multiple of CODED within four fifths of them carry
            coded bits; the others are pilots.
    """
    seed = int.from_bytes(hashlib.sha256(mark.encode() + b"\0" + key).digest(), "little")
    rng = np.random.Generator(np.random.Philox(seed % 2**128))
    repeats = count * 4 // 5 // CODED
    bits = np.full(count, -1)
    bits[: repeats * CODED] = np.tile(np.arange(CODED), repeats)
    return Chips(rng.choice([-1.0, 1.0], count), rng.permutation(bits))


def encode(payload: int) -> np.ndarray:
    """Returns the coded bits of a payload by equation (1), as -1 for 0 and 1 for 1, [CODED]."""
    u = np.array([payload >> t & 1 for t in range(BITS)])
    past = np.stack([np.roll(u, d) for d in range(MEMORY + 1)])  # u_{t - d}
    return 2.0 * ((_TAPS @ past) % 2).T.ravel() - 1.0


def decode(soft: np.ndarray) -> int:
    """Returns the payload whose coded bits agree best with soft values [CODED], positive where the
    bit is likely 1.
    """
    previous, outputs = _trellis()
    steps = np.arange(-_WRAP, BITS + _WRAP)
    gains = np.einsum("spr,tr->tsp", outputs, soft.reshape(BITS, RATE)[steps % BITS])
    best = np.zeros(len(previous))
    choices = np.empty((len(steps), len(previous)), np.int64)
    for t, gain in enumerate(gains):
        paths = best[previous] + gain
        choices[t] = paths.argmax(1)
        best = paths.max(1)
    payload, state = 0, int(best.argmax())
    for t in range(len(steps) - 1, -1, -1):
        if 0 <= steps[t] < BITS:
            payload |= (state >> (MEMORY - 1)) << int(steps[t])
        state = int(previous[state, choices[t, state]])
    return payload


@functools.lru_cache
def _trellis() -> tuple[np.ndarray, np.ndarray]:
    """Returns the two predecessors of each encoder state, [states, 2], and the coded bits of the
    step from each of them, -1 or 1, [states, 2, RATE]. A state is the last MEMORY bits of the
    payload; the newest is the highest bit.
    """
    states = np.arange(2**MEMORY)
    previous = (2 * states[:, None] + np.arange(2)) % 2**MEMORY
    register = (states[:, None] >> (MEMORY - 1) << MEMORY) | previous
    taps = (register[..., None] >> np.arange(MEMORY, -1, -1)) & 1
    return previous, 2.0 * (taps @ _TAPS.T % 2) - 1.0


def score(x: np.ndarray, codeword: np.ndarray) -> float:
    """Returns the statistic T, equation (2), of chips x [n] and signs s_i c_i [n] (`codeword`); 0
    if all chips are 0.
    """
    norm = float(np.sqrt((x**2).sum()))
    return float((x * codeword).sum() / norm) if norm > 0 else 0.0


def threshold(share: float, false_alarm: float = FALSE_ALARM) -> float:
    """Returns the threshold t_h, equation (4), of a hypothesis that has the share w_h of the
    allowed false alarms, of probability p = `false_alarm` (default FALSE_ALARM).
    """
    return float(np.sqrt(2.0 * np.log(2.0**BITS / (false_alarm * share))))
