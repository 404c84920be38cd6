"""What leads to a clip: clips stay as they are, the new part fits between them, and is as long as
asked.
"""

import dataclasses

import numpy as np
import pytest

from sora_jax.errors import UserError
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.modality import FORMATS, ClipFormat
from sora_jax.pipelines import synthesis, windows
from sora_jax.pipelines.bridges import plan, window_count
from sora_jax.pipelines.request import Request

SAMPLER = SamplerConfig(steps=2)
NANO, FAST = FORMATS["nano"], ClipFormat(frames=33, fps=16)


def request(prompt="a large red ball is dropped", **fields):
    return Request(prompt, sampler=SAMPLER, **fields)


@pytest.fixture(scope="module")
def clips(pipeline):
    return [pipeline.generate(request(seed=seed)) for seed in (1, 2)]


@pytest.mark.parametrize("format", [NANO, FAST])
@pytest.mark.parametrize("first", [0, 1, 2, 5, 30])
@pytest.mark.parametrize("second", [2, 3, 9])
@pytest.mark.parametrize("wanted", [1, 2, 4, 11])
def test_a_plan_fills_windows_and_makes_what_is_wanted(format, first, second, wanted):
    extra, bridges = plan(first, second, wanted, format)
    assert len(bridges) == 1 if first else extra == 0
    made = extra + sum(one.made for one in bridges)
    assert wanted <= made < wanted + format.video_latents
    if min(first, second) > format.video_latents:
        assert made == wanted
    known = first + extra
    for one in bridges:
        slots = one.before + one.made + one.after
        assert slots == format.video_latents - 1 and one.made >= 1 and one.after >= 1
        assert one.before <= max(0, known - 1) and one.after <= second - 1
        second += one.made


@pytest.mark.parametrize("seconds", [0.9, 3.0])
def test_two_clips_are_joined(pipeline, clips, seconds):
    asked, steps = request(between=tuple(clips), seconds=seconds), []
    whole = pipeline.generate(asked, lambda done, total: steps.append((done, total)))
    first, second = clips
    count = len(whole.frames)
    np.testing.assert_array_equal(whole.frames[:17], first.frames)
    np.testing.assert_array_equal(whole.frames[-17:], second.frames)
    made = whole.frames[17:-17]
    assert len(made) == 4 * -(-seconds * 8 // 4) - 1 and made.std() > 0.01
    # the same latents and frames: whatever is continued starts from them
    assert whole.format.frames == count == windows.stream_frames(len(whole.latents["video"]), NANO)
    np.testing.assert_array_equal(whole.latents["video"][:5], first.latents["video"])
    np.testing.assert_array_equal(whole.latents["video"][-4:], second.latents["video"][1:])
    # samples stay but for the seams
    assert len(whole.samples) == whole.format.samples
    end, start = len(first.samples), round((count - 17) / 8 * 16000)
    np.testing.assert_array_equal(
        whole.samples[: end - windows.SEAM], first.samples[: end - windows.SEAM]
    )
    np.testing.assert_array_equal(
        whole.samples[start + windows.SEAM :], second.samples[windows.SEAM :]
    )
    assert steps[-1] == (len(steps), len(steps)) == (2 * window_count(asked, pipeline.format),) * 2
    assert whole.provenance["sources"] == [first.provenance, second.provenance]
    assert whole.verdict["met"] is None and "added to a clip" in whole.verdict["reason"]


def test_both_ends_are_given_on_their_clock(pipeline, clips, monkeypatch):
    """The window is that of a clip that shows both: latents and samples of both at their times."""
    seen, sample = {}, synthesis.sample_latents

    def spy(pipeline, requests, keys, start, given, *rest):
        seen.update(start=start, given=given)
        return sample(pipeline, requests, keys, start, given, *rest)

    monkeypatch.setattr(synthesis, "sample_latents", spy)
    first, second = clips
    pipeline.generate(request(between=(first, second), seconds=1.0))
    level = synthesis.HISTORY_LEVEL
    np.testing.assert_allclose(seen["start"]["video"][0], [1, level, 1, 1, level])
    np.testing.assert_array_equal(seen["given"]["video"][0, 1], first.latents["video"][4])
    np.testing.assert_array_equal(seen["given"]["video"][0, 4], second.latents["video"][1])
    # the window starts with frame 12 of the first; frame 12 of the window is the second's first
    known = seen["start"]["audio"][0] < 1
    times = NANO.latent_times()["audio"]
    assert known[times < (17 - 12) / 8 - 0.09].all() and known[times > 12 / 8 + 0.09].all()
    assert not known[(times > (17 - 12) / 8 - 0.02) & (times < 12 / 8 + 0.02)].any()
    sound = np.zeros(NANO.samples, np.float32)
    sound[: 5 * 2000] = first.samples[24_000:]
    sound[24_000:] = second.samples[:10_000]
    expected = np.asarray(pipeline.audio_tokenizer.encode(sound[None]))[0]
    np.testing.assert_allclose(seen["given"]["audio"][0][known], expected[known], atol=1e-4)


@pytest.mark.parametrize("seconds", [1.0, 2.0])
def test_a_clip_is_extended_backward(pipeline, clips, seconds):
    (clip, _), count = clips, round(seconds * 8)
    whole = pipeline.generate(request(preceded=clip, seconds=seconds))
    assert whole.frames.shape[0] == 17 + count == whole.format.frames
    np.testing.assert_array_equal(whole.frames[count:], clip.frames)
    np.testing.assert_array_equal(whole.latents["video"][-4:], clip.latents["video"][1:])
    np.testing.assert_array_equal(
        whole.samples[count * 2000 + windows.SEAM :], clip.samples[windows.SEAM :]
    )
    assert whole.frames[:count].std() > 0.01
    longer = pipeline.generate(request(continued=whole, seconds=0.5))
    np.testing.assert_array_equal(longer.frames[: 17 + count], whole.frames)


def test_a_loop_leads_back_to_its_start(pipeline, clips, tmp_path):
    plain = pipeline.generate(request(seed=3))
    loop = pipeline.generate(request(seed=3, loop=True, seconds=1.0))
    # 17 frames, and 8 latents' frames of which the last is the first of the next turn
    assert len(loop.frames) == 17 + 7 and len(loop.samples) == 24 * 2000
    np.testing.assert_array_equal(loop.frames[:17], plain.frames)
    np.testing.assert_array_equal(
        loop.samples[windows.SEAM : 34_000 - windows.SEAM],
        plain.samples[windows.SEAM : 34_000 - windows.SEAM],
    )
    # the sound runs on from the last sample to the first
    turn = np.concatenate([loop.samples[-400:], loop.samples[:400]])
    steps = np.abs(np.diff(turn))
    assert steps[399] <= np.percentile(steps, 99) * 2
    assert loop.provenance["task"] == "loop" and loop.verdict["met"] is None
    with pytest.raises(UserError, match="is a loop, which has no end"):
        pipeline.generate(request(continued=loop))
    path = loop.save(tmp_path / "loop.mp4")
    again = pipeline(continued=str(path), seconds=0.5, steps=2, progress=False)
    assert any("is a loop" in note for note in again.notes)


def test_a_loop_from_a_picture_begins_with_it(pipeline, clips):
    picture = clips[0].frames[0]
    loop = pipeline.generate(request(loop=True, first_frame=picture, seconds=3.0))
    plain = pipeline.generate(request(first_frame=picture))
    np.testing.assert_array_equal(loop.frames[:17], plain.frames)
    assert len(loop.frames) == 17 + 23


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (lambda a, b: {"between": a}, "between needs two clips"),
        (lambda a, b: {"between": (a, b.frames)}, "give a clip that a pipeline made"),
        (lambda a, b: {"between": (a, b), "continued": a}, "cannot be combined"),
        (lambda a, b: {"preceded": a, "given_audio": a.samples}, "cannot be combined"),
        (lambda a, b: {"preceded": a, "loop": True}, "leave out the rest"),
        (lambda a, b: {"preceded": a, "seconds": -1.0}, "more than 0 and at most"),
        (lambda a, b: {"seconds": 3.0}, "give continued, preceded, between or loop"),
        (lambda a, b: {"loop": True, "given_video": a.frames}, "leave out the rest"),
    ],
)
def test_what_cannot_be_is_refused(pipeline, clips, fields, message):
    with pytest.raises(UserError, match=message):
        pipeline.generate(request(**fields(*clips)))


def test_clips_that_are_too_short_are_refused(pipeline, clips):
    frame = dataclasses.replace(
        clips[0],
        frames=clips[0].frames[:1],
        format=dataclasses.replace(clips[0].format, frames=1),
        latents={m: x[:1] for m, x in clips[0].latents.items()},
    )
    with pytest.raises(UserError, match="a clip of one frame cannot overlap; give at least 5"):
        pipeline.generate(request(preceded=frame))
