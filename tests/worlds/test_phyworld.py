"""PhyWorld's scenes: the paper's ranges and grids, exact elastic motion, splits by value."""

import itertools

import numpy as np
import pytest

from sora_jax.errors import UserError
from sora_jax.modality import FORMATS
from sora_jax.worlds.playhouse.draw import draw
from sora_jax.worlds.playhouse.families import FAMILIES, phyworld
from sora_jax.worlds.playhouse.render import render, render_inputs

TASKS = [f"phyworld_{task}_30k" for task in phyworld.TASKS]
TIMES = np.arange(33) * 0.1


def test_sizes_of_the_training_sets():
    sizes = {
        name: family.train_size for name, family in FAMILIES.items() if name.startswith("phyworld")
    }
    assert sizes["phyworld_uniform_30k"] == sizes["phyworld_parabola_30k"] == 30_000
    assert sizes["phyworld_uniform_300k"] == 300_000
    assert (sizes["phyworld_collision_30k"], sizes["phyworld_collision_300k"]) == (28_224, 329_476)
    with pytest.raises(UserError, match="30000 scenes in train; give 0 to 29999") as error:
        draw("train", 30_000, family="phyworld_uniform_30k")
    assert error.value.field == "index"


def test_the_grid_is_walked_once():
    family = FAMILIES["phyworld_uniform_30k"]
    cells = {family.aim(None, "train", i).key() for i in range(family.train_size)}
    assert len(cells) == family.train_size
    speeds = {family.aim(None, "train", i).speeds[0] for i in range(family.train_size)}
    assert len(speeds) == 300 and min(speeds) == 1.0 and max(speeds) == 4.0


@pytest.mark.parametrize("name", TASKS)
def test_splits_are_disjoint_and_in_their_ranges(name):
    n = FAMILIES[name].balls
    drawn = {s: [draw(s, i, family=name).facts for i in range(40)] for s in FAMILIES[name].splits}
    variants = set(phyworld.TRAIN[1:])  # the cells of train, seen otherwise
    for a, b in itertools.combinations(drawn.keys() - variants, 2):
        assert not {f.key() for f in drawn[a]} & {f.key() for f in drawn[b]}
    inside = lambda values, low, high: all(low <= v <= high for v in values)
    for split, facts in drawn.items():
        for f in facts:
            assert inside(f.speeds, 1, 4) == (split not in ("ood_velocity", "ood_velocity_size"))
            assert inside(f.radii, *phyworld.RADII[n]) == (
                split not in ("ood_size", "ood_velocity_size")
            )
            assert all(v <= 0.8 or 1 <= v <= 4 or 4.5 <= v <= 6 for v in f.speeds)
    grid = np.linspace(1, 4, FAMILIES[name].grid[0])
    # between the points of the grid
    assert all(np.abs(grid - f.speeds[0]).min() > 1e-9 for f in drawn["val"])
    assert all(np.abs(grid - f.speeds[0]).min() < 1e-9 for f in drawn["train"])


@pytest.mark.parametrize("name", TASKS)
def test_flips_are_mirrored_scenes_of_the_same_cells(name):
    seen = set()
    for i in range(64):
        take, plain = (draw(split, i, family=name) for split in ("train_flips", "train"))
        assert take.facts.speeds == plain.facts.speeds and take.facts.radii == plain.facts.radii
        v, w = (t.trajectory.velocities(TIMES[:1])[0] for t in (take, plain))
        assert abs(v[0, 0]) == pytest.approx(w[0, 0]) and not v[:, 1].any()
        side = v[0, 0] < 0
        assert take.scene.balls[0].direction == ("left" if side else "right")
        if len(v) == 2:  # they still meet
            assert v[0, 0] * v[1, 0] < 0 and len(take.trajectory.contacts) == 1
        falls = take.trajectory.velocities(TIMES[20:21])[0, 0, 1]
        assert (falls < 0) == (name == TASKS[2])  # gravity is never turned
        seen.add((side, take.scene.balls[0].position[1] > 5))
    # both ways; thrown balls start at the top, as in train
    assert len(seen) == (2 if name == TASKS[2] else 4)


@pytest.mark.parametrize("name", TASKS)
def test_boosts_are_the_same_motion_seen_by_a_camera_that_moves(name):
    boosts = []
    for i in range(64):
        take = draw("train_boosts", i, family=name)
        p = take.trajectory.positions(TIMES)
        boost = take.trajectory.velocities(TIMES[:1])[0, 0, 1]
        boosts.append(boost)
        assert draw("train", i, family=name).facts.speeds == take.facts.speeds
        still = p - np.stack([0 * TIMES, boost * TIMES], -1)[:, None]
        g = 2.5 if name == TASKS[2] else 0.0
        height = p[:1, :, 1] - 0.5 * g * TIMES[:, None] ** 2
        if name != TASKS[1]:
            np.testing.assert_allclose(still[..., 1], height, atol=1e-9)
        else:  # a head-on collision stays head-on
            np.testing.assert_allclose(still[..., 1], np.broadcast_to(height, still.shape[:2]))
        if g == 0:
            r = max(take.facts.radii)
            assert (p[:25, :, 1] >= r - 1e-9).all() and (p[:25, :, 1] <= 10 - r + 1e-9).all()
    assert -1 <= min(boosts) < -0.3 and 0.3 < max(boosts) <= 1


def test_uniform_and_parabola_are_their_formulas():
    for name, g in ((TASKS[0], 0.0), (TASKS[2], 2.5)):
        for i in range(10):
            take = draw("val", i, family=name)
            (x, y), v = take.scene.balls[0].position, take.facts.speeds[0]
            p = take.trajectory.positions(TIMES)[:, 0]
            np.testing.assert_allclose(
                p, np.stack([x + v * TIMES, y - 0.5 * g * TIMES**2], -1), atol=1e-12
            )
            assert not take.trajectory.contacts


def test_collisions_keep_momentum_and_energy_and_come_in_time():
    for split in FAMILIES[TASKS[1]].splits:
        for i in range(20):
            take = draw(split, i, family=TASKS[1])
            (contact,) = take.trajectory.contacts
            assert 0.4 - 1e-9 <= contact.time <= 2.4 + 1e-9 and [
                b.colour for b in take.scene.balls
            ] == ["red", "blue"]
            m = np.array(take.facts.radii) ** 2  # the paper's mass
            v = take.trajectory.velocities(np.array([0.0, 3.2]))[..., 0]
            assert (m * v).sum(-1)[1] == pytest.approx((m * v).sum(-1)[0], abs=1e-9)
            assert (m * v * v).sum(-1)[1] == pytest.approx((m * v * v).sum(-1)[0], abs=1e-9)
            assert np.ptp(take.trajectory.velocities(TIMES)[..., 1]) == 0.0
            start = take.trajectory.positions(np.zeros(1))[0, :, 0]
            assert (start - take.facts.radii >= -1e-9).all() and (
                start + take.facts.radii <= 10 + 1e-9
            ).all()


def test_balls_on_a_blank_sheet():
    """The paper's parser: the mean pixel of R > 127, G < 127, B < 127 is the ball, and everything
    else is white.
    """
    format = FORMATS["phyworld"]
    takes = [draw("val", i, family=name) for name in TASKS for i in (0, 1)]
    frames = np.round(np.asarray(render(render_inputs(takes, format), format)) * 255)
    for take, clip in zip(takes, frames, strict=True):
        ball = take.scene.balls[0]
        p = take.trajectory.positions(format.frame_times())[:, 0]
        for f in (0, 3, 6):
            red = (clip[f, ..., 0] > 127) & (clip[f, ..., 1] < 127) & (clip[f, ..., 2] < 127)
            if not ((p[f] > ball.radius) & (p[f] < 10 - ball.radius)).all():
                continue
            rows, columns = np.nonzero(red)
            assert (
                abs((columns.mean() + 0.5) / 6.4 - p[f, 0]) < 0.05
                and abs(10 - (rows.mean() + 0.5) / 6.4 - p[f, 1]) < 0.05
            )
        assert (clip[0, 0, 0] == 255).all() and take.captions[0] == ""
