"""Audio for given videos of any length: the geometry of the windows, what stays, and the files."""

import dataclasses
import itertools
import json
import math
from fractions import Fraction

import av
import numpy as np
import pytest

from sora_jax import media, mp4
from sora_jax.clip import Clip
from sora_jax.errors import UserError
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.modality import FORMATS, ClipFormat
from sora_jax.pipelines import record, synthesis
from sora_jax.pipelines.film import Film, film_windows, hop
from sora_jax.pipelines.generate import Request

SAMPLER = SamplerConfig(steps=2)
FORM = [
    FORMATS["nano"],
    FORMATS["S"],
    FORMATS["phyworld"],
    ClipFormat(frames=49, fps=24),
    ClipFormat(frames=61, fps=Fraction(30000, 1001)),
    ClipFormat(frames=13, fps=12),
    ClipFormat(frames=9, fps=60),
]


def noise(count, seed=0, size=16):
    return np.random.default_rng(seed).integers(0, 255, (count, size, size, 3), np.uint8)


def request(video, **fields):
    return Request(given_video=video, sampler=SAMPLER, **fields)


def own_file(path, count=81, fps=25):
    """A file of another size and rate, with a sound of its own."""
    sound = np.random.default_rng(1).normal(0, 0.1, count * 16_000 // fps)
    mp4.write_mp4(path, Clip(noise(count, size=24), sound, fps))
    return path


def packets(path):
    with av.open(str(path)) as file:
        return [
            (bytes(p), p.pts * p.time_base) for p in file.demux(file.streams.video[0]) if p.size
        ]


@pytest.mark.parametrize("format", FORM, ids=str)
def test_every_audio_latent_is_made_once(format):
    rate = Fraction(25) / format.fps
    for count in (1, 2, format.frames - 1, format.frames, format.frames + 1, 100, 1501):
        for cut in (0.0, 0.4, 0.99):  # of the last frame
            film = Film(np.zeros((count, 2, 2, 3), np.uint8), float((count - cut) / format.fps))
            found = film_windows(film, format)
            assert found[0].start == 0 and found[0].known == 0
            for one, after in itertools.pairwise(found):
                assert 0 < after.start - one.start <= hop(format)
                assert after.known == one.end and after.audio_start < after.known
            assert found[-1].start + format.frames >= count
            assert found[-1].end == math.ceil(film.samples / 640)
            for one in found:
                assert one.known <= one.end <= one.audio_start + format.audio_latents
                own = one.times["audio"] + float(one.start / Fraction(format.fps))
                number = one.audio_start + np.arange(format.audio_latents)
                np.testing.assert_allclose(own, (number + 0.5) / 25, atol=1e-9)
                made = one.times["audio"][one.known - one.audio_start : one.end - one.audio_start]
                whole = one is not found[-1]  # the film's own end may cut the last latent
                latest = format.seconds + (-0.02 if whole else 0.02)
                assert not len(made) or made[-1] <= latest + 1e-9
                if (one.start * rate).denominator == 1 and one is not found[-1]:
                    np.testing.assert_allclose(one.times["audio"], format.latent_times()["audio"])


def test_nano_has_whole_audio_latents_between_windows():
    assert hop(FORMATS["nano"]) == 8 and hop(FORMATS["S"]) == 16
    with pytest.raises(UserError, match="too short for windows"):
        hop(ClipFormat(frames=1, fps=8))


def test_a_film_of_one_clip_is_that_clip(pipeline):
    frames = noise(pipeline.format.frames)
    clip = pipeline.generate(request(frames))
    film = pipeline.generate(request(Film(frames, pipeline.format.seconds)))
    np.testing.assert_array_equal(film.latents["audio"], clip.latents["audio"])
    np.testing.assert_array_equal(film.samples, clip.samples)
    assert clip.film is None and clip.frames.dtype == np.float32 and "video" in clip.latents


def test_history_is_never_altered(pipeline, monkeypatch):
    """What the network is given, window by window, is what the film ends with."""
    calls, real = [], synthesis.sample

    def watched(model, keys, shapes, start, given, *rest):
        calls.append((start, given))
        return real(model, keys, shapes, start, given, *rest)

    monkeypatch.setattr(synthesis, "sample", watched)
    frames, steps = noise(45), []
    film = pipeline.generate(request(frames), lambda done, total: steps.append((done, total)))
    windows = film_windows(film.film, pipeline.format)
    assert [w.start for w in windows] == [0, 8, 16, 24, 28] and len(calls) == 5
    assert steps[-1] == (10, 10) and len(steps) == 10
    audio = film.latents["audio"]
    assert audio.shape == (math.ceil(45 / 8 * 25), 64) and film.samples.shape == (90_000,)
    for window, (start, given) in zip(windows, calls, strict=True):
        known = window.known - window.audio_start
        assert known == {0: 0, 28: 41}.get(window.start, 28)
        past = audio[window.audio_start : window.known]
        np.testing.assert_array_equal(given["audio"][0, :known], past)
        assert np.all(start["audio"][0, :known] == synthesis.HISTORY_LEVEL)
        assert np.all(start["audio"][0, known:] == 1) and np.all(start["video"] == 0)
        shown = frames[window.start : window.start + 17].astype(np.float32) / 255
        clip = Clip(shown, np.zeros(34_000, np.float32))
        np.testing.assert_array_equal(given["video"][0], pipeline.encode(clip)["video"])
    other = frames.copy()
    other[-12:] = noise(12, seed=3)
    again = pipeline.generate(request(other)).latents["audio"]
    early = windows[2].end  # made before the changed frames are seen
    np.testing.assert_array_equal(again[:early], audio[:early])
    assert np.abs(again[early:] - audio[early:]).max() > 1e-4


def test_an_array_of_any_length_is_written_as_a_clip(pipeline, tmp_path):
    film = pipeline.generate_batch([request(noise(40)), request(noise(17)), request(noise(3))])
    assert [len(clip.samples) for clip in film] == [80_000, 34_000, 6_000]
    film[0].save(tmp_path / "out.mp4")
    assert {p.name for p in tmp_path.iterdir()} == {"out.mp4", "out.png", "out.json"}
    read = media.read_video(tmp_path / "out.mp4")
    assert len(read.frames) == 40 and read.seconds == 5.0 and len(read.samples) == 80_000
    with pytest.raises(UserError, match="save it and give the path of its file"):
        pipeline.generate(Request(continued=film[0], sampler=SAMPLER))
    longer = pipeline(continued=tmp_path / "out.mp4", seconds=0.5, sampler=SAMPLER, progress=False)
    assert len(longer.frames) == 37 + 4  # 1 + 4k of the 40


def test_a_file_comes_back_whole_with_its_picture(pipeline, tmp_path):
    source = own_file(tmp_path / "own.mp4")
    clip = pipeline(given_video=source, sampler=SAMPLER, progress=False)
    assert clip.frames.shape == (26, 16, 16, 3) and clip.frames.dtype == np.uint8  # of 25.92
    assert clip.seconds == 3.24 and len(clip.samples) == 51_840 and clip.suffix == ".mp4"
    assert not any("cut" in note for note in clip.notes)
    for words in (
        "for the model, frame rate changed from 25 to 8",
        "for the model, frames of 24 x 24 resized to 16 x 16",
        "the new file lacks its audio track",
        "audio of 3.24 s made in 3 windows",
    ):
        assert f"{source}: {words}" in clip.notes
    clip.save(tmp_path / "out.mp4")
    assert packets(tmp_path / "out.mp4") == packets(source)
    read = media.read_video(tmp_path / "out.mp4")
    assert read.seconds == 3.24 and len(read.samples) == 51_840 and read.sample_rate == 16_000
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["seconds"] == 3.24 and report["notes"] == list(clip.notes)
    said = mp4.read_metadata(tmp_path / "out.mp4")
    assert said["file"] == "own.mp4" and said["task"] == "given_video" and "latents" not in said
    assert not (tmp_path / "out.latents.npz").exists()
    with pytest.raises(UserError, match="is the given video itself"):
        clip.save(source)
    with pytest.raises(UserError, match=r"ends in \.mp4"):
        clip.save(tmp_path / "out.mkv")


@pytest.mark.parametrize("count", [1, 12])
def test_a_file_shorter_than_a_clip(pipeline, tmp_path, count):
    source = own_file(tmp_path / "own.mp4", count)
    clip = pipeline(given_video=source, sampler=SAMPLER, progress=False)
    assert len(clip.samples) == 640 * count and np.isfinite(clip.samples).all()
    assert any("for the model, last frame held from" in note for note in clip.notes)
    clip.save(tmp_path / "out.mp4")
    assert packets(tmp_path / "out.mp4") == packets(source)
    assert len(media.read_video(tmp_path / "out.mp4").samples) == 640 * count


def test_a_picture_that_cannot_be_copied_is_written_as_a_clip(pipeline, tmp_path):
    with av.open(str(tmp_path / "own.gif"), "w") as file:
        stream = file.add_stream("gif", rate=10)
        stream.width, stream.height, stream.pix_fmt = 24, 24, "rgb8"
        for frame in noise(25, size=24):
            frame = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="rgb8")
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    clip = pipeline(given_video=tmp_path / "own.gif", sampler=SAMPLER, progress=False)
    assert any("its picture cannot be copied" in note for note in clip.notes)
    clip.save(tmp_path / "out.mp4")
    read = media.read_video(tmp_path / "out.mp4")
    assert read.frames.shape == (20, 16, 16, 3) and len(read.samples) == 40_000


def test_ten_minutes_are_the_limit(pipeline, tmp_path):
    mp4.write_mp4(tmp_path / "long.mp4", Clip(noise(602), None, 1))
    with pytest.raises(UserError, match=r"lasts 602 s or more; give a video of at most 600 s"):
        pipeline(given_video=tmp_path / "long.mp4")
    mp4.write_mp4(tmp_path / "ten.mp4", Clip(noise(601), None, 1))
    with pytest.raises(UserError, match="at most 600 s"):
        pipeline(given_video=tmp_path / "ten.mp4")


def test_what_is_not_finite_is_refused(pipeline, monkeypatch):
    decode = synthesis.codec.decode_audio
    monkeypatch.setattr(synthesis.codec, "decode_audio", lambda *a: decode(*a) * np.nan)
    with pytest.raises(UserError, match="samples made with seed 0 are NaN"):
        pipeline.generate(request(noise(20)))


def test_names_are_free_of_every_suffix(tmp_path):
    (tmp_path / "000-film-seed0.mkv").touch()
    with record.free_path(tmp_path, 0, "film", 0, ".webm") as path:
        assert path.name == "000-film-seed0-2.webm"


@pytest.mark.slow
def test_a_minute_of_film(pipeline, tmp_path):
    """60 s at 30 frames/s: 60 s of audio, and the picture copied bit for bit."""
    source = own_file(tmp_path / "own.mp4", 1800, 30)
    clip = pipeline(given_video=source, sampler=SAMPLER, progress=False)
    clip.save(tmp_path / "out.mp4")
    assert packets(tmp_path / "out.mp4") == packets(source)
    read = media.read_fitted(tmp_path / "out.mp4", dataclasses.replace(FORMATS["nano"], frames=481))
    assert clip.seconds == 60 and len(clip.samples) == 960_000 and len(read.samples) == 962_000
    with av.open(str(tmp_path / "out.mp4")) as file:
        assert [float(s.duration * s.time_base) for s in file.streams] == [60.0, 60.0]
