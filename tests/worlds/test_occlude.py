"""What is hidden, and when, is exact; pictures agree; motion does not know of the panel."""

import dataclasses

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from sora_jax.modality import ClipFormat
from sora_jax.worlds.playhouse.draw import CLIP_SECONDS, draw, in_style
from sora_jax.worlds.playhouse.families import occlude
from sora_jax.worlds.playhouse.families.look import draw_look
from sora_jax.worlds.playhouse.hiding import hidden, panels
from sora_jax.worlds.playhouse.render import render, render_inputs
from sora_jax.worlds.playhouse.simulate import simulate
from sora_jax.worlds.playhouse.spec import COLOURS, DIRECTIONS, FILM_STYLES, SIZES
from sora_jax.worlds.playhouse.stream import Stream

FORMAT = ClipFormat(frames=17, fps=8)


@pytest.fixture(scope="module")
def takes():
    return [draw("train", i, family="occlude", style="flat") for i in range(45)]


def test_every_fate_in_every_direction(takes):
    seen = {(t.facts.fate, t.facts.direction) for t in takes}
    assert seen == {(f, d) for f in occlude.FATES for d in DIRECTIONS}


def test_hidden_times_are_those_of_a_fine_clock(takes):
    """Equation (1) at 20,001 instants; and the ends of the intervals are where a side is
    touched.
    """
    times = np.linspace(0, CLIP_SECONDS, 20001)
    for take in takes:
        ((_, start, end),) = take.hidden
        (panel,) = panels(take.scene)
        p, r = take.trajectory.positions(times)[:, 0], take.scene.balls[0].radius
        offset = (
            take.trajectory.displacements(times)[:, 0] if panel.moves else np.zeros((len(times), 2))
        )
        low, high = np.min(panel.points, 0) + offset, np.max(panel.points, 0) + offset
        behind = ((p - r >= low) & (p + r <= high)).all(1)
        assert behind.sum() / 20001 * CLIP_SECONDS == pytest.approx(end - start, abs=3e-4)
        assert start == pytest.approx(times[behind][0], abs=2e-4) and end == pytest.approx(
            times[behind][-1], abs=2e-4
        )
        assert end - start >= occlude.HIDDEN


def test_the_picture_hides_what_is_hidden(takes):
    clips = np.asarray(render(render_inputs(takes, FORMAT), FORMAT))
    times, checked = FORMAT.frame_times(), 0
    for take, clip in zip(takes, clips, strict=True):
        ((_, start, end),) = take.hidden
        ((_, enters, leaves),) = hidden(take.scene, take.trajectory, CLIP_SECONDS, fully=False)
        colour = np.array(COLOURS[take.scene.balls[0].colour])
        for f, time in enumerate(times):
            count = (np.abs(clip[f] - colour).max(-1) < 0.05).sum()
            if start + 0.02 < time < end - 0.02:
                assert count == 0, (take.index, f)
                checked += 1
            elif time < enters or time > leaves:
                assert count >= 4, (take.index, f)
    assert checked > 100


def test_neither_shadow_nor_speed_lines_tell(takes):
    """While a ball is hidden nothing of it is painted, in any style; the contacts behind the panel
    show no lines.
    """
    times, silent = FORMAT.frame_times(), 0
    for take in takes[:20]:
        ((_, start, end),) = take.hidden
        inputs = render_inputs([in_style(take, "anime")], FORMAT)
        far = inputs["centre"][0, :, 0, 0] < -100
        assert (far == ((times >= start) & (times <= end))).all()
        behind = [
            c.time for c in take.trajectory.contacts if start <= c.time <= end and c.speed > 2.0
        ]
        for contact in behind:
            frames = (times > contact) & (times < contact + 0.2)
            others = [
                c
                for c in take.trajectory.contacts
                if c.time not in behind and 0 <= contact - c.time < 0.4
            ]
            if not others:
                assert (inputs["burst"][0, frames, :, 3] == 1.0).all()
                silent += 1
    assert silent > 3


def test_motion_does_not_know_of_the_panel(takes):
    for take in takes[:10]:
        bare = simulate(dataclasses.replace(take.scene, shapes=()), CLIP_SECONDS)
        assert (
            all(np.array_equal(a, b) for a, b in zip(bare.arcs, take.trajectory.arcs, strict=True))
            and bare.contacts == take.trajectory.contacts
        )


def test_fates_are_what_happens(takes):
    for take in takes:
        ((_, enters, leaves),) = hidden(take.scene, take.trajectory, CLIP_SECONDS, fully=False)
        assert enters >= occlude.CLEAR and leaves <= CLIP_SECONDS - occlude.CLEAR
        (x0, _), (x1, _) = take.trajectory.positions(np.array([enters, leaves]))[:, 0]
        (panel,) = panels(take.scene)
        middle = np.mean([p[0] for p in panel.points])
        if take.facts.fate == "passes":
            assert (x0 < middle) == (take.facts.direction == "right") and (x1 < middle) != (
                x0 < middle
            )
        elif take.facts.fate == "returns":
            assert (x0 < middle) == (x1 < middle) and any(
                c.kind == "wall" for c in take.trajectory.contacts
            )
        else:
            assert panel.moves and take.hidden[0][2] >= panel.path[1][0]


@st.composite
def facts(draw):
    one = lambda options: draw(st.sampled_from(sorted(options)))
    look = draw_look(Stream(draw(st.integers(0, 99))), one(FILM_STYLES), one(occlude.MOVES))
    fate = draw(st.sampled_from(["", *occlude.FATES]))
    return occlude.OccludeFacts(
        one(COLOURS), one(SIZES), one(occlude.LAUNCHES), one(DIRECTIONS), fate, look
    )


@hypothesis.given(facts(), st.integers(0, 2**20), st.booleans())
@hypothesis.settings(max_examples=150, deadline=None)
def test_every_paraphrase_reads_back(facts, variant, held_out):
    text = occlude.caption(facts, variant, held_out)
    assert occlude.parse(text) == facts and occlude.parse(text.upper()) == facts
    assert occlude.OccludeFacts.from_dict(facts.to_dict()) == facts


def test_fast_is_faster_than_any_other(takes):
    speed = lambda take: abs(take.scene.balls[0].velocity[0])
    assert min(speed(draw("ood_velocity", i, family="occlude")) for i in range(6)) > max(
        map(speed, takes)
    )


def test_intents_keep_the_fate_to_themselves(takes):
    assert all(occlude.parse(text).fate == "" for take in takes[:6] for text in take.intents)


def test_a_look_without_a_tuple_in_a_small_split_is_drawn_again():
    for split in ("val", "paraphrase"):
        assert all(
            occlude.Occlude().split_of(draw(split, i, family="occlude").facts) == split
            for i in (45, 50, 55)
        )
