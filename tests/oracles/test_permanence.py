"""A ball behind a panel, in pictures drawn here: it stays itself, or it does not."""

import numpy as np
import pytest

from sora_jax.modality import FORMATS
from sora_jax.oracles import examples
from sora_jax.oracles.corruptions import resized
from sora_jax.oracles.disc import follow, still_picture
from sora_jax.oracles.panel import read_panel
from sora_jax.oracles.permanence import course, in_front, lost, read_permanence, stuck, swapped
from sora_jax.oracles.reading import Reading
from sora_jax.oracles.tracker import vivid
from sora_jax.worlds.playhouse.draw import draw
from sora_jax.worlds.playhouse.spec import COLOURS, PAINTS, to_pixels

SIZE, FRAMES, FPS, RADIUS = 64, 17, 8, 0.3
TIMES = (np.arange(FRAMES) + 0.5) / FPS
PANEL = (1.4, 2.6, 1.5)  # left, right, top


def clip(
    x,
    colours=("red",) * FRAMES,
    present=None,
    lifts=None,
    noise=0.0,
    panel=PANEL,
    radius=RADIUS,
    height=None,
):
    """A ball at x [F] on the floor of a pale room, or at a height, behind a panel that is gone from
    frame `lifts` on.
    """
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    frames = np.empty((FRAMES, SIZE, SIZE, 3))
    corner = to_pixels(np.array([[panel[0], panel[2]], [panel[1], 0.0]]), 4.0, SIZE)
    for f in range(FRAMES):
        frames[f] = np.where(rows[..., None] < 59, [0.9, 0.89, 0.86], [0.6, 0.58, 0.55])
        if present is None or present[f]:
            column, row = to_pixels(np.array([x[f], height or radius]), 4.0, SIZE)
            cover = np.clip(radius * SIZE / 4 - np.hypot(columns - column, rows - row) + 0.5, 0, 1)[
                ..., None
            ]
            frames[f] = frames[f] * (1 - cover) + np.array(COLOURS[colours[f]]) * cover
        if lifts is None or f < lifts:
            inside = (
                (columns >= corner[0, 0])
                & (columns <= corner[1, 0])
                & (rows >= corner[0, 1])
                & (rows <= corner[1, 1] + 2)
            )
            frames[f][inside] = PAINTS["panel"]
    return np.clip(
        frames + np.random.default_rng(0).normal(scale=noise, size=frames.shape), 0, 1
    ).astype(np.float32)


def read(frames):
    return read_permanence(frames, FPS)


THROUGH = 0.5 + 1.5 * TIMES
HIDDEN = (THROUGH - RADIUS > PANEL[0]) & (THROUGH + RADIUS < PANEL[1])
MIDDLE = int(np.median(np.flatnonzero(HIDDEN)))


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_a_ball_that_passes_is_kept(noise):
    assert np.sum(HIDDEN) >= 3 and read(clip(THROUGH, noise=noise)).persists


def test_a_ball_that_comes_back_from_a_wall_is_kept():
    met = 1.1
    x = np.where(TIMES < met, 4 - RADIUS - 2.4 * (met - TIMES), 4 - RADIUS - 2.2 * (TIMES - met))
    assert read(clip(x, panel=(2.6, 4.2, 1.5))).persists
    assert not read(clip(np.where(TIMES < met, x, x - 0.6), panel=(2.6, 4.2, 1.5))).on_course


def test_a_wall_in_view_does_not_hide_what_was_behind_the_panel():
    met, again = 0.45, 1.6  # at the wall behind the panel, and at the other one, in view
    after = lambda t: 4 - RADIUS - 2.95 * (t - met)
    x = np.where(
        TIMES < met,
        4 - RADIUS - 3.2 * (met - TIMES),
        np.where(TIMES < again, after(TIMES), after(again) + 2.0 * (TIMES - again)),
    )
    assert read(clip(x, panel=(3.0, 4.2, 1.5))).persists
    early = np.where(
        TIMES < met, x, np.minimum(x, np.where(TIMES < again - 0.2, after(TIMES + 0.2), 9.0))
    )
    assert not read(clip(early, panel=(3.0, 4.2, 1.5))).on_course


def test_a_highlight_is_of_the_ball():
    frames = clip(THROUGH, lifts=0)
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    for f in range(FRAMES):
        column, row = to_pixels(np.array([THROUGH[f] - 0.35 * RADIUS, 1.35 * RADIUS]), 4.0, SIZE)
        frames[f][np.hypot(columns - column, rows - row) < 0.3 * RADIUS * SIZE / 4] = 1.0
    ball = follow(frames, still_picture(frames), np.zeros((SIZE, SIZE)), 4.0)
    assert ball.radius == pytest.approx(RADIUS, rel=0.02)
    np.testing.assert_allclose(ball.position[:, 0], THROUGH, atol=0.01)


def test_a_bluish_room_in_noise_holds_no_ball():
    room = np.clip(
        np.array([0.29, 0.31, 0.43])
        + np.random.default_rng(0).normal(scale=10 / 255, size=(FRAMES, SIZE, SIZE, 3)),
        0,
        1,
    )
    assert vivid(room.astype(np.float32)).mean() < 0.001


def test_a_panel_that_lifts():
    slow = 0.6 + 0.85 * TIMES
    assert read(clip(slow, lifts=14)).persists
    assert not read(clip(slow, lifts=14, present=np.arange(FRAMES) < 10)).back


def test_each_breach_is_told():
    gone = read(clip(THROUGH, present=np.arange(FRAMES) < MIDDLE))
    assert not gone.back and not gone.persists
    other = read(clip(THROUGH, ["red" if f < MIDDLE else "blue" for f in range(FRAMES)]))
    assert not other.same and not other.persists
    early = read(clip(np.where(np.arange(FRAMES) < MIDDLE, THROUGH, THROUGH + 0.5)))
    assert early.back and early.same and not early.on_course
    frozen = read(clip(np.where(np.arange(FRAMES) < MIDDLE, THROUGH, THROUGH[MIDDLE])))
    assert not frozen.back and not frozen.persists
    turned = read(
        clip(np.where(np.arange(FRAMES) < MIDDLE, THROUGH, 2 * THROUGH[MIDDLE] - THROUGH))
    )
    # nothing is behind the panel that it could have met
    assert turned.back and not turned.on_course


def test_what_is_not_hidden_must_be_seen():
    shown = np.ones(FRAMES, bool)
    shown[1:3] = False
    # gone in the open
    assert THROUGH[2] + RADIUS < PANEL[0] and not read(clip(THROUGH, present=shown)).on_course
    # the panel is gone, and the ball comes later
    assert not read(clip(THROUGH, lifts=MIDDLE, present=~HIDDEN)).on_course
    ball = (
        np.abs(clip(THROUGH, lifts=0) - clip(THROUGH, lifts=0, present=np.zeros(FRAMES, bool))).max(
            -1, keepdims=True
        )
        > 0.02
    )
    # it goes before the panel
    assert not read(np.where(ball, clip(THROUGH, lifts=0), clip(THROUGH))).persists


def test_a_ball_before_it_does_not_lift_a_panel():
    slow = 0.2 + 0.9 * TIMES
    frames, ball = clip(slow, panel=(1.5, 2.4, 1.0)), clip(slow, lifts=0, radius=0.46)
    shown = (
        np.abs(ball - clip(slow, lifts=0, present=np.zeros(FRAMES, bool))).max(-1, keepdims=True)
        > 0.02
    )
    panel = read_panel(np.where(shown, ball, frames).astype(np.float32))
    assert panel.right - panel.left < 0.9 and panel.top < 1.1 and panel.present.all()


def test_it_comes_out_as_large_as_it_went_in():
    small, large = clip(THROUGH), clip(THROUGH, radius=0.42)
    assert not read(np.concatenate([small[:MIDDLE], large[MIDDLE:]])).same


def test_a_ball_over_the_panel_is_not_behind_it():
    assert not read(clip(THROUGH, present=~HIDDEN, height=2.8)).on_course


def test_a_grey_room_is_no_panel():
    assert read(np.full((FRAMES, SIZE, SIZE, 3), PAINTS["panel"], np.float32)) is None


def test_without_a_panel_there_is_nothing_to_ask():
    frames = clip(THROUGH, lifts=0)
    assert read_panel(frames) is None and read(frames) is None
    panel = read_panel(clip(THROUGH, lifts=14))
    assert (panel.left, panel.right, panel.top) == pytest.approx(PANEL, abs=0.08)
    assert panel.present.tolist() == [f < 14 for f in range(FRAMES)]


def test_a_course_is_straight_or_meets_a_wall():
    ones = np.ones(FRAMES)
    assert course(TIMES, THROUGH, ones, RADIUS).rms < 1e-9
    x = np.where(TIMES < 1.0, 3.7 - 1.4 * (1.0 - TIMES), 3.7 - 0.9 * (TIMES - 1.0))
    found = course(TIMES, x, ones, RADIUS)
    assert found.rms < 0.005 and (found.w, found.t_w, found.u, found.v) == pytest.approx(
        (3.7, 1.0, 1.4, -0.9), abs=0.02
    )
    np.testing.assert_allclose(found.at(TIMES), x, atol=0.02)
    gained = np.where(TIMES < 1.0, 3.7 - 0.9 * (1.0 - TIMES), 3.7 - 1.8 * (TIMES - 1.0))
    assert course(TIMES, gained, ones, RADIUS).rms > 0.1  # a wall gives no speed
    # nor does it hold what meets it
    assert course(TIMES, np.minimum(1.4 * TIMES + 2.3, 3.7), ones, RADIUS).rms > 0.03


@pytest.mark.slow
def test_films_with_moving_cameras():
    """Of rendered clips nearly all are kept, and what changes behind the panel is found out."""
    clips = examples.render_takes(
        [draw("val", i, family="occlude") for i in range(12)], FORMATS["nano"], batch=12
    )
    kept = lambda clips: sum(
        bool(r and r.persists) for r in (Reading(c).of("permanence") for c in clips)
    )
    assert kept(clips) == 12
    hardly = draw("val", 239, family="occlude")  # its posts are hidden most of the time
    assert kept(examples.render_takes([hardly], FORMATS["nano"], batch=12)) == 1
    for change in (lost, swapped, resized, stuck, in_front):
        assert kept(change(clips)) == 0
