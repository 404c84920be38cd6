"""The one way from a request to a clip: what is given stays, what is asked for arrives, and an
extension keeps its past.
"""

import dataclasses
import math

import numpy as np
import pytest

from sora_jax.clip import Clip
from sora_jax.errors import UserError
from sora_jax.flow.guidance import Guidance
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.pipelines import windows
from sora_jax.pipelines.request import Request
from sora_jax.pipelines.windows import SEAM

SAMPLER = SamplerConfig(steps=3)
PROMPT = "a large red ball is dropped and bounces twice"


def request(prompt=PROMPT, **fields):
    return Request(prompt, sampler=SAMPLER, **fields)


@pytest.fixture(scope="module")
def clip(pipeline):
    return pipeline.generate(request())


def pictures(format, seed=0):
    return np.random.default_rng(seed).random(
        (format.frames, format.size, format.size, 3), np.float32
    )


def sound(format):
    return np.random.default_rng(1).normal(0, 0.2, format.samples).astype(np.float32).clip(-1, 1)


def test_a_prompt_becomes_a_clip(pipeline, clip):
    format, steps = pipeline.format, []
    again = pipeline.generate(request(), lambda done, total: steps.append((done, total)))
    assert clip.frames.shape == (
        format.frames,
        format.size,
        format.size,
        3,
    ) and clip.samples.shape == (format.samples,)
    assert (
        clip.frames.min() >= 0
        and clip.frames.max() <= 1
        and clip.frames.std() > 0.01
        and np.isfinite(clip.samples).all()
    )
    assert steps == [(1, 3), (2, 3), (3, 3)]
    np.testing.assert_array_equal(again.frames, clip.frames)
    assert set(clip.timings) == {"encode", "sample", "decode"}
    assert clip.provenance["sampler"]["shift"] == 1.5  # that of the model's training
    assert clip.provenance["prompt"] == PROMPT and clip.provenance["seed"] == 0
    assert all(
        len(clip.provenance[name]) == 12 for name in ("model", "video_tokenizer", "audio_tokenizer")
    )


def test_seed_prompt_and_guidance_matter(pipeline, clip):
    strong = dataclasses.replace(SAMPLER, guidance=Guidance(4.0))
    texts = [request("a small blue ball rolls to the left"), request(negative_prompt="blue")]
    others = [request(seed=1), *texts, Request(PROMPT, sampler=strong)]
    for other in others:
        assert (
            np.abs(pipeline.generate(other).latents["video"] - clip.latents["video"]).max() > 1e-3
        )


def test_a_batch_gives_the_same_clips(pipeline, clip):
    mixed = [
        request("a small blue ball", seed=3),
        request(),
        request(given_audio=sound(pipeline.format)),
    ]
    batch = pipeline.generate_batch(mixed)
    np.testing.assert_allclose(batch[1].latents["video"], clip.latents["video"], atol=1e-4)
    np.testing.assert_allclose(batch[1].frames, clip.frames, atol=1e-4)
    np.testing.assert_array_equal(batch[2].samples, sound(pipeline.format))


def test_what_is_given_stays(pipeline):
    format = pipeline.format
    frames, samples = pictures(format), sound(format)
    latents = pipeline.encode(Clip(frames, samples))
    made = pipeline.generate(request(None, given_video=frames))
    np.testing.assert_array_equal(made.frames, frames)
    np.testing.assert_array_equal(made.latents["video"], latents["video"])
    assert np.abs(made.latents["audio"] - latents["audio"]).max() > 1e-2
    made = pipeline.generate(request(None, given_audio=samples))
    np.testing.assert_array_equal(made.samples, samples)
    np.testing.assert_array_equal(made.latents["audio"], latents["audio"])
    assert np.abs(made.latents["video"] - latents["video"]).max() > 1e-2
    made = pipeline.generate(request(first_frame=frames[0]))
    np.testing.assert_allclose(made.latents["video"][0], latents["video"][0], atol=1e-5)
    assert np.abs(made.latents["video"][1:] - latents["video"][1:]).max() > 1e-2


def test_first_frames_of_whole_latents_and_nothing_at_all(pipeline):
    frames = pictures(pipeline.format)
    made = pipeline.generate(request(None, first_frame=frames[:5]))
    np.testing.assert_allclose(
        made.latents["video"][:2],
        pipeline.encode(Clip(frames[:5], sound(pipeline.format)))["video"],
        atol=1e-5,
    )
    free = pipeline.generate(request(None, unconditional=True))
    assert (
        free.provenance["task"] == "nothing"
        and np.abs(free.latents["video"] - made.latents["video"]).max() > 1e-2
    )


def test_what_is_given_is_heeded(pipeline):
    format = pipeline.format
    a, b = (
        pipeline.generate(request(None, given_video=pictures(format, seed))).latents["audio"]
        for seed in (0, 1)
    )
    assert np.abs(a - b).max() > 1e-4  # another picture, the same noise: another sound


def test_an_extension_keeps_its_past(pipeline, clip):
    longer = pipeline.generate(Request(continued=clip, seconds=2.2, seed=5, sampler=SAMPLER))
    format = pipeline.format
    # 2.2 s = 17.6 frames: five latents
    assert len(longer.frames) == longer.format.frames == format.frames + 20
    assert len(longer.samples) == longer.format.samples
    np.testing.assert_array_equal(longer.latents["video"][:5], clip.latents["video"])
    np.testing.assert_array_equal(longer.latents["audio"][:53], clip.latents["audio"][:53])
    np.testing.assert_array_equal(longer.frames[:17], clip.frames)
    np.testing.assert_array_equal(longer.samples[: format.samples - SEAM], clip.samples[:-SEAM])
    # The decoder went on from its cache: the new frames are those of the whole stream decoded at
    # once.
    whole = np.asarray(pipeline.video_tokenizer.decode(longer.latents["video"][None]))[0]
    np.testing.assert_allclose(longer.frames, whole, atol=1e-4)
    assert longer.provenance["continued_from"]["prompt"] == PROMPT
    without = pipeline.generate(
        Request(
            continued=dataclasses.replace(clip, cache=None), seconds=2.2, seed=5, sampler=SAMPLER
        )
    )
    np.testing.assert_allclose(without.frames, longer.frames, atol=1e-4)


def test_an_extension_counts_its_windows(pipeline, clip):
    steps = []
    pipeline.generate(
        Request(continued=clip, seconds=2.0, sampler=SAMPLER),
        lambda done, total: steps.append((done, total)),
    )
    # two new latents to a window: 2 s are two windows
    assert windows.next_window(5, pipeline.format).video_start == 2
    assert steps[-1] == (6, 6) and len(steps) == 6


def test_requests_that_cannot_be_met(pipeline, clip):
    frames, samples = pictures(pipeline.format), sound(pipeline.format)
    for bad, words in (
        (request("  "), "prompt is empty"),
        (request(None), "the request is empty"),
        (request(given_video=frames, given_audio=samples), "nothing is left to generate"),
        (request(given_video=frames, first_frame=frames[0]), "cannot be combined"),
        (request(continued=clip, given_audio=samples), "cannot be combined"),
        (request(continued=clip, seconds=0), "more than 0 and at most 600 seconds"),
        (request(continued=clip, seconds=math.inf), "at most 600"),
        (request(continued=clip, seconds=math.nan), "at most 600"),
        (request(continued=clip, seconds=1e9), "at most 600"),
        (
            Request(PROMPT, sampler=SamplerConfig(steps=1, guidance=Guidance(math.nan))),
            "guidance text=nan is not a finite",
        ),
        (
            Request(PROMPT, sampler=SamplerConfig(steps=1, guidance=Guidance(audio=math.inf))),
            "guidance audio=inf is not a finite",
        ),
    ):
        with pytest.raises(UserError, match=words):
            pipeline.generate(bad)
    with pytest.raises(UserError, match="first_frame has the shape"):
        pipeline.generate(request(first_frame=frames[0, :8]))
    with pytest.raises(UserError, match=r"3 first frames: give 1 \+ 4k"):
        pipeline.generate(request(first_frame=frames[:3]))


def test_unknown_words_are_named(pipeline):
    clip = pipeline.generate(request("a large zebra, thrown to the Moon", negative_prompt="blurry"))
    assert (
        len(clip.notes) == 2
        and clip.notes[0].endswith(": zebra, moon")
        and clip.notes[1].endswith(": blurry")
    )
    assert "cut after 64 words" in pipeline.notes(request("red " * 65))[0]
