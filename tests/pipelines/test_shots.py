"""Clips of several shots: each shot goes through the tokenizers as a video of its own."""

import numpy as np
import pytest
from toy_formats import STORY

from sora_jax.clip import Clip
from sora_jax.errors import UserError
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.pipelines.film import Film
from sora_jax.pipelines.request import Request

SAMPLER = SamplerConfig(steps=2)


@pytest.fixture(scope="module")
def story(pipeline):
    return pipeline.in_format(shots=2)


@pytest.fixture(scope="module")
def clip():
    rng = np.random.default_rng(0)
    frames = rng.random((STORY.frames, 16, 16, 3), np.float32)
    return Clip(frames, rng.normal(0, 0.1, STORY.samples).astype(np.float32), STORY.fps)


def shots_of(x, lengths):
    return np.split(x, np.cumsum(lengths)[:-1])


def test_each_shot_is_encoded_and_decoded_for_itself(pipeline, story, clip):
    latents = story.encode(clip)
    assert len(latents["video"]) == STORY.video_latents == 3 + 2
    decoded = story.decode(latents)
    assert decoded.frames.shape == clip.frames.shape and len(decoded.samples) == STORY.samples
    parts = zip(
        shots_of(clip.frames, STORY.shots),
        shots_of(latents["video"], STORY.shot_latents),
        shots_of(decoded.frames, STORY.shots),
        strict=True,
    )
    for frames, video, shown in parts:
        alone = pipeline.encode(Clip(frames, clip.samples, clip.fps))
        np.testing.assert_allclose(video, alone["video"], atol=1e-5)
        alone = pipeline.decode({"video": video, "audio": latents["audio"]})
        np.testing.assert_allclose(shown, alone.frames, atol=1e-5)
    # the second shot does not know the first
    other = Clip(clip.frames.copy(), clip.samples, clip.fps)
    other.frames[: STORY.shots[0]] = 0.5
    np.testing.assert_array_equal(story.encode(other)["video"][3:], latents["video"][3:])


def test_a_story_is_generated_and_its_video_gets_audio(story, clip):
    made = story.generate(Request("a red ball is dropped", sampler=SAMPLER))
    assert made.format == STORY and made.frames.shape == clip.frames.shape
    np.testing.assert_allclose(made.frames, story.decode(made.latents).frames, atol=1e-5)
    for video in (clip.frames, Film(clip.frames, STORY.seconds)):
        heard = story.generate(Request(given_video=video, sampler=SAMPLER))
        assert len(heard.samples) == STORY.samples
    still = story.generate(Request(first_frame=clip.frames[:9], sampler=SAMPLER))
    np.testing.assert_allclose(
        still.latents["video"][:3], story.encode(clip)["video"][:3], atol=1e-5
    )


def test_a_story_is_neither_continued_nor_cut_into_windows(pipeline, story, clip):
    made = story.generate(Request("a red ball is dropped", sampler=SAMPLER))
    for pipe in (pipeline, story):
        with pytest.raises(UserError, match="continued is for clips of one shot"):
            pipe.generate(Request(continued=made, sampler=SAMPLER))
    with pytest.raises(UserError, match=r"2 shots, .* give a video of 14 frames"):
        story.generate(Request(given_video=np.zeros((30, 16, 16, 3)), sampler=SAMPLER))
    with pytest.raises(UserError, match=r"13 first frames: give 1 \+ 4k, at most 9"):
        story.generate(Request(first_frame=np.zeros((13, 16, 16, 3)), sampler=SAMPLER))
