"""Files in and out: what is written comes back, in place and in time; what cannot be read ends in
one line.
"""

import os
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from sora_jax import media, mp4
from sora_jax.clip import Clip
from sora_jax.errors import UserError
from sora_jax.modality import SAMPLE_RATE, ClipFormat

NANO = ClipFormat(frames=17, fps=8)


def ball_clip(frames=17, height=64, width=64, colour=(0.86, 0.12, 0.12)):
    row, column = np.mgrid[:height, :width]
    clip = np.full((frames, height, width, 3), (0.80, 0.86, 0.92), np.float32)
    for i in range(frames):
        alpha = np.clip(
            height / 7 - np.hypot(column - width * (i + 0.5) / frames, row - height / 2), 0, 1
        )[..., None]
        clip[i] += alpha * (np.array(colour, np.float32) - clip[i])
    return clip


def impacts(onsets, samples, rate=SAMPLE_RATE):
    clock = np.arange(samples) / rate
    sound = np.zeros(samples, np.float32)
    for onset in onsets:
        after = np.maximum(clock - onset, 0)
        sound += (clock >= onset) * 0.5 * np.exp(-40 * after) * np.sin(2 * np.pi * 900 * after)
    return sound


def shift(wanted, found):
    """By how many samples `found` lags `wanted`, from the peak of their correlation."""
    correlation = np.correlate(found, wanted, mode="full")
    return int(correlation.argmax()) - (len(wanted) - 1)


def encode(
    path,
    container,
    video_codec,
    audio_codec,
    rate,
    layout,
    fps,
    clip,
    sound,
    sound_start=0.0,
    options=None,
):
    """A file of another maker: any container, codecs, rates and channels."""
    with av.open(str(path), "w", format=container) as file:
        video = file.add_stream(video_codec, rate=fps, options=options or {})
        video.width, video.height, video.pix_fmt = clip.shape[2], clip.shape[1], "yuv420p"
        audio = file.add_stream(audio_codec, rate=rate, layout=layout) if audio_codec else None
        for picture in mp4.to_uint8(clip):
            file.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(video.encode())
        if audio is not None:
            channels = len(av.AudioLayout(layout).channels)
            frame = av.AudioFrame.from_ndarray(
                np.repeat(sound[None], channels, 0), format="fltp", layout=layout
            )
            frame.sample_rate, frame.pts, frame.time_base = (
                rate,
                round(sound_start * rate),
                Fraction(1, rate),
            )
            convert = av.AudioResampler(
                audio.codec_context.format.name,
                layout,
                rate,
                audio.codec_context.frame_size or None,
            )
            for piece in [*convert.resample(frame), *convert.resample(None)]:
                file.mux(audio.encode(piece))
            file.mux(audio.encode())


def test_mp4_round_trip(tmp_path):
    clip, onsets = ball_clip(), (0.19, 0.7, 1.25, 2.06)
    sound = impacts(onsets, NANO.samples)
    notes = {"prompt": 'a "red" ball; größer', "fingerprint": "0123456789ab", "seed": "7"}
    path = tmp_path / "new" / "clip.mp4"
    mp4.write_mp4(path, Clip(clip, sound, NANO.fps), notes)
    assert os.listdir(path.parent) == ["clip.mp4"]
    assert mp4.read_metadata(path) == notes

    back = media.read_video(path)
    assert back.frames.shape == clip.shape and back.frames.dtype == np.uint8
    np.testing.assert_allclose(back.times, np.arange(17) / 8, atol=1e-6)
    assert back.seconds == pytest.approx(NANO.seconds)
    psnr = -10 * np.log10(np.mean((back.frames / 255.0 - clip) ** 2))
    assert psnr > 31, psnr
    for i in range(17):  # no frame has moved
        errors = np.square(back.frames[i] / 255.0 - clip).mean((1, 2, 3))
        assert errors.argmin() == i

    assert back.sample_rate == SAMPLE_RATE and back.samples.shape == (NANO.samples, 1)
    for onset in onsets:
        at = round(onset * SAMPLE_RATE)
        low, high = max(0, at - 800), min(NANO.samples, at + 800)
        assert abs(shift(sound[low:high], back.samples[low:high, 0])) <= 0.002 * SAMPLE_RATE
    assert np.abs(back.samples[:, 0] - sound).max() < 0.05

    fitted = media.fit_clip(back, NANO)
    assert fitted.notes == () and fitted.samples is not None
    np.testing.assert_array_equal(mp4.to_uint8(fitted.frames), back.frames)


def test_sound_begins_at_once(tmp_path):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(NANO.samples) / SAMPLE_RATE)
    mp4.write_mp4(tmp_path / "tone.mp4", Clip(ball_clip(), tone, 8))
    assert np.abs(media.read_video(tmp_path / "tone.mp4").samples[:, 0] - tone)[:4000].max() < 0.1


def test_colours_survive(tmp_path):
    flat = np.broadcast_to(np.array((0.12, 0.32, 0.88), np.float32), (5, 64, 64, 3))
    mp4.write_mp4(tmp_path / "blue.mp4", Clip(flat, None, 8))
    assert np.abs(media.read_video(tmp_path / "blue.mp4").frames / 255.0 - flat).max() < 0.015


def test_a_large_video_of_another_matrix_keeps_its_colours(tmp_path):
    """HD files are BT.709: read as BT.601 their red would be off by 0.06."""
    red = np.broadcast_to(np.array((0.86, 0.12, 0.12), np.float32), (4, 720, 1280, 3))
    with av.open(str(tmp_path / "hd.mp4"), "w") as file:
        video = file.add_stream("libx264", rate=24, options={"crf": "10"})
        video.width, video.height, video.pix_fmt = 1280, 720, "yuv420p"
        video.codec_context.colorspace, video.codec_context.color_range = 1, 1
        for picture in mp4.to_uint8(red):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            file.mux(video.encode(frame.reformat(format="yuv420p", dst_colorspace="ITU709")))
        file.mux(video.encode())
    assert np.abs(media.read_video(tmp_path / "hd.mp4").frames / 255.0 - red).max() < 0.02


def test_silent_and_odd_sizes(tmp_path):
    clip = ball_clip(9, 63, 65)
    mp4.write_mp4(tmp_path / "odd.mp4", Clip(mp4.to_uint8(clip), None, 16))
    back = media.read_video(tmp_path / "odd.mp4")
    assert back.samples is None and back.frames.shape == (9, 64, 66, 3)
    assert np.square(back.frames[:, :63, :65] / 255.0 - clip).mean() < 1e-3
    fitted = media.fit_clip(back, ClipFormat(frames=9, fps=16))
    assert fitted.samples is None and "no audio track" in fitted.notes
    assert fitted.frames.shape == (9, 64, 64, 3)


def test_a_silent_track_is_no_sound(tmp_path):
    mp4.write_mp4(tmp_path / "mute.mp4", Clip(ball_clip(), np.zeros(NANO.samples, np.float32), 8))
    fitted = media.fit_clip(media.read_video(tmp_path / "mute.mp4"), NANO)
    assert fitted.samples is None and "its audio track is silent" in fitted.notes


@pytest.mark.parametrize(
    "container, video_codec, audio_codec, rate, layout, fps",
    [
        ("webm", "libvpx-vp9", "libopus", 48000, "stereo", Fraction(30)),
        ("mov", "libx264", "aac", 44100, "5.1", Fraction(30000, 1001)),
        ("matroska", "mpeg4", "pcm_s16le", 8000, "mono", Fraction(12)),
    ],
)
def test_files_of_other_makers(tmp_path, container, video_codec, audio_codec, rate, layout, fps):
    frames = round(3 * fps)
    clip = ball_clip(frames, 90, 160)
    path = tmp_path / f"clip.{container}"
    encode(
        path,
        container,
        video_codec,
        audio_codec,
        rate,
        layout,
        fps,
        clip,
        impacts((0.5, 1.5), 3 * rate, rate),
    )
    fitted = media.fit_clip(media.read_video(path), NANO)
    assert fitted.samples is not None and fitted.frames.shape == (17, 64, 64, 3)
    assert abs(shift(impacts((0.5, 1.5), NANO.samples), fitted.samples)) <= 0.002 * SAMPLE_RATE
    # The middle square shows columns 35 .. 125; the ball, of constant speed, must be where it is at
    # the midpoint of each frame.
    times = NANO.frame_times()
    column = (160 * (np.floor(times * float(fps) + 1e-9) + 0.5) / frames - 35) / 90 * 64 - 0.5
    seen = (column > 12) & (column < 52)
    assert seen.sum() >= 5
    redness = np.clip(fitted.frames[..., 0] - fitted.frames[..., 2] + 0.05, 0, None)
    found = (redness * np.arange(64)).sum((1, 2)) / np.maximum(redness.sum((1, 2)), 1e-6)
    np.testing.assert_allclose(found[seen], column[seen], atol=1.0)
    for word in ("cut from 3.00", "frame rate", "160 x 90"):
        assert any(word in note for note in fitted.notes), (word, fitted.notes)


def test_sound_that_starts_late_stays_late(tmp_path):
    path = tmp_path / "late.mov"
    encode(
        path,
        "mov",
        "libx264",
        "pcm_s16le",
        16000,
        "mono",
        Fraction(8),
        ball_clip(16),
        impacts((0.25,), 16000),
        sound_start=0.5,
    )
    samples = media.read_video(path).samples[:, 0]
    assert abs(shift(impacts((0.75,), len(samples)), samples)) <= 0.002 * SAMPLE_RATE


def test_windows_of_a_long_file(tmp_path):
    clip = ball_clip(64)
    mp4.write_mp4(tmp_path / "long.mp4", Clip(clip, impacts((1.0, 5.0), 8 * SAMPLE_RATE), 8), crf=4)
    window = media.read_video(tmp_path / "long.mp4", start=4.25, seconds=2.125)
    assert window.times[0] == pytest.approx(0) and len(window.frames) == 17
    for i in (0, 16):
        assert np.square(window.frames[i] / 255.0 - clip).mean((1, 2, 3)).argmin() == 34 + i
    assert abs(shift(impacts((0.75,), NANO.samples), window.samples[:, 0])) <= 0.002 * SAMPLE_RATE
    with pytest.raises(media.EndOfFile):
        media.read_video(tmp_path / "long.mp4", start=8.0, seconds=2.125)
    small = media.read_video(tmp_path / "long.mp4", short_side=32)
    assert small.frames.shape == (64, 32, 32, 3) and small.file_size == (64, 64)


def test_a_short_file_is_held(tmp_path):
    mp4.write_mp4(tmp_path / "short.mp4", Clip(ball_clip(4), impacts((0.1,), 8000), 8))
    fitted = media.fit_clip(media.read_video(tmp_path / "short.mp4"), NANO)
    np.testing.assert_array_equal(fitted.frames[3], fitted.frames[16])
    assert not fitted.samples[8000:].any() and fitted.samples[1600:3000].any()
    assert any("held from 0.50 to 2.12" in note for note in fitted.notes)


def test_unreadable_files_end_in_one_line(tmp_path):
    whole = tmp_path / "whole.mp4"
    mp4.write_mp4(
        whole, Clip(np.random.default_rng(0).random((24, 64, 64, 3)), impacts((0.5,), 48000), 8)
    )
    (tmp_path / "garbage.mp4").write_bytes(np.random.default_rng(0).bytes(4000))
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "cut.mp4").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "text.mp4").write_text("this is not a video\n" * 50)
    for name in ("garbage.mp4", "empty.mp4", "cut.mp4", "folder.mp4", "text.mp4", "missing.mp4"):
        with pytest.raises(UserError) as error:
            media.read_video(tmp_path / name)
        assert name in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(UserError, match="ends after"):
        media.read_video(tmp_path / "cut.mp4")
    for read in (mp4.read_metadata, media.read_audio, lambda path: media.read_image(path, 64)):
        with pytest.raises(UserError):
            read(tmp_path / "garbage.mp4")
    with pytest.raises(UserError, match="no video stream"):
        with av.open(str(tmp_path / "sound.wav"), "w") as file:
            stream = file.add_stream("pcm_s16le", rate=16000, layout="mono")
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, 1600), np.int16), format="s16", layout="mono"
            )
            frame.sample_rate = 16000
            file.mux(stream.encode(frame))
        media.read_video(tmp_path / "sound.wav")


def test_nothing_is_left_where_writing_fails(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        mp4.write_mp4(tmp_path / "file" / "clip.mp4", Clip(ball_clip(), None, 8))
    (tmp_path / "taken.mp4").mkdir()
    with pytest.raises(UserError, match="cannot write"):
        mp4.write_mp4(tmp_path / "taken.mp4", Clip(ball_clip(), None, 8))
    assert sorted(os.listdir(tmp_path)) == ["file", "taken.mp4"]


def test_images(tmp_path):
    picture = mp4.to_uint8(ball_clip(1)[0])
    Image.fromarray(picture).save(tmp_path / "same.png")
    image, notes = media.read_image(tmp_path / "same.png", 64)
    np.testing.assert_array_equal(mp4.to_uint8(image), picture)
    assert notes == () and image.dtype == np.float32
    Image.fromarray(picture).resize((200, 100)).save(tmp_path / "wide.jpg")
    image, notes = media.read_image(tmp_path / "wide.jpg", 64)
    assert image.shape == (64, 64, 3) and "200 x 100" in notes[0]


def test_sound_alone(tmp_path):
    sound = impacts((0.3,), 44100, 44100)
    with av.open(str(tmp_path / "hit.wav"), "w") as file:
        stream = file.add_stream("pcm_s16le", rate=44100, layout="stereo")
        both = np.round(np.repeat(sound, 2)[None] * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(both, format="s16", layout="stereo")
        frame.sample_rate = 44100
        file.mux(stream.encode(frame))
        file.mux(stream.encode())
    samples, rate = media.read_audio(tmp_path / "hit.wav")
    assert samples.shape == (44100, 2) and rate == 44100
    fitted, notes = media.fit_sound(samples, rate, NANO.samples)
    assert abs(shift(impacts((0.3,), NANO.samples), fitted)) <= 1 and len(notes) == 3


def test_padding_of_the_codec_is_cut(tmp_path):
    """aac holds whole blocks of 1,024 samples; 34,000 are not, and what the last block adds is not
    the clip's sound.
    """
    mp4.write_mp4(tmp_path / "clip.mp4", Clip(ball_clip(), impacts((1.0,), NANO.samples), 8))
    samples, rate = media.read_audio(tmp_path / "clip.mp4")
    assert (samples.shape, rate) == ((NANO.samples, 1), SAMPLE_RATE)
    assert media.fit_sound(samples, rate, NANO.samples)[1] == []
