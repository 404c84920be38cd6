"""A model makes clips in every format that it was trained on, and says which those are."""

import numpy as np
import pytest
from toy_formats import WIDE

from sora_jax.clip import Clip
from sora_jax.errors import UserError
from sora_jax.flow.guidance import Guidance
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.mp4 import write_mp4

SAMPLER = SamplerConfig(steps=2, guidance=Guidance(text=1.0))
PROMPT = "a red ball"


@pytest.mark.parametrize("asked", [{"width": 20}, {"fps": 12}, {"height": 12, "seconds": 1.0}])
def test_a_format_is_chosen_by_what_is_asked(pipeline, asked):
    assert pipeline.in_format(**asked).format == WIDE
    assert pipeline.in_format().format == pipeline.format != WIDE


@pytest.mark.parametrize(
    "asked", [{"width": 64}, {"fps": 24}, {"seconds": 3.0}, {"width": 16, "fps": 12}]
)
def test_formats_that_it_never_learned_are_refused(pipeline, asked):
    with pytest.raises(UserError, match="makes 17 frames of 16 x 16 at 8/s; 13 frames of 20 x 12"):
        pipeline.in_format(**asked)
    with pytest.raises(UserError, match="give an even number"):
        pipeline.in_format(width=15)


def test_frames_have_the_sides_of_the_format(pipeline, tmp_path):
    wide = pipeline.in_format(width=20)
    clip = wide(PROMPT, sampler=SAMPLER, progress=False)
    assert clip.frames.shape == (13, 12, 20, 3) and clip.fps == 12
    assert len(clip.samples) == WIDE.samples and clip.format == WIDE
    assert clip.latents["video"].shape[:3] == (4, 2, 3)
    longer = wide(continued=clip, seconds=1.0, sampler=SAMPLER, progress=False)
    assert longer.frames.shape == (25, 12, 20, 3)
    np.testing.assert_array_equal(longer.frames[:13], clip.frames)
    frames = np.random.default_rng(0).integers(0, 255, (13, 24, 40, 3), np.uint8)
    write_mp4(tmp_path / "silent.mp4", Clip(frames, None, 12))
    given = wide(given_video=tmp_path / "silent.mp4", sampler=SAMPLER, progress=False)
    assert given.frames.shape == (13, 12, 20, 3)
    assert wide.decode(wide.encode(clip)).frames.shape == (13, 12, 20, 3)
