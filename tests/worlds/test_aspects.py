"""Frames of every aspect show the square view in their middle, and more of the world beside it."""

import dataclasses

import numpy as np
import pytest

from sora_jax.modality import FORMATS
from sora_jax.oracles.reading import Reading
from sora_jax.worlds.playhouse.draw import draw
from sora_jax.worlds.playhouse.takes import render


@pytest.mark.parametrize("family", ["room", "court", "film", "occlude", "story_2"])
@pytest.mark.parametrize(("height", "width"), [(64, 96), (80, 64)])
def test_the_centre_is_the_square(family, height, width):
    take = draw("val", 1, family=family)
    square = FORMATS["story2"] if family == "story_2" else FORMATS["nano"]
    other = dataclasses.replace(square, height=height, width=width)
    frames, expected = render(take, other).frames, render(take, square).frames
    assert frames.shape[1:3] == (height, width)
    top, left = (height - 64) // 2, (width - 64) // 2
    middle = frames[:, top : top + 64, left : left + 64]
    assert np.abs(middle - expected).max() <= 1 / 255
    if left:  # above and below, the cinematic style has its black bars
        assert frames[:, :, :left].max() > 0.05


def test_oracles_read_the_square():
    take = draw("val", 0)
    square = render(take, FORMATS["nano"])
    wide = render(take, dataclasses.replace(FORMATS["nano"], width=96))
    assert Reading(wide).facts == Reading(square).facts == take.facts
    np.testing.assert_array_equal(wide.samples, square.samples)
