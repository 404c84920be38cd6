"""Letterboxed frames keep the whole picture, centred between black bars."""

import numpy as np
import pytest
from films import BLUE, GREEN, RED, YELLOW, flat, quarters, write

from sora_jax import media
from sora_jax.media.stills import fit_frame, resizing
from sora_jax.modality import ClipFormat

SMALL = ClipFormat(frames=5, fps=8, height=32, width=32)
WIDE = ClipFormat(frames=5, fps=8, height=48, width=64)
SIZES = [(90, 160), (160, 90), (32, 320), (320, 32), (96, 96), (17, 31), (1080, 1920)]


def picture_of(frame):
    """Returns (top, bottom, left, right) of what is not exactly black."""
    rows, columns = (np.flatnonzero(frame.any((axis, 2))) for axis in (1, 0))
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


@pytest.mark.parametrize("height, width", SIZES)
@pytest.mark.parametrize("target", [(32, 32), (48, 64), (64, 48)])
def test_the_whole_picture_between_black_bars(height, width, target):
    """Each corner of the picture has a colour of its own, and none is lost."""
    image = np.full((height, width, 3), 128, np.uint8)
    corners = {(0, 0): RED, (0, -1): GREEN, (-1, 0): BLUE, (-1, -1): YELLOW}
    high, wide = -(-height // 4), -(-width // 4)
    for (y, x), colour in corners.items():
        rows, columns = slice(high) if y == 0 else slice(-high, None), slice(wide)
        image[rows, columns if x == 0 else slice(-wide, None)] = colour
    frame = fit_frame(image, *target, letterbox=True)
    assert frame.shape == (*target, 3) and frame.dtype == np.uint8
    top, bottom, left, right = picture_of(frame)
    # the proportions, to a pixel, and one side as long as there is room
    scale = min(target[0] / height, target[1] / width)
    assert abs(bottom - top - height * scale) <= 1 and abs(right - left - width * scale) <= 1
    assert bottom - top == target[0] or right - left == target[1]
    # centred
    assert abs(top - (target[0] - bottom)) <= 1 and abs(left - (target[1] - right)) <= 1
    for (y, x), colour in corners.items():
        seen = frame[top if y == 0 else bottom - 1, left if x == 0 else right - 1].astype(int)
        assert np.abs(seen - colour).max() < 60, (y, x)
    cropped = fit_frame(image, *target)
    assert cropped.any(2).all()  # no bars


def test_fine_detail_is_averaged():
    """Lines of one pixel become grey, as when cropped, instead of a pattern."""
    lines = np.zeros((128, 256, 3), np.uint8)
    lines[:, ::2] = 255
    frame = fit_frame(lines, 32, 32, letterbox=True)
    assert np.abs(frame[8:24, 2:-2].astype(int) - 128).max() < 8
    assert not frame[:8].any() and not frame[24:].any()


def test_a_line_says_which():
    assert resizing((720, 1280), (64, 64), True) == "letterboxed to 64 x 64"
    assert resizing((720, 1280), (64, 64)) == "cropped to their central square and resized to " + (
        "64 x 64"
    )
    for letterbox in (False, True):
        assert resizing((128, 128), (64, 64), letterbox) == "resized to 64 x 64"


@pytest.mark.parametrize("name", ["wide", "tall", "oblong pixels"])
def test_films(tmp_path, name):
    pictures = [quarters() if name != "tall" else quarters(160, 96)] * 15
    context = {"sample_aspect_ratio": 2} if name == "oblong pixels" else {}
    path = write(tmp_path / "a.mp4", pictures, context=context)
    shape = {"wide": (19, 32), "tall": (32, 19), "oblong pixels": (10, 32)}[name]
    clip = media.read_fitted(path, SMALL, letterbox=True)
    again = media.fit_clip(media.read_video(path), SMALL, letterbox=True)
    for frames in (clip.frames, again.frames):
        top, bottom, left, right = picture_of(frames[2])
        assert abs(bottom - top - shape[0]) <= 1 and abs(right - left - shape[1]) <= 1
        inside = frames[:, top:bottom, left:right]
        for y, x, colour in ((1, 1, RED), (1, -2, GREEN), (-2, 1, BLUE), (-2, -2, YELLOW)):
            assert np.abs(inside[:, y, x] * 255 - colour).max() < 40
        outside = frames.copy()
        outside[:, top:bottom, left:right] = 0
        assert not outside.any()
    size = "96 x 160" if name == "tall" else "160 x 96"
    assert f"frames of {size} letterboxed to 32 x 32" in clip.notes
    assert not [note for note in clip.notes if "crop" in note]


def test_a_film_of_the_same_proportions_has_no_bars(tmp_path):
    path = write(tmp_path / "a.mp4", [flat(RED, 96, 128)] * 15)
    clip = media.read_fitted(path, WIDE, letterbox=True)
    assert clip.frames[..., 0].min() > 0.7
    assert "frames of 128 x 96 resized to 64 x 48" in clip.notes
