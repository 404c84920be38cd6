"""The picture of a clip: every frame once and in order, marks where they are, a scale that tells
the truth.
"""

import os

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from sora_jax import contact_sheet as lib
from sora_jax.clip import Clip
from sora_jax.errors import UserError


def coded_frames(count):
    """Frame i is of one colour, (i, 0, 255 - i), that occurs nowhere else in a sheet."""
    levels = np.arange(count, dtype=np.uint8)
    return np.broadcast_to(
        np.stack([levels, 0 * levels, 255 - levels], -1)[:, None, None], (count, 64, 64, 3)
    )


def draw(tmp_path, clip, **options):
    lib.contact_sheet(tmp_path / "sheet.png", clip, title="a red ball", **options)
    assert os.listdir(tmp_path) == ["sheet.png"]
    return np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB")).astype(int)


def frames_read(sheet):
    """The codes of the frames, line by line and from left to right."""
    coded = (sheet[..., 1] == 0) & (sheet[..., 0] + sheet[..., 2] == 255)
    rows = np.flatnonzero(coded.sum(1) > 200)
    lines = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    codes = [sheet[line[len(line) // 2], coded[line[len(line) // 2]], 0] for line in lines]
    return [list(line[np.r_[True, np.diff(line) != 0]]) for line in codes]


@pytest.mark.parametrize(
    "count, fps, lines, step",
    [(17, 8, 1, 1), (33, 16, 2, 1), (49, 8, 3, 1), (201, 8, 4, 3)],
    ids=["nano", "S", "continued", "long"],
)
def test_a_sheet_is_read_like_text(tmp_path, count, fps, lines, step):
    clip = Clip(coded_frames(count), np.zeros(count * 16000 // fps), fps)
    read = frames_read(draw(tmp_path, clip))
    assert len(read) == lines and all(
        line == list(range(line[0], line[-1] + 1, step)) for line in read
    )
    shown = [number for line in read for number in line]
    assert shown[0] == step // 2 and shown[-1] >= count - step and max(np.diff(shown)) <= 2 * step


def test_impacts_are_marked_at_their_time_in_two_colours(tmp_path):
    times = {"seen": [0.5, 1.75], "heard": [1.0]}
    sheet = draw(tmp_path, Clip(coded_frames(17), np.zeros(34000)), **times)
    pictures = np.flatnonzero((sheet[..., 1] == 0).sum(0) > 20)
    # the first and the last picture end 0.015 of a frame inside the clip
    left, right = pictures[0] - 1, pictures[-1] + 1
    for name, wanted in times.items():
        colour = np.round(np.array(to_rgb(lib.MARKS[name][0])) * 255)
        columns = np.flatnonzero((np.abs(sheet - colour).max(-1) < 60)[100:].sum(0) > 60)
        found = np.split(columns, np.flatnonzero(np.diff(columns) > 2) + 1)
        np.testing.assert_allclose(
            [(c.mean() - left) / (right - left) * 17 / 8 for c in found], wanted, atol=0.004
        )
        assert (np.abs(sheet - colour).max(-1) < 60)[:30].any()  # the legend


@pytest.mark.parametrize("loudest", [1.0, 0.3, 0.01])
def test_the_waveform_has_a_scale_in_dbfs(loudest):
    axis = Figure().add_axes((0, 0, 1, 1), xlim=(0, 1))
    lib._draw_waveform(axis, loudest * np.sin(np.arange(16000)), 16000)
    top, label = axis.get_yticks()[2], axis.get_yticklabels()[2].get_text()
    assert (
        20 * np.log10(top) == pytest.approx(float(label))
        and loudest / 2 < top <= loudest < axis.get_ylim()[1]
    )


def test_a_clip_without_sound_has_a_clock(tmp_path):
    silent = draw(tmp_path, Clip(coded_frames(17)))
    assert frames_read(silent) == [list(range(17))] and (silent[-40:] < 120).all(-1).any()
    with pytest.raises(UserError, match="cannot write"):
        lib.contact_sheet(tmp_path / "sheet.png" / "inside.png", Clip(coded_frames(1)))


def test_log_mel_shows_the_pitch():
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    levels = lib.log_mel(tone)
    top = 2595 * np.log10(1 + 8000 / 700)
    assert abs(levels.mean(1).argmax() - (2595 * np.log10(1 + 1000 / 700) / top * 65 - 1)) <= 1
    assert levels.max() == pytest.approx(0) and levels.shape == (64, 126)
