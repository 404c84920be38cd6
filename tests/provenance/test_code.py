"""The payload code and the threshold: free distance, decoding, and the bound on false alarms."""

import numpy as np
import pytest

from sora_jax.provenance import code

N = 832


def test_a_payload_comes_back_from_its_codeword():
    for payload in (0, 1, 0xDEADBEEF, 2**32 - 1):
        assert code.decode(code.encode(payload)) == payload


def test_codewords_are_those_of_the_polynomials():
    """A single bit leaves the generators' taps in the coded bits, equation (1)."""
    bits = (code.encode(1).reshape(code.BITS, code.RATE) > 0).astype(int)
    taps = [[g >> (8 - t) & 1 for g in (0o463, 0o535, 0o733, 0o745)] for t in range(9)]
    np.testing.assert_array_equal(bits[:9], taps)
    assert not bits[9:].any()


def test_the_free_distance_is_24():
    lightest = min(int((code.encode(u) > 0).sum()) for u in range(1, 4096))
    assert lightest == 24


def test_noise_that_flips_a_tenth_of_the_coded_bits_is_corrected():
    rng = np.random.default_rng(0)
    for _ in range(20):
        payload = int(rng.integers(2**32))
        soft = code.encode(payload) * np.where(rng.random(code.CODED) < 0.1, -1.0, 1.0)
        assert code.decode(soft) == payload


def test_a_shift_around_the_circle_is_a_shift_of_the_payload():
    payload = 0x12345678
    turned = (payload << 5 | payload >> 27) % 2**32
    np.testing.assert_array_equal(code.encode(turned), np.roll(code.encode(payload), 5 * 4))


def test_each_coded_bit_has_equally_many_chips_and_a_fifth_are_pilots():
    keyed = code.chips(b"key", "picture", N)
    counts = np.bincount(keyed.bits[keyed.bits >= 0], minlength=code.CODED)
    assert (counts == 5).all() and (keyed.bits < 0).sum() == N - 640 >= N / 5


def test_chips_depend_on_the_key_and_on_the_mark():
    chips = [code.chips(*args, N).signs for args in ((b"a", "x"), (b"b", "x"), (b"a", "y"))]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.mean(chips[first] * chips[second])) < 0.2
    np.testing.assert_array_equal(chips[0], code.chips(b"a", "x", N).signs)


def test_the_bound_holds_where_chips_are_as_uneven_as_they_can_be():
    """Equation (3), for keys drawn at random and chips of very different size."""
    x = np.array([4.0, 3.0, 2.0, 1.0, 1.0, 0.5])
    signs = np.array(np.meshgrid(*[[-1.0, 1.0]] * len(x))).reshape(len(x), -1)
    scores = np.array([code.score(x, s) for s in signs.T])
    for t in np.linspace(0.1, 2.6, 26):
        assert (scores >= t).mean() <= np.exp(-(t**2) / 2)


def test_thresholds_spend_the_false_alarms_that_are_allowed():
    """Equation (4): 2^32 codewords at each hypothesis, summed, give p at most."""
    for share in (0.5, 0.5 / 4096):
        t = code.threshold(share, 1e-6)
        assert 2.0**32 * np.exp(-(t**2) / 2) == pytest.approx(1e-6 * share)


def test_noise_reaches_no_threshold_and_comes_near_it():
    """The best of 2^32 codewords scores far above one codeword, and below the threshold."""
    rng = np.random.default_rng(1)
    keyed = code.chips(b"key", "picture", N)
    scores = [keyed.best(rng.normal(size=N))[1] for _ in range(30)]
    assert 5.0 < max(scores) < code.threshold(0.5)
