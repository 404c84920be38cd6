"""A model makes clips in every format that it was trained on, and says which those are."""

import numpy as np
import pytest
from toy_formats import WIDE

from sora_jax import media
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


def film(path, sides=(24, 40), fps=12, channels=1, rate=16_000):
    """Writes a file of 1.5 s of noise."""
    import av

    random, (height, width) = np.random.default_rng(0), sides
    frames = random.integers(0, 255, (round(1.5 * fps), height, width, 3), np.uint8)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=fps)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        layout = {1: "mono", 2: "stereo"}[channels]
        audio = container.add_stream("aac", rate=rate, layout=layout)
        for image in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode())
        samples = random.normal(0, 0.1, (channels, round(1.5 * rate))).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
        frame.sample_rate = rate
        container.mux(audio.encode(frame))
        container.mux(audio.encode())
    return path


def test_a_clip_is_continued_in_its_own_format(pipeline, tmp_path):
    wide = pipeline.in_format(width=20)(PROMPT, sampler=SAMPLER, progress=False)
    path = wide.save(tmp_path / "wide.mp4")
    for old in (path, wide):
        longer = pipeline(continued=old, seconds=1.0, sampler=SAMPLER, progress=False)
        assert longer.format.width == 20 and longer.frames.shape == (25, 12, 20, 3)
        np.testing.assert_allclose(longer.frames[:13], wide.frames, atol=1 / 255)
        assert not [note for note in longer.notes if "encoded" in note]
    assert pipeline.format.width == 16  # of this call alone
    # without its latents, from the picture of the mp4
    (tmp_path / "wide.latents.npz").unlink()
    assert pipeline.in_format_of(path).format == WIDE


def test_a_format_that_is_asked_for_wins(pipeline, tmp_path):
    wide = pipeline.in_format(width=20)(PROMPT, sampler=SAMPLER, progress=False)
    path = wide.save(tmp_path / "wide.mp4")
    for asked in ({"width": 16}, {"fps": 8}, {"height": 16, "width": 16, "fps": 8}):
        assert pipeline.in_format(**asked).in_format_of(path).format == pipeline.format
    assert pipeline.in_format(fps=12).in_format_of(path).format == WIDE
    assert pipeline.in_format(width=16, fps=0).in_format_of(path).format == pipeline.format
    small = pipeline.in_format(width=16)
    longer = small(continued=path, seconds=0.5, sampler=SAMPLER, progress=False)
    assert longer.frames.shape[1:] == (16, 16, 3)
    assert longer.notes[0].endswith("was encoded: the latents beside it have another format")


def test_a_foreign_file_says_what_is_not_kept(pipeline, tmp_path):
    def notes(path):
        longer = pipeline(continued=path, seconds=0.5, sampler=SAMPLER, progress=False)
        return [note for note in longer.notes if "the continued clip" in note]

    before = film(tmp_path / "a.mp4", fps=30, channels=2, rate=44_100).read_bytes()
    assert notes(tmp_path / "a.mp4") == [
        "a.mp4 has 40 x 24 at 30/s and 2 audio channels of 44100 Hz; the continued clip has "
        "16 x 16 at 8/s and 1 of 16000 Hz, which the model makes; the file itself is unchanged"
    ]
    assert (tmp_path / "a.mp4").read_bytes() == before
    assert notes(film(tmp_path / "b.mp4", sides=(12, 20), channels=2)) == [
        "b.mp4 has 2 audio channels of 16000 Hz; the continued clip has 1 of 16000 Hz, which the "
        "model makes; the file itself is unchanged"
    ]
    assert notes(film(tmp_path / "c.mp4", sides=(12, 20))) == []
    assert pipeline.in_format_of(tmp_path / "c.mp4").format == WIDE
    (tmp_path / "no.mp4").write_text("no film")
    assert pipeline.in_format_of(tmp_path / "no.mp4").format == pipeline.format
    with pytest.raises(UserError, match="cannot read"):
        pipeline(continued=tmp_path / "no.mp4", progress=False)
    assert media.read_video(tmp_path / "b.mp4").samples.shape[1] == 2
