"""What a file says of its picture is applied: proportions, orientation, fields, colours."""

from fractions import Fraction

import av
import numpy as np
import pytest
from films import BLUE, RED, corners, flat, planes, quarters, set_matrix, write

from sora_jax import media
from sora_jax.media.colour import Colour
from sora_jax.modality import ClipFormat

SMALL = ClipFormat(frames=5, fps=8, height=32, width=32)


def ring(height, width, aspect):
    """A disc that is round when pixels are `aspect` times as wide as high."""
    y, x = np.mgrid[:height, :width]
    x = (x + 0.5 - width / 2) * aspect
    disc = x**2 + (y + 0.5 - height / 2) ** 2 < (0.375 * height) ** 2
    return np.where(disc[..., None], RED, (200, 200, 220)).astype(np.uint8)


@pytest.mark.parametrize(
    "name, codec, aspect, shape",
    [
        ("pal.mp4", "libx264", (64, 45), (96, 171)),
        ("narrow.avi", "mpeg4", (8, 9), (96, 107)),
        ("wide.mkv", "libx264", (2, 1), (96, 240)),
    ],
)
def test_pixels_are_square(tmp_path, name, codec, aspect, shape):
    picture = ring(96, 120, aspect[0] / aspect[1])
    path = tmp_path / name
    write(path, [picture] * 6, codec=codec, context={"sample_aspect_ratio": Fraction(*aspect)})
    frame = media.read_video(path).frames[0].astype(int)
    seen = frame[..., 0] - frame[..., 2] > 80
    assert frame.shape[:2] == shape
    assert abs(seen.any(1).sum() - seen.any(0).sum()) <= 2


MATRICES = {
    "quarter right": ((0, 1, -1, 0), ["blue", "red", "yellow", "green"]),
    "quarter left": ((0, -1, 1, 0), ["green", "yellow", "red", "blue"]),
    "half": ((-1, 0, 0, -1), ["yellow", "blue", "green", "red"]),
    "left to right": ((-1, 0, 0, 1), ["green", "red", "yellow", "blue"]),
    "upside down": ((1, 0, 0, -1), ["blue", "yellow", "red", "green"]),
    "transposed": ((0, 1, 1, 0), ["red", "blue", "green", "yellow"]),
}


@pytest.mark.parametrize("name", MATRICES)
def test_orientation(tmp_path, name):
    matrix, colours = MATRICES[name]
    path = set_matrix(write(tmp_path / "turned.mp4", [quarters()] * 4), *matrix)
    read = media.read_video(path)
    assert corners(read.frames[2]) == colours and read.notes == ()
    assert read.frames.shape[1:3] == ((160, 96) if matrix[0] == 0 else (96, 160))


def test_orientation_with_oblong_pixels(tmp_path):
    path = write(
        tmp_path / "both.mp4",
        [ring(96, 120, 64 / 45)] * 4,
        context={"sample_aspect_ratio": Fraction(64, 45)},
    )
    frame = media.read_video(set_matrix(path, 0, 1, -1, 0)).frames[0].astype(int)
    seen = frame[..., 0] - frame[..., 2] > 80
    assert frame.shape[:2] == (171, 96) and abs(seen.any(1).sum() - seen.any(0).sum()) <= 2


def test_another_angle_is_noted(tmp_path):
    path = set_matrix(write(tmp_path / "45.mp4", [quarters()] * 4), 0.7, 0.7, -0.7, 0.7)
    read = media.read_video(path)
    assert corners(read.frames[0]) == ["red", "green", "blue", "yellow"]
    assert any("display matrix" in note for note in read.notes)


def fields(moment, height=96, width=160):
    """A frame of two moments, its colours sampled in each field: a bar moves 12 pixels a field."""
    frame = av.VideoFrame(width, height, "yuv420p")
    column = np.arange(width)
    for number, plane in enumerate(frame.planes):
        step = 1 if number == 0 else 2
        rows = np.zeros((height // step, plane.line_size), np.uint8)
        for parity in (0, 1):
            bar = np.abs(column[::step] - 12 * (2 * moment + parity) - 20) < 10
            codes = np.where(bar, (81, 90, 240)[number], (210, 128, 128)[number])
            rows[parity::2, : len(codes)] = codes
        plane.update(rows.tobytes())
    return frame


@pytest.mark.parametrize(
    "name, codec, options",
    [
        ("h264.mp4", "libx264", {"crf": "6", "x264-params": "tff=1", "flags": "+ildct+ilme"}),
        ("dvd.mpg", "mpeg2video", {"b": "8M", "flags": "+ildct+ilme"}),
        ("prores.mov", "prores_ks", {"flags": "+ildct"}),
    ],
)
def test_interlaced_frames_show_one_moment(tmp_path, name, codec, options):
    pixel_format = "yuv422p10le" if codec == "prores_ks" else "yuv420p"
    frames = [fields(i) for i in range(5)]
    if codec == "prores_ks":
        frames = [f.reformat(format=pixel_format, interpolation="POINT") for f in frames]
    path = tmp_path / name
    write(path, frames, 25, codec, pixel_format, options=options)
    read = media.read_video(path)
    assert any("interlaced" in note for note in read.notes), read.notes
    np.testing.assert_allclose(np.diff(read.times), 0.04, atol=1e-6)
    assert len(read.frames) == 5
    luma = read.frames[1:4].mean(-1)
    # two moments at once are 20 + 12 pixels wide
    widths = (luma[:, 20:76] < 170).any(1).sum(1)
    assert (np.abs(widths - 19) <= 3).all(), widths


def hdr(path, codes, transfer, number, primaries=9, matrix=9):
    names = {9: "bt2020", 1: "bt709", 12: "smpte432"}
    curve = f"colorprim={names[primaries]}:transfer={transfer}"
    params = f"log-level=error:{curve}:colormatrix={'bt2020nc' if matrix == 9 else 'bt709'}"
    context = {"color_primaries": primaries, "color_trc": number, "colorspace": matrix}
    return write(
        path,
        [planes(codes, "yuv420p10le")] * 3,
        8,
        "libx265",
        "yuv420p10le",
        options={"crf": "4", "x265-params": params},
        context={**context, "color_range": 1},
    )


@pytest.mark.parametrize(
    "curve, number, white, peak",
    [("arib-std-b67", 18, 721, 940), ("smpte2084", 16, 573, 723)],
)
def test_hdr_is_tone_mapped(tmp_path, curve, number, white, peak):
    """Diffuse white, 203 cd/m2, is near the top, and 1,000 cd/m2 above it; red stays red."""
    read = media.read_video(hdr(tmp_path / "white.mp4", (white, 512, 512), curve, number))
    assert np.abs(read.frames.astype(int) - 238).max() <= 2
    assert any("HDR" in note for note in read.notes)
    read = media.read_video(hdr(tmp_path / "peak.mp4", (peak, 512, 512), curve, number))
    assert read.frames.min() >= 250
    # the red of BT.2020 is outside BT.709: as red as it can be
    red = media.read_video(hdr(tmp_path / "red.mp4", (202, 437, 781), curve, number)).frames[
        0, 0, 0
    ]
    assert red[0] > 90 and red[1] < 40 and red[2] < 40


def test_sdr_in_other_primaries(tmp_path):
    path = hdr(tmp_path / "wide.mp4", (502, 512, 512), "bt709", 1)
    read = media.read_video(path)
    assert np.ptp(read.frames.astype(int)) <= 1, "grey stays grey"
    assert abs(int(read.frames[0, 0, 0, 0]) - 127) <= 2
    assert read.notes == ("colours converted from BT.2020 to BT.709",)
    # Display P3's (0.5, 0.4, 0.3) is a little more saturated in BT.709
    y = 0.2126 * 0.5 + 0.7152 * 0.4 + 0.0722 * 0.3
    codes = 64 + 876 * y, 512 + 896 * (0.3 - y) / 1.8556, 512 + 896 * (0.5 - y) / 1.5748
    path = hdr(tmp_path / "p3.mp4", np.round(codes), "bt709", 1, primaries=12, matrix=1)
    pixel = media.read_video(path).frames[0, 0, 0] / 255.0
    assert np.abs(pixel - (0.514, 0.397, 0.287)).max() < 0.012, pixel


@pytest.mark.parametrize(
    "size, matrix, full, tagged",
    [
        ((96, 160), "ITU601", False, False),
        ((720, 1280), "ITU709", False, False),
        ((96, 160), "ITU709", False, True),
        ((96, 160), "ITU601", True, True),
        ((720, 1280), "BT2020", False, True),
    ],
)
def test_matrix_and_range(tmp_path, size, matrix, full, tagged):
    context = {}
    if tagged:
        numbers = {"ITU601": 6, "ITU709": 1, "BT2020": 9}
        context = {"colorspace": numbers[matrix], "color_range": 2 if full else 1}
    frames = []
    for colour in (RED, BLUE):
        frame = av.VideoFrame.from_ndarray(flat(colour, *size), format="rgb24")
        frames.append(
            frame.reformat(
                format="yuv420p", dst_colorspace=matrix, dst_color_range=2 if full else 1
            )
        )
    path = write(tmp_path / "colours.mp4", frames, context=context)
    read = media.read_video(path)
    for frame, colour in zip(read.frames, (RED, BLUE), strict=True):
        assert np.abs(frame[5, 5].astype(int) - colour).max() <= 5, frame[5, 5]


def test_what_is_not_applied_is_noted():
    """Numbers of H.273 for which there are no films: YCgCo, logarithmic light, XYZ."""
    for colour, is_rgb, word in (
        (Colour(8, 1, 1, True), False, "matrix (number 8"),
        (Colour(1, 9, 1, True), False, "curve (logarithmic)"),
        (Colour(1, 1, 10, True), False, "primaries (number 10"),
    ):
        assert len(colour.notes(is_rgb)) == 1 and word in colour.notes(is_rgb)[0]
    assert Colour(2, 2, 2, True).notes(False) == [] and Colour(0, 13, 1, True).notes(True) == []


def test_transparent_parts_are_white(tmp_path):
    picture = np.dstack([quarters(), np.full((96, 160), 255, np.uint8)])
    picture[:48, :, 3] = 0
    path = tmp_path / "alpha.mov"
    write(path, [picture] * 3, codec="qtrle", pixel_format="argb", options={})
    read = media.read_video(path)
    assert (read.frames[0, :40] == 255).all() and corners(read.frames[0])[2:] == ["blue", "yellow"]
    assert any("white" in note for note in read.notes)


def test_frames_of_changing_size(tmp_path):
    """Two streams of h264 one after the other, as a broadcast changes its size."""
    for name, size in (("a", (96, 160)), ("b", (64, 96))):
        write(tmp_path / f"{name}.h264", [quarters(*size)] * 4, container="h264")
    both = tmp_path / "both.h264"
    both.write_bytes((tmp_path / "a.h264").read_bytes() + (tmp_path / "b.h264").read_bytes())
    read = media.read_video(both)
    assert read.frames.shape[1:3] == (96, 160) and len(read.frames) == 8
    assert corners(read.frames[7]) == ["red", "green", "blue", "yellow"]
    assert any("change in size" in note for note in read.notes)


def test_a_fitted_clip_is_that_of_the_whole_window(tmp_path):
    rng = np.random.default_rng(0)
    pictures = [flat(rng.integers(0, 255, 3), 96, 128) for _ in range(60)]
    path = write(tmp_path / "many.mp4", pictures, 30)
    for start in (0.0, 0.71, 1.6):
        window = media.read_video(path, start, SMALL.seconds, 64)
        whole, fitted = media.fit_clip(window, SMALL), media.read_fitted(path, SMALL, start)
        np.testing.assert_array_equal(whole.frames, fitted.frames)
        assert whole.notes == fitted.notes


def test_large_frames_fit_in_memory(tmp_path, monkeypatch):
    from sora_jax.media import video

    path = write(tmp_path / "large.mp4", [quarters(240, 320)] * 24)
    monkeypatch.setattr(video, "MOST_BYTES", 1_000_000)
    read = media.read_video(path)
    assert len(read.frames) == 24 and read.frames.nbytes <= 1_000_000
    assert any("reduced to" in note for note in read.notes)
    assert corners(read.frames[3]) == ["red", "green", "blue", "yellow"]
    assert media.read_video(path, short_side=240).frames.shape == (24, 240, 320, 3)
