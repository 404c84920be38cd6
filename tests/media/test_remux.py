"""Files written with new audio: the picture is the same to the bit and in time, of any file."""

import io
import json
import struct

import av
import numpy as np
import pytest
from films import click, quarters, set_matrix, write
from PIL import Image

from sora_jax import media, mp4
from sora_jax.errors import UserError
from sora_jax.media import remux

CLICK = 0.5  # seconds from the first frame


def moving(count=36):
    return [np.roll(quarters(), 5 * i, 1) for i in range(count)]


def packets(path):
    """(bytes, seconds) of the packets of the picture."""
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        return [(bytes(p), p.pts * p.time_base) for p in file.demux(stream) if p.size]


def with_click(source, folder):
    """Writes a file with a click at CLICK in place of its audio; returns its path and the notes."""
    plan = remux.plan(source)
    path = folder / f"new{plan.suffix}"
    seconds = media.read_video(source).seconds
    remux.write(path, source, click(seconds, CLICK, 16_000), {"seed": 3})
    return path, plan.notes


def heard(read):
    """When the click of a read file is heard, in seconds from its first frame."""
    return np.flatnonzero(np.abs(read.samples[:, 0]) > 0.1)[0] / read.sample_rate


def skip(path, milliseconds, frames):
    """Lets the edit list of an mp4 begin `frames` later and last for some milliseconds."""
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 12
    start = struct.unpack(">i", data[at + 4 : at + 8])[0]
    data[at : at + 8] = struct.pack(">Ii", milliseconds, start + 512 * frames)
    path.write_bytes(data)
    return path


def irregular(count=36):
    """Frames at irregular times."""
    times = np.cumsum([0, *np.random.default_rng(0).integers(1, 5, count - 1)])
    return dict(zip(times.tolist(), moving(count), strict=True))


def late(count=36):
    """Frames from half a second on, beside a click from 0 on."""
    return dict(zip(range(12, 12 + count), moving(count), strict=True))


VP9 = {"codec": "libvpx-vp9", "sound_codec": "libopus", "options": {"cpu-used": "8"}}
KINDS = {
    "plain.mp4": lambda p: write(p, moving(), sound=click()),
    "plain.m4v": lambda p: write(p, moving(), sound=click(), container="mp4"),
    "late.mp4": lambda p: write(p, late(), sound=click()),
    "late.mkv": lambda p: write(p, late(), sound=click()),
    "late.webm": lambda p: write(p, late(), sound=click(), **VP9),
    "turned.mp4": lambda p: set_matrix(write(p, moving()), 0, 1, -1, 0),
    "turned.mov": lambda p: set_matrix(write(p, moving()), 0, 1, -1, 0),
    "wide_pixels.mp4": lambda p: write(p, moving(), context={"sample_aspect_ratio": 2}),
    "irregular.mp4": lambda p: write(p, irregular()),
    "irregular.mkv": lambda p: write(p, irregular()),
    "skipped.mp4": lambda p: skip(write(p, moving()), 1000, 12),
    "plain.mkv": lambda p: write(p, moving(), sound=click()),
    "plain.webm": lambda p: write(p, moving(), sound=click(), **VP9),
    "ten_bits.mov": lambda p: write(p, moving(), 24, "prores_ks", "yuv422p10le", options={}),
}


@pytest.mark.parametrize("name", KINDS)
def test_the_picture_stays_and_the_sound_begins_with_it(tmp_path, name):
    source = KINDS[name](tmp_path / name)
    path, notes = with_click(source, tmp_path)
    assert path.suffix == source.suffix and not any("written as" in note for note in notes)
    assert packets(path) == packets(source)
    old, new = media.read_video(source), media.read_video(path)
    np.testing.assert_array_equal(new.frames, old.frames)  # upright, in square pixels, in BT.709
    np.testing.assert_array_equal(new.times, old.times)
    assert new.seconds == pytest.approx(old.seconds, abs=0.001)  # of webm, whole milliseconds
    assert new.frame_rate == old.frame_rate
    assert len(new.samples) == pytest.approx(new.seconds * new.sample_rate, abs=1)
    assert heard(new) == pytest.approx(CLICK, abs=0.002)
    assert mp4.read_metadata(path) == {"seed": 3}


@pytest.mark.parametrize("name", ["film.ts", "film.avi", "film.flv", "film.mpg"])
def test_other_containers_become_mkv(tmp_path, name):
    """Their packets may be framed anew, so the frames are compared."""
    codec = "mpeg2video" if name == "film.mpg" else "libx264"
    source = write(tmp_path / name, moving(), codec=codec, options={})
    path, notes = with_click(source, tmp_path)
    assert path.suffix == ".mkv" and any("written as .mkv" in note for note in notes)
    old, new = media.read_video(source), media.read_video(path)
    np.testing.assert_array_equal(new.frames, old.frames)
    np.testing.assert_allclose(new.times, old.times, atol=0.001)  # whole milliseconds
    assert heard(new) == pytest.approx(CLICK, abs=0.002)


def test_a_picture_that_no_container_takes(tmp_path):
    with pytest.raises(remux.NotCopied, match="gif"):
        remux.plan(write(tmp_path / "a.gif", moving(8), 8, "gif", "rgb8", options={}))
    middle = write(tmp_path / "cut.mp4", late(), sound=click())
    data = bytearray(middle.read_bytes())
    at = data.index(b"elst") + 12
    data[at : at + 8] = struct.pack(">Ii", 500, 1024)  # instead of the empty edit
    data[at + 12 : at + 20] = struct.pack(">Ii", 500, 1024 + 24 * 512)
    middle.write_bytes(data)
    with pytest.raises(remux.NotCopied, match="cuts out"):
        remux.plan(middle)


def test_frames_hidden_after_the_end_stay_hidden(tmp_path):
    source = skip(write(tmp_path / "short.mp4", moving()), 1000, 0)
    path, _ = with_click(source, tmp_path)
    old, new = media.read_video(source), media.read_video(path)
    assert len(old.frames) == 24
    np.testing.assert_array_equal(new.frames, old.frames)
    assert new.seconds == old.seconds == 1.0
    assert all(packet in packets(source) for packet in packets(path))


def copied(source, path, change, **options):
    """Copies a file as another program might, after `change(new file)`."""
    with av.open(str(source)) as old, av.open(str(path), "w", options=options) as new:
        copies = {s.index: new.add_stream_from_template(s, opaque=True) for s in old.streams}
        change(new)
        for packet in old.demux():
            if packet.size:
                packet.stream = copies[packet.stream.index]
                new.mux(packet)
    return path


def test_metadata_stay(tmp_path):
    own = {"title": "Ball", "com.apple.quicktime.make": "Apple", "comment": "mine"}
    for suffix in (".mov", ".mp4", ".mkv"):
        write(tmp_path / f"plain{suffix}", moving())
        source = tmp_path / f"own{suffix}"
        tell = lambda new: new.metadata.update(own)
        copied(tmp_path / f"plain{suffix}", source, tell, movflags="use_metadata_tags")
        path, notes = with_click(source, tmp_path)
        with av.open(str(path)) as file:
            kept = {key.lower(): text for key, text in file.metadata.items()}
        assert kept["title"] == "Ball" and kept["com.apple.quicktime.make"] == "Apple"
        assert json.loads(kept["comment"]) == {"seed": 3, "comment": "mine"} and notes == ()


def test_what_is_left_out_is_said(tmp_path):
    write(tmp_path / "plain.mkv", moving(), sound=click())
    cover = io.BytesIO()
    Image.fromarray(quarters()).save(cover, "jpeg")

    def more(new):
        new.add_stream("flac", rate=48_000)
        new.add_attachment("cover.jpg", "image/jpeg", cover.getvalue())
        new.add_attachment("letters.ttf", "font/ttf", b"letters")

    path, notes = with_click(copied(tmp_path / "plain.mkv", tmp_path / "own.mkv", more), tmp_path)
    assert notes == ("the new file lacks its 2 audio tracks, its cover picture, its attachment",)
    with av.open(str(path)) as file:
        assert [stream.type for stream in file.streams] == ["video", "audio"]
        assert file.streams.audio[0].codec_context.name == "aac"


def test_the_file_is_interleaved(tmp_path):
    """Audio and picture of one time lie together: a player need not seek."""
    source = write(tmp_path / "long.mp4", moving(120) * 3, options={"crf": "40"})
    path, _ = with_click(source, tmp_path)
    with av.open(str(path)) as file:
        order = [(p.pos, p.stream.type, float(p.dts * p.time_base)) for p in file.demux() if p.size]
    seconds = {"video": 0.0, "audio": 0.0}
    for _, kind, second in sorted(order):
        seconds[kind] = second
        assert abs(seconds["video"] - seconds["audio"]) < 1.5


def test_refusals(tmp_path):
    source = write(tmp_path / "own.mp4", moving())
    before = source.read_bytes()
    sound = np.zeros(16_000, np.float32)
    with pytest.raises(UserError, match="is the given video itself"):
        remux.write(source, source, sound, {})
    with pytest.raises(UserError, match=r"cannot read .*no such file"):
        remux.write(tmp_path / "new.mp4", tmp_path / "absent.mp4", sound, {})
    with pytest.raises(UserError, match="convert the given video"):
        remux.write(tmp_path / "new.webm", source, sound, {})
    assert source.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["own.mp4"]
