"""Mixes audio of any channels to one.

The weights are those of ITU-R BS.775 for a mix to one channel, times 0.7071, so that a centre keeps
its level whether a film has two channels or six:

    left, right 0.5   centre 0.7071   every surround 0.3536   LFE (low frequencies) 0            (1)

Channels without positions, such as those of a recorder, have equal weights that sum to 1.
"""

from collections.abc import Sequence

import numpy as np

CENTRE = ("FC",)
LEFT_AND_RIGHT = ("FL", "FR", "FLC", "FRC", "DL", "DR", "WL", "WR")
LOW_FREQUENCY = ("LFE", "LFE2")
POSITIONS = (*CENTRE, *LEFT_AND_RIGHT, *LOW_FREQUENCY, "BL", "BR", "BC", "SL", "SR")
SIDE = ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR")
# Assumed names of the channels of a file that does not name them, by the number of channels.
ASSUMED = {1: ("FC",), 2: SIDE[:2], 5: ("FL", "FR", "FC", "BL", "BR"), 6: SIDE[:6]} | {
    7: ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    8: SIDE,
}
# A mix has cancelled out if its rms is below this fraction (-10 dB) of that of unrelated channels.
CANCELLED = 0.3


def weights(channels: Sequence[str], count: int) -> np.ndarray:
    """Returns the weight of each channel in a mix to one, by ITU-R BS.775, float32 [count].

    Args:
        channels: their names, such as "FL"; () for those that a file of `count` channels usually
            has. Names without a known position give equal weights.
        count: the number of channels.
    """
    names = channels or ASSUMED.get(count, ())
    placed = [n in POSITIONS or n.startswith(("T", "B", "S", "L")) for n in names]
    if count == 1 or len(names) != count or not all(placed):
        return np.full(count, 1.0 / count, np.float32)

    def weight(name: str) -> float:
        if name in LOW_FREQUENCY:
            return 0.0
        if name in CENTRE:
            return 0.5**0.5
        return 0.5 if name in LEFT_AND_RIGHT else 0.5**1.5

    return np.array([weight(name) for name in names], np.float32)


def mix(samples: np.ndarray, channels: Sequence[str] = ()) -> tuple[np.ndarray, list[str]]:
    """Mixes the channels of audio to one.

    If the channels cancel each other, as in antiphase, the loudest alone is kept.

    Args:
        samples: float32 [S, channels].
        channels: names of the channels. Default (): those that a file with their number usually
            has.

    Returns:
        The mix, float32 [S], which may exceed 1, and notes on what was done.
    """
    count = samples.shape[1]
    if count == 1:
        return samples[:, 0], []
    notes = [f"audio mixed from {count} channels to one"]
    weight = weights(channels, count)
    if not weight.all():
        notes[0] += ", without the low-frequency channel"
    # one channel at a time: a product of both would be as large as the samples
    power = np.array([np.mean(np.square(samples[:, i], dtype=np.float64)) for i in range(count)])
    mixed = np.zeros(len(samples), np.float32)
    for i in np.flatnonzero(weight):
        mixed += weight[i] * samples[:, i]
    unrelated = np.sum(weight.astype(np.float64) ** 2 * power) if len(samples) else 0.0
    if unrelated > 0 and np.mean(np.square(mixed, dtype=np.float64)) < CANCELLED**2 * unrelated:
        loudest = int(np.argmax(power * (weight > 0)))
        return samples[:, loudest], [
            f"the {count} channels of its audio cancel each other in a mix (antiphase): channel "
            f"{loudest + 1} alone is kept"
        ]
    return mixed, notes


def finite(samples: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Returns samples [S, ...] with silence instead of NaN and infinity, and notes on the
    change.
    """
    good = np.isfinite(samples)
    if good.all():
        return samples, []
    count = good.size - np.count_nonzero(good)
    note = f"{count} audio samples that are not finite numbers silenced"
    return np.where(good, samples, np.float32(0)), [note]


def within_range(samples: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Returns samples [S] in [-1, 1], and notes on the change.

    If their peak is above 1.06 (0.5 dB), all samples are scaled down. A smaller excess is clipped:
    decoders overshoot 1 by a few per cent, and clipping that is not audible.
    """
    peak = float(np.abs(samples).max(initial=0.0))
    if peak > 1.06:  # 0.5 dB
        lowered = f"audio lowered by {20 * np.log10(peak):.1f} dB, or it would clip"
        return samples / np.float32(peak), [lowered]
    return np.clip(samples, -1.0, 1.0), []
