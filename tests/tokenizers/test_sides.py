"""Tokenizers take frames of any even sides: what padding adds is in no loss and no result."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from sora_jax.evaluation.round_trip import boxes, psnr, videos_through
from sora_jax.modality import FORMATS
from sora_jax.oracles.examples import render_takes
from sora_jax.tokenizers.video import VideoTokenizer, VideoTokenizerConfig, video_loss
from sora_jax.worlds.playhouse.draw import draw


@pytest.mark.parametrize("sides", [(16, 20), (18, 16)])
def test_loss_and_round_trip_of_odd_sides(sides):
    tokenizer = VideoTokenizer(VideoTokenizerConfig(8, 16, 1, 1, 1, 1), rngs=nnx.Rngs(0))
    format = dataclasses.replace(FORMATS["nano"], frames=5, height=sides[0], width=sides[1])
    clips = render_takes([draw("val", 0)], format)
    loss, _ = video_loss(tokenizer, np.stack([c.frames for c in clips]), jax.random.key(0))
    assert np.isfinite(loss)
    (decoded,) = videos_through(tokenizer, clips)
    assert decoded.frames.shape == clips[0].frames.shape == (5, *sides, 3)
    mask = boxes(decoded)
    assert mask.shape == (5, *sides) and 0 < mask.sum() < mask.size
    assert psnr(decoded, mask) > 0
    square = boxes(
        render_takes([draw("val", 0)], dataclasses.replace(format, height=16, width=16))[0]
    )
    top, left = (sides[0] - 16) // 2, (sides[1] - 16) // 2
    np.testing.assert_array_equal(mask[:, top : top + 16, left : left + 16], square)
