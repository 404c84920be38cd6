"""Films: one motion in every style, a camera whose map can be read back from the posts, and
captions that say both.
"""

import dataclasses
import functools
import itertools

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest

from sora_jax.errors import UserError
from sora_jax.modality import ClipFormat
from sora_jax.worlds.playhouse import camera
from sora_jax.worlds.playhouse.captions import CaptionError
from sora_jax.worlds.playhouse.draw import CLIP_SECONDS, draw, in_style, long_format
from sora_jax.worlds.playhouse.families import FAMILIES, film, room
from sora_jax.worlds.playhouse.families.look import Look, draw_look
from sora_jax.worlds.playhouse.render import render, render_inputs
from sora_jax.worlds.playhouse.render.inputs import shown_times
from sora_jax.worlds.playhouse.render.styles import sensor
from sora_jax.worlds.playhouse.sound import sound_inputs
from sora_jax.worlds.playhouse.spec import COLOURS, DIRECTIONS, FILM_STYLES, SIZES
from sora_jax.worlds.playhouse.stream import Stream

FORMAT = ClipFormat(frames=17, fps=16)  # 16 frames a second: anime is drawn on twos


def filmed(index, move, style, direction="right"):
    """A room on a pale backdrop, as a film."""
    take = draw("train", index)
    scene = dataclasses.replace(take.scene, style=style, backdrop=0)
    return dataclasses.replace(
        take,
        scene=camera.filmed(scene, take.trajectory, move, direction, CLIP_SECONDS),
        family="film",
    )


@pytest.fixture(scope="module")
def takes():
    """One ball in every style, and every camera in flat colours."""
    one = next(i for i in range(99) if len(draw("train", i).scene.balls) == 1)
    styles = [filmed(one, "pan", style) for style in FILM_STYLES]
    return styles + [filmed(_lively(), move, "flat", "left") for move in camera.MOVES]


def _lively():
    """A room whose first ball goes far, and in which something is hit soon."""
    for i in range(99):
        motion = draw("train", i).trajectory
        x = motion.positions(np.array([0.0, 1.0]))[:, 0, 0]
        if abs(x[1] - x[0]) > 0.9 and any(c.speed > 1.0 and c.time < 0.6 for c in motion.contacts):
            return i


@pytest.fixture(scope="module")
def frames(takes):
    return np.asarray(render(render_inputs(takes, FORMAT), FORMAT))


def test_one_motion_in_every_style():
    take = next(
        t
        for t in (draw("train", i, family="film") for i in range(9))
        if t.facts.look.camera != "static"
    )
    for style in FILM_STYLES:
        other = in_style(take, style)
        assert (
            other.trajectory is take.trajectory
            and other.scene.view == take.scene.view
            and other.scene.balls == take.scene.balls
        )
        assert other.scene.style == other.facts.look.style == style
        assert {film.parse(c).look for c in other.captions} == {other.facts.look}
        a, b = (sound_inputs([t], FORMAT) for t in (take, other))
        assert all(np.array_equal(a[name], b[name]) for name in a)
    assert draw("train", 4, family="film", style="anime").scene.style == "anime"


def coloured(picture, colour):
    """Weights [H, W] of the pixels whose hue is that of a palette colour."""
    hue = lambda rgb: (
        (rgb - rgb.mean(-1, keepdims=True))
        / np.maximum(
            np.linalg.norm(rgb - rgb.mean(-1, keepdims=True), axis=-1, keepdims=True), 0.12
        )
    )
    wanted = np.array(COLOURS[colour], np.float32)
    return np.maximum((hue(picture) @ hue(wanted)) - 0.75, 0.0)


def test_balls_are_where_they_should_be_in_every_style(takes, frames):
    for take, clip in zip(takes[:4], frames[:4], strict=True):
        style = take.scene.style
        shown, seen = shown_times(style, FORMAT), FORMAT.frame_times()
        centre = camera.project(
            camera.views(take.scene, seen), take.trajectory.positions(shown)[:, 0], 64
        )
        for f in range(0, 17, 3):
            weight = coloured(clip[f], take.scene.balls[0].colour)
            rows, columns = np.mgrid[:64, :64]
            found = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
            assert np.abs(found - centre[f]).max() < 0.75, (style, f, found, centre[f])
            area = (
                np.pi
                * (
                    take.scene.balls[0].radius
                    * 64
                    / camera.views(take.scene, seen[f : f + 1])[0, 2]
                )
                ** 2
            )
            assert 0.35 * area < (weight > 0.05).sum() < 2.0 * area, (style, f)


def test_anime_is_drawn_on_twos_and_the_camera_is_not(takes, frames):
    anime = frames[FILM_STYLES.index("anime")]
    scene = takes[FILM_STYLES.index("anime")].scene
    times = shown_times("anime", FORMAT)
    assert (times[1::2] == times[:-1:2]).all() and (
        shown_times("realistic", FORMAT) == FORMAT.frame_times()
    ).all()
    nano = ClipFormat(frames=17, fps=8)
    assert (shown_times("anime", nano) == nano.frame_times()).all()
    assert np.abs(anime[0] - anime[1]).max() > 0.1 and scene.view  # the pan goes on
    shift = camera.affine(scene, FORMAT.frame_times(), 64)[:, 1]
    still = np.roll(anime[1], int(np.round(shift[0] - shift[1])), axis=1)
    assert (
        np.abs(still - anime[0])[:, 8:-8].mean()
        < np.abs(anime[1] - anime[0])[:, 8:-8].mean() + 1e-3
    )


def test_styles_have_their_marks(frames):
    flat, realistic, cinematic, anime = frames[:4]
    bars = round(64 * camera.BARS) - 1
    assert (
        not cinematic[:, :bars].any()
        and not cinematic[:, -bars:].any()
        and cinematic[:, bars + 3].any()
    )
    assert cinematic[:, 10, :4].mean() < cinematic[:, 10, 28:36].mean() - 0.05  # vignette
    assert (
        len(np.unique(np.round(flat[0, :20] * 255)))
        < 40
        < len(np.unique(np.round(realistic[0, :20] * 255)))
    )
    dark = lambda clip: (clip.max(-1) < 0.25).sum()
    assert dark(anime) > dark(flat) + 17 * 8  # outlines


def test_sensor_noise_has_a_deviation_of_one_level():
    rows, columns = np.arange(64)[:, None], np.arange(64)[None]
    one = jax.jit(lambda f: sensor(np.zeros((64, 64, 3)), np.uint32(5), f, rows, columns))
    noise = np.stack([np.asarray(one(f)) for f in range(4)]) * 255
    assert abs(noise.mean()) < 0.02 and noise.std() == pytest.approx(1.0, abs=0.02)
    assert np.abs(np.corrcoef(noise.reshape(4, -1)) - np.eye(4)).max() < 0.04


def test_styles_and_cameras_share_a_batch(takes, frames):
    alone = np.asarray(render(render_inputs(takes[2:3], FORMAT), FORMAT))[0]
    assert takes[2].scene.style == "cinematic" and np.abs(alone - frames[2]).max() <= 1 / 255


def measured_posts(picture):
    """Pixels (column, row of the top) of the two posts: grey and dark, whatever the balls do."""
    saturation = picture.max(-1) - picture.min(-1)
    dark = np.where(saturation < 0.08, np.clip((0.9 - picture.max(-1)) / 0.84, 0.0, 1.0), 0.0)[:52]
    dark[dark < 0.12] = 0.0
    found = []
    for side in (slice(0, 32), slice(32, 64)):
        half = dark[:, side]
        at = half.sum(0).argmax()
        strip = half[:, max(at - 2, 0) : at + 3]
        columns = np.arange(max(at - 2, 0), max(at - 2, 0) + strip.shape[1])
        body = strip[30:40]
        profile = strip.sum(1) / np.median(body.sum(1))
        top = np.flatnonzero(profile > 0.5)[0]
        row = top - (profile[top] - 0.5) / max(profile[top] - profile[top - 1], 1e-6)
        found.append(((body.sum(0) * columns).sum() / body.sum() + side.start, row))
    return np.array(found)


@pytest.mark.parametrize("move", camera.MOVES)
def test_the_camera_can_be_recovered_from_the_posts(takes, frames, move):
    """Equation (2) from two points: zoom from their distance, shift from their places; relative to
    the first frame.
    """
    i = 4 + camera.MOVES.index(move)
    scene, clip = takes[i].scene, frames[i]
    zoom, column, row = (camera.affine(scene, FORMAT.frame_times(), 64)).T
    first, moved = measured_posts(clip[0]), 0.0
    for f in range(17):
        now = measured_posts(clip[f])
        ratio = (now[1, 0] - now[0, 0]) / (first[1, 0] - first[0, 0])
        assert ratio == pytest.approx(zoom[f] / zoom[0], rel=0.01)
        shift = now.mean(0) + 0.5 - ratio * (first.mean(0) + 0.5)
        expected = np.array([column[f], row[f]]) - ratio * np.array([column[0], row[0]])
        assert np.abs(shift - expected).max() < 0.35, (f, shift, expected)
        moved = max(moved, np.abs(now - first).max())
    assert (moved > 0.5) == (move != "static")


def test_views_project_and_keep_the_scene_in_sight():
    times = np.linspace(0, CLIP_SECONDS, 60)
    rng = np.random.default_rng(0)
    for i, move in enumerate(camera.MOVES):
        scene = filmed(i, move, "flat").scene
        views = camera.views(scene, times)
        points = rng.uniform(0, 4, (60, 2))
        pixels = camera.project(views, points, 64)
        np.testing.assert_allclose(camera.unproject(views, pixels, 64), points, atol=1e-12)
        zoom, column, row = camera.affine(scene, times, 64).T
        q = camera.project(camera.views(scene, np.zeros(1)), points, 64)
        np.testing.assert_allclose(
            (q + 0.5) * zoom[:, None] + np.stack([column, row], 1) - 0.5, pixels, atol=1e-9
        )
        for x, y in ((0.0, 0.0), (4.0, 3.7)):
            seen = camera.project(views, np.full((60, 2), (x, y)), 64)
            assert seen[:, 0].min() > 0 and seen[:, 0].max() < 63
            assert seen[:, 1].min() > 64 * camera.BARS - 2 and seen[:, 1].max() < 64 * (
                1 - camera.BARS
            )
        assert {"static": len(scene.view) == 1}.get(move, len(scene.view) > 1)
    with pytest.raises(ValueError, match="no camera 'crane'"):
        camera.filmed(scene, draw("train", 0).trajectory, "crane", None, 2.0)


def test_a_follow_follows_and_a_shake_shakes_at_the_impact():
    followed = filmed(3, "follow", "flat")
    times = np.arange(33) / 16
    x, left = (
        followed.trajectory.positions(times)[:, 0, 0],
        camera.views(followed.scene, times)[:, 0],
    )
    assert np.corrcoef(x, left)[0, 1] > 0.9 or np.ptp(x) < 0.3
    shaken = filmed(3, "shake", "flat")
    impact = next(c.time for c in shaken.trajectory.contacts if c.speed >= 1.0)
    view = camera.views(
        shaken.scene,
        np.array(
            [impact - 0.01, impact + camera.SWING, impact + 0.5 * camera.SWING * camera.SWINGS]
        ),
    )
    assert (view[0] == camera.views(shaken.scene, np.zeros(1))[0]).all() and np.abs(
        view[1] - view[0]
    ).max() > 0.02


@functools.cache
def drawn_of(family):
    return {
        split: [draw(split, i, family=family) for i in range(6)]
        for split in FAMILIES[family].splits
    }


@pytest.mark.parametrize("family", ["room", "film", "occlude"])
def test_splits_are_disjoint(family):
    kind, drawn = FAMILIES[family], drawn_of(family)
    for split, takes in drawn.items():
        assert all(kind.split_of(take.facts) == split for take in takes)
    keys = {split: {take.facts.key() for take in takes} for split, takes in drawn.items()}
    for a, b in itertools.combinations(keys, 2):
        assert not keys[a] & keys[b], (a, b)


def test_film_splits_hold_out_what_they_say():
    drawn = drawn_of("film")
    rest = [draw("train", i, family="film") for i in range(20)] + [
        take
        for split, takes in drawn.items()
        for take in takes
        if split in ("train", "val", "paraphrase")
    ]
    pair = lambda take: (take.facts.look.style, take.facts.look.camera)
    assert {pair(t) for t in drawn["combo"]} <= set(film.HELD_OUT_PAIRS) and not {
        pair(t) for t in rest
    } & set(film.HELD_OUT_PAIRS)
    assert {s for s, _ in map(pair, rest)} == set(FILM_STYLES) and {
        m for _, m in map(pair, rest)
    } == set(camera.MOVES)
    assert all(film.held_out_order(t.facts.first) for t in drawn["order"])
    assert not any(t.facts.first and film.held_out_order(t.facts.first) for t in rest)
    voices = {split: {t.facts.voice for t in takes} for split, takes in drawn.items()}
    assert voices["speakers"] <= set(film.HELD_OUT_VOICES)
    assert not any(v & set(film.HELD_OUT_VOICES) for s, v in voices.items() if s != "speakers")
    assert all(t.scene.narration.voice == t.facts.voice for t in drawn["speakers"])
    assert all(t.scene.gravity == 3.7 for t in drawn["ood_gravity"])
    launched = lambda takes: [
        [abs(b.velocity[0]) for b in t.scene.balls if b.launch != "dropped"] for t in takes
    ]
    slowest, fastest = (
        min(min(speeds) for speeds in launched(drawn["ood_velocity"])),
        max(max(s, default=0) for s in launched(rest)),
    )
    assert slowest > film.FASTEST >= fastest
    sizes = [r for low, high in SIZES.values() for r in (low, high)]
    assert all(
        b.radius < min(sizes) or b.radius > max(sizes)
        for t in drawn["ood_size"]
        for b in t.scene.balls
    )
    aloud = ["is said aloud" in t.captions[0] for t in rest if t.facts.voice is not None]
    assert aloud == [t.split == "paraphrase" for t in rest if t.facts.voice is not None]


def test_long_clips_keep_their_facts_to_the_end():
    format = long_format("length", ClipFormat(frames=17, fps=8))
    assert format.frames == 33 and long_format("val", format) is format
    for take in drawn_of("film")["length"]:
        bounces = [take.trajectory.bounces(k) for k in range(len(take.scene.balls))]
        assert bounces == [ball.bounces for ball in take.facts.balls.balls]
        last = max((c.time for c in take.trajectory.contacts), default=0.0)
        assert last < format.seconds and take.scene.view[-1][0] < 2 * CLIP_SECONDS + 0.3


def test_balls_land_in_the_order_that_is_said():
    found = [
        take for take in (draw("train", i, family="film") for i in range(20)) if take.facts.first
    ]
    for take in found:
        time = {
            take.scene.balls[c.a].colour: c.time
            for c in reversed(take.trajectory.contacts)
            if c.kind == "floor"
        }
        a, b = take.facts.first
        assert time[a] < time[b] and all(
            t >= time[b] for colour, t in time.items() if colour not in (a, b)
        )
    assert len(found) > 2


@st.composite
def facts(draw):
    stream = Stream(draw(st.integers(0, 2**32)))
    balls = room.draw_balls(stream, draw(st.integers(1, 3)))
    landing = [ball.colour for ball in balls.balls if ball.bounces]
    first = tuple(landing[:2]) if len(landing) > 1 else None
    look = draw_look(
        stream, draw(st.sampled_from(FILM_STYLES)), draw(st.sampled_from(camera.MOVES))
    )
    return film.FilmFacts(balls, look, first, draw(st.sampled_from([None, 0])))


@hypothesis.given(facts(), st.integers(0, 2**20), st.booleans())
@hypothesis.settings(max_examples=150, deadline=None)
def test_every_paraphrase_reads_back(facts, variant, held_out):
    text = film.caption(facts, variant, held_out)
    for read in (film.parse(text), film.parse(text.upper() + ".")):
        assert (read.balls.key(), read.look, read.first, read.voice) == (
            facts.balls.key(),
            facts.look,
            facts.first,
            facts.voice,
        )
        assert facts.voice is None or read.balls.balls[0].colour == facts.balls.balls[0].colour
    assert film.FilmFacts.from_dict(facts.to_dict()) == facts


def test_errors_say_where():
    with pytest.raises(CaptionError) as error:
        film.parse("anime, the camera dances: a small red ball is dropped and bounces once")
    assert error.value.column == 19 and "camera" in str(error.value)
    with pytest.raises(CaptionError) as error:
        film.parse("anime, the camera shakes: a small pink ball is dropped and bounces once")
    assert error.value.column == 35
    with pytest.raises(UserError, match="no style 'oil'"):
        draw("train", 0, family="film", style="oil")
    with pytest.raises(UserError, match="draws its own"):
        draw("train", 0, family="court", style="anime")
    assert Look("anime", "pan", DIRECTIONS[0]).direction == "left"
