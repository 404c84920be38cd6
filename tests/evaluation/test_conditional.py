"""What a model is given in the suites `conditional`: parts of the scene's own render, in a clip of
the scene's length.
"""

import dataclasses

import numpy as np
import pytest

import sora_jax
from sora_jax.evaluation import metrics, suites
from sora_jax.evaluation.measuring import request_of
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.oracles.reading import Reading

SAMPLER = SamplerConfig(steps=1)
# frames of the scene that come back as they are
KEPT = {"continued": range(9), "preceded": range(8, 17), "between": [*range(5), *range(12, 17)]}


@pytest.fixture(scope="module")
def nano():
    return sora_jax.load_pipeline()


@pytest.mark.parametrize("ask", suites.FROM_PICTURES + suites.FROM_MODALITY)
def test_parts_of_the_render_are_given(nano, clips, ask):
    clip, other = clips[:2]
    request = request_of(clip, ask, 3, SAMPLER, nano, other)
    assert request.prompt == clip.take.captions[0] and request.task == ask
    made = nano.generate(request)
    assert len(made.frames) == len(clip.frames) and len(made.samples) == len(clip.samples)
    if ask in KEPT:
        kept = np.isin(np.arange(17), KEPT[ask])
        np.testing.assert_array_equal(made.frames[kept], clip.frames[kept])
        assert np.abs(made.frames[~kept] - clip.frames[~kept]).max() > 0.05
    if ask == "remixed":
        np.testing.assert_array_equal(request.remixed.frames, other.frames)
    if ask == "given_audio":
        np.testing.assert_array_equal(made.samples, clip.samples)
    if ask == "given_video":
        np.testing.assert_array_equal(made.frames, clip.frames)


def test_a_clip_that_returns_has_no_seam(clips):
    """The change from its last frame to its first is like every other."""
    clip = clips[0]
    there_and_back = np.concatenate([clip.frames, clip.frames[-2:0:-1]])
    loop = dataclasses.replace(clip, frames=there_and_back)
    reading = Reading(clip)
    assert metrics.seam(loop, reading) < 2 < metrics.seam(clip, reading)
    still = dataclasses.replace(clip, frames=np.ones_like(clip.frames))
    assert metrics.seam(still, reading) == "nothing moves"


def test_a_loop_is_asked_for(nano, clips):
    request = request_of(clips[0], "looped", 3, SAMPLER, nano)
    assert request.task == "loop" and request.prompt == clips[0].take.captions[0]
    assert len(nano.generate(request).frames) > len(clips[0].frames)


def test_a_part_may_ask_otherwise_than_its_suite():
    for name, asks in (
        ("conditional", suites.FROM_PICTURES),
        ("conditional_sync", suites.FROM_MODALITY),
    ):
        suite = suites.SUITES[name]
        assert [part.ask for part in suite.parts.values()] == list(asks) == list(suite.parts)
        assert suite.ask not in asks
