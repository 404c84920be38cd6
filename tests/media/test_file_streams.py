"""Which streams of a file are read, where they begin and end, and files that were cut."""

import io
import os
from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition
from films import BLUE, GREEN, RED, YELLOW, click, corners, flat, quarters, write
from PIL import Image

from sora_jax import media
from sora_jax.errors import UserError
from sora_jax.modality import ClipFormat

SMALL = ClipFormat(frames=5, fps=8, height=32, width=32)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """Four seconds whose bytes are spread evenly over the file."""
    folder = tmp_path_factory.mktemp("noisy")
    pictures = np.random.default_rng(0).integers(0, 255, (32, 64, 96, 3), np.uint8)
    codecs = {"mkv": "flac", "ebm": "libopus", "avi": "libmp3lame"}
    for name in ("whole.mkv", "whole.webm", "whole.avi"):
        webm = name.endswith("webm")
        settings = {"sound_codec": codecs[name[-3:]], "sound": click(4)}
        if webm:
            options = {"options": {"cpu-used": "8", "deadline": "realtime"}}
            write(folder / name, pictures, 8, "libvpx", **settings, **options)
        else:
            write(folder / name, pictures, 8, "mjpeg", "yuvj420p", options={}, **settings)
    return folder


@pytest.mark.parametrize("name", ["whole.mkv", "whole.webm", "whole.avi"])
@pytest.mark.parametrize("share", [0.4, 0.8])
def test_a_cut_file_is_refused(noisy, tmp_path, name, share):
    assert media.read_video(noisy / name).seconds == pytest.approx(4, abs=0.15)
    data = (noisy / name).read_bytes()
    cut = tmp_path / name
    cut.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError, match=r"ends after .* its stated .*"):
        media.read_video(cut)
    # what is there can be read
    assert media.read_video(cut, seconds=0.5).seconds == 0.5


def test_sound_longer_than_the_picture_is_no_cut(tmp_path):
    write(tmp_path / "long.mkv", [quarters()] * 12, sound=click(3))
    read = media.read_video(tmp_path / "long.mkv")
    assert read.seconds == pytest.approx(0.5, abs=0.01)


def test_a_file_that_states_no_length_is_noted(tmp_path):
    """As browsers record: matroska written to a pipe."""
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb") as pipe, open(tmp_path / "live.webm", "wb") as out:
        with av.open(pipe, "w", format="webm") as file:
            video = file.add_stream("libvpx", rate=8, options={"cpu-used": "8"})
            video.width, video.height = 96, 64
            for i in range(8):
                frame = av.VideoFrame.from_ndarray(flat((20 * i, 90, 90), 64, 96), format="rgb24")
                frame.pts, frame.time_base = i, Fraction(1, 8)
                file.mux(video.encode(frame))
            file.mux(video.encode())
        pipe.flush()
        out.write(os.read(read_end, 1 << 20))
    os.close(read_end)
    read = media.read_video(tmp_path / "live.webm")
    assert len(read.frames) == 8 and any("states no length" in note for note in read.notes)
    assert media.read_video(tmp_path / "live.webm", seconds=0.5).notes == ()


def two_of_each(path, default, covers=False):
    """Two pictures, or a cover and a picture, with two sounds; the streams of index `default` are
    marked.
    """
    with av.open(str(path), "w") as file:
        videos, sounds = [], []
        for i in range(2):
            codec = "mjpeg" if covers and i == 0 else "libx264"
            video = file.add_stream(codec, rate=8)
            video.height, video.width = 96, 160
            video.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            videos.append(video)
            sounds.append(file.add_stream("flac", rate=48000, layout="mono"))
            for stream in (video, sounds[-1]):
                stream.disposition = Disposition.default if i == default else Disposition(0)
        if covers:
            videos[0].disposition = Disposition.attached_pic
        for i, video in enumerate(videos):
            pictures = [flat(YELLOW)] if covers and i == 0 else [flat((RED, GREEN)[i])] * 8
            for time, picture in enumerate(pictures):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame = frame.reformat(format=video.pix_fmt)
                frame.pts, frame.time_base = time, Fraction(1, 8)
                file.mux(video.encode(frame))
            file.mux(video.encode())
        for i, stream in enumerate(sounds):
            tone = np.full((1, 48000), (2000, 12000)[i], np.int16)
            frame = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
            convert = av.AudioResampler("s16", "mono", 48000, stream.codec_context.frame_size)
            for piece in [*convert.resample(frame), *convert.resample(None)]:
                file.mux(stream.encode(piece))
            file.mux(stream.encode())
    return path


@pytest.mark.parametrize("default", [0, 1])
def test_the_default_streams_are_read(tmp_path, default):
    read = media.read_video(two_of_each(tmp_path / "two.mkv", default))
    assert np.abs(read.frames[0, 5, 5].astype(int) - (RED, GREEN)[default]).max() < 8
    assert read.samples[20000, 0] * 32768 == pytest.approx((2000, 12000)[default], abs=2)
    for noun in ("video streams", "audio tracks"):
        assert f"2 {noun}: number {default + 1}, the default, is read" in read.notes
    samples, _ = media.read_audio(tmp_path / "two.mkv")
    assert samples[20000, 0] * 32768 == pytest.approx((2000, 12000)[default], abs=2)


def test_a_cover_is_no_video(tmp_path):
    read = media.read_video(two_of_each(tmp_path / "cover.mp4", 0, covers=True))
    assert len(read.frames) == 8
    assert np.abs(read.frames[0, 5, 5].astype(int) - GREEN).max() < 8
    assert "its cover picture is left out" in read.notes


def test_an_attached_picture_is_no_video(tmp_path):
    cover = io.BytesIO()
    Image.fromarray(flat(YELLOW)).save(cover, "jpeg")
    with av.open(str(tmp_path / "attached.mkv"), "w") as file:
        file.add_attachment("cover.jpg", "image/jpeg", cover.getvalue())
        video = file.add_stream("libx264", rate=8)
        video.height, video.width, video.pix_fmt = 96, 160, "yuv420p"
        for i in range(8):
            frame = av.VideoFrame.from_ndarray(flat(GREEN), format="rgb24")
            frame = frame.reformat(format="yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, 8)
            file.mux(video.encode(frame))
        file.mux(video.encode())
    read = media.read_video(tmp_path / "attached.mkv")
    assert len(read.frames) == 8
    assert np.abs(read.frames[0, 5, 5].astype(int) - GREEN).max() < 8


def test_a_cover_alone_is_no_video(tmp_path):
    with av.open(str(tmp_path / "song.m4a"), "w", format="mp4") as file:
        cover = file.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt = 96, 160, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        sound = file.add_stream("aac", rate=48000, layout="mono")
        frame = av.VideoFrame.from_ndarray(flat(BLUE), format="rgb24").reformat(format="yuvj420p")
        file.mux(cover.encode(frame))
        file.mux(cover.encode())
        frame = av.AudioFrame.from_ndarray(click()[None], format="fltp", layout="mono")
        frame.sample_rate = 48000
        convert = av.AudioResampler("fltp", "mono", 48000, 1024)
        for piece in [*convert.resample(frame), *convert.resample(None)]:
            file.mux(sound.encode(piece))
        file.mux(sound.encode())
    with pytest.raises(UserError, match="only a cover picture"):
        media.read_video(tmp_path / "song.m4a")


@pytest.mark.parametrize(
    "name, codec, start",
    [("late.mp4", "aac", 0.75), ("late.mkv", "flac", 0.3), ("late.mov", "pcm_s16le", 1.1)],
)
def test_late_sound_keeps_its_delay(tmp_path, name, codec, start):
    path = tmp_path / name
    write(path, [quarters()] * 60, sound=click(1), sound_codec=codec, sound_start=start)
    samples = media.read_video(path).samples[:, 0]
    assert (np.abs(samples) > 0.1).argmax() / 48000 == pytest.approx(start + 0.5, abs=0.003)


@pytest.mark.parametrize("name, codec", [("early.mp4", "aac"), ("early.mkv", "flac")])
def test_sound_before_the_picture_is_left_out(tmp_path, name, codec):
    """Time 0 is the first picture, here at 0.5 s of the file."""
    pictures = {12 + i: quarters() for i in range(36)}
    write(tmp_path / name, pictures, sound=click(2, 0.9), sound_codec=codec)
    read = media.read_video(tmp_path / name)
    assert read.times[0] == 0 and read.seconds == pytest.approx(1.5, abs=0.05)
    onset = (np.abs(read.samples[:, 0]) > 0.1).argmax() / 48000
    assert onset == pytest.approx(0.4, abs=0.003)
    assert any("before the picture" in note for note in read.notes), read.notes


def test_an_edit_list_is_applied(tmp_path):
    """A header says that the film begins at its second half."""
    pictures = [flat(RED)] * 24 + [flat(GREEN)] * 24
    path = write(tmp_path / "edited.mp4", pictures, options={"g": "1", "bf": "0"})
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 4
    assert data[at] == 0 and int.from_bytes(data[at + 4 : at + 8]) == 1
    scale = data.index(b"mdhd") + 4 + 12
    rate = int.from_bytes(data[scale : scale + 4])
    data[at + 8 : at + 12] = (1000).to_bytes(4)
    data[at + 12 : at + 16] = rate.to_bytes(4)
    path.write_bytes(data)
    read = media.read_video(path)
    assert read.seconds == pytest.approx(1, abs=0.05) and len(read.frames) == 24
    assert np.abs(read.frames[0, 5, 5].astype(int) - GREEN).max() < 8


@pytest.mark.parametrize("name, codec", [("vfr.mkv", "libx264"), ("vfr.mp4", "libx264")])
def test_variable_frame_rate(tmp_path, name, codec):
    colours = (RED, GREEN, BLUE, YELLOW)
    pictures = {time: flat(c) for time, c in zip((0, 2, 20, 22), colours, strict=True)}
    read = media.read_video(write(tmp_path / name, pictures, 24, codec))
    np.testing.assert_allclose(read.times, np.array((0, 2, 20, 22)) / 24, atol=2e-3)
    clip = media.fit_clip(read, SMALL)  # at 1.5, 4.5, 7.5, 10.5, 13.5 of 24
    seen = [min(colours, key=lambda c: np.abs(f[9, 9] * 255 - c).sum()) for f in clip.frames]
    assert seen == [RED, GREEN, GREEN, GREEN, GREEN]


def test_frames_without_times(tmp_path):
    """Raw h264 and mpeg4 hold no times: frames follow one another by the frame rate."""
    pictures = [flat((20 * i, 90, 160)) for i in range(12)]
    options = {"crf": "6", "bf": "2"}
    for name, codec in (("raw.h264", "libx264"), ("raw.m4v", "mpeg4")):
        settings = {"options": options if codec == "libx264" else {"b": "1M"}}
        path = write(tmp_path / name, pictures, 25, codec, **settings)
        read = media.read_video(path)
        assert len(read.frames) == 12
        np.testing.assert_allclose(np.diff(read.times), 0.04, atol=1e-6)
        red = read.frames[:, 5, 5, 0].astype(int)
        assert (np.diff(red) > 10).all(), "in order"


def test_streams_of_no_length(tmp_path):
    """A header with tracks and nothing in them."""
    with av.open(str(tmp_path / "none.mkv"), "w") as file:
        video = file.add_stream("libx264", rate=8)
        video.height, video.width, video.pix_fmt = 96, 160, "yuv420p"
        file.start_encoding()
    with pytest.raises(UserError, match=r"none\.mkv"):
        media.read_video(tmp_path / "none.mkv")
    with av.open(str(tmp_path / "silent.mkv"), "w") as file:
        video = file.add_stream("libx264", rate=8)
        video.height, video.width, video.pix_fmt = 96, 160, "yuv420p"
        file.add_stream("pcm_s16le", rate=48000, layout="stereo")
        for i in range(5):
            frame = av.VideoFrame.from_ndarray(quarters(), format="rgb24")
            frame = frame.reformat(format="yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, 8)
            file.mux(video.encode(frame))
        file.mux(video.encode())
    clip = media.fit_clip(media.read_video(tmp_path / "silent.mkv"), SMALL)
    assert clip.samples is None and "its audio track is silent" in clip.notes
    assert corners(np.round(clip.frames[0] * 255)) == ["red", "green", "blue", "yellow"]
