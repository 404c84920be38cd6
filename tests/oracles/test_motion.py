"""PhyWorld's measure of motion: floors, what a wrong motion costs, and the paper's own parser."""

import dataclasses

import numpy as np
import pytest

from sora_jax.modality import FORMATS
from sora_jax.oracles import examples, phyworld
from sora_jax.worlds.playhouse.draw import draw

FORM = FORMATS["phyworld"]


@pytest.fixture(scope="module")
def scenes():
    return examples.render_takes(
        [
            draw("val", i, family=f"phyworld_{task}_30k")
            for task in ("uniform", "collision", "parabola")
            for i in range(4)
        ],
        FORM,
        12,
    )


def test_renders_have_the_error_of_their_floor(scenes):
    for clip in scenes:
        error, lost = phyworld.read_motion(clip.frames, clip.take, FORM.fps)
        assert error < 0.03 and lost == 0
    # uniform
    assert (
        np.mean([phyworld.read_motion(c.frames, c.take, FORM.fps)[0] for c in scenes[:4]]) <= 0.012
    )


def test_a_wrong_motion_costs_its_velocity(scenes):
    still = np.repeat(scenes[0].frames[:1], FORM.frames, axis=0)
    assert phyworld.read_motion(still, scenes[0].take, FORM.fps)[0] == pytest.approx(
        scenes[0].take.facts.speeds[0], rel=1e-6
    )
    error, _ = phyworld.read_motion(scenes[0].frames[::-1], scenes[0].take, FORM.fps)
    assert error == pytest.approx(2 * scenes[0].take.facts.speeds[0], abs=0.05)


def test_a_ball_that_is_lost_is_said_and_is_no_zero(scenes):
    frames = scenes[0].frames.copy()
    frames[10:12] = 1.0
    error, lost = phyworld.read_motion(frames, scenes[0].take, FORM.fps)
    assert error < 0.03 and 0.05 < lost < 0.2
    assert phyworld.read_motion(np.ones_like(frames), scenes[0].take, FORM.fps) == (None, 1.0)


def test_a_ball_that_is_there_twice_is_lost(scenes):
    """In three frames its likeness is there too, a third of the picture away."""
    frames = scenes[0].frames.copy()
    frames[10:13] = np.minimum(frames[10:13], np.roll(frames[10:13], FORM.size // 3, axis=1))
    error, lost = phyworld.read_motion(frames, scenes[0].take, FORM.fps)
    assert error < 0.03 and 0.08 < lost < 0.3


def test_only_frames_after_an_impact_and_in_view_count(scenes):
    take, times = scenes[4].take, FORM.frame_times()
    counts = phyworld.scored_steps(take, times)
    assert counts.any() and not counts[times[:-1] < take.trajectory.contacts[0].time].any()
    counts = phyworld.scored_steps(scenes[0].take, times)
    # what was given is not asked for
    assert not counts[: phyworld.GIVEN - 1].any() and counts[phyworld.GIVEN - 1].all()
    gone = dataclasses.replace(take, scene=dataclasses.replace(take.scene, extent=0.1))
    # nothing is asked
    assert phyworld.read_motion(scenes[4].frames, gone, FORM.fps) == (None, None)


def test_the_papers_table():
    rows = {(r["task"], r["model"], r["clips"]): r for r in phyworld.paper_table()}
    assert (
        len(rows) == 27
        and rows["uniform", "S", 30_000]["id_error"] == 0.0221
        and rows["parabola", "L", 3e6]["ood_error"] == 0.338
    )


def test_a_disc_of_pixels_has_our_floor():
    """What the paper's parser must err by where balls go straight, from counting pixels alone: no
    picture, no edge, no threshold.
    """
    rng, per_unit, errors = np.random.default_rng(0), 25.6, []
    for _ in range(300):
        r, v, x, y = (
            rng.uniform(0.7, 1.4) * per_unit,
            rng.uniform(1.0, 4.0) * 0.1 * per_unit,
            *rng.uniform(0.0, 1.0, 2),
        )
        rows, columns = np.mgrid[-40:41, -40:130]
        means = [columns[np.hypot(columns - x - v * t, rows - y) < r].mean() for t in range(9)]
        errors.append(np.abs(np.diff(means) - v).mean() / (0.1 * per_unit))
    assert np.mean(errors) == pytest.approx(0.0120, abs=0.0008)


@pytest.mark.slow
def test_the_papers_parser_at_its_size_has_the_papers_floor():
    format = dataclasses.replace(FORM, height=256, width=256)
    clips = examples.render_takes(
        [draw("val", i, family="phyworld_collision_30k") for i in range(12)], format, 4
    )
    error = np.mean(
        [
            phyworld.read_motion(c.frames, c.take, format.fps, phyworld.paper_centres)[0]
            for c in clips
        ]
    )
    assert error == pytest.approx(0.0117, abs=0.0015)
