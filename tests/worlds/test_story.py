"""Stories: a state that only events change, pixels that follow it, and one world in all styles."""

import dataclasses
import functools
import itertools

import numpy as np
import pytest

from sora_jax.data import playhouse_set, tokenizer_clips
from sora_jax.errors import UserError
from sora_jax.modality import FORMATS
from sora_jax.worlds.playhouse.camera import project, views
from sora_jax.worlds.playhouse.cast import catalogue
from sora_jax.worlds.playhouse.draw import draw, in_style, long_format
from sora_jax.worlds.playhouse.families import FAMILIES
from sora_jax.worlds.playhouse.families.story import SHOTS, held_out_order
from sora_jax.worlds.playhouse.places import ROOMS
from sora_jax.worlds.playhouse.plot import KINDS
from sora_jax.worlds.playhouse.render import render, render_inputs
from sora_jax.worlds.playhouse.sound import SPEECH_RMS, beside, sound_inputs
from sora_jax.worlds.playhouse.spec import FILM_STYLES, SILENCE, Scene
from sora_jax.worlds.playhouse.staging import stage
from sora_jax.worlds.playhouse.storyboard import DOOR, GO, HAT, LAMP, THROW
from sora_jax.worlds.playhouse.storyboard_reader import read
from sora_jax.worlds.playhouse.stream import Stream

FORMAT, STORY, LENGTH = FORMATS["story3"], FAMILIES["story"], 17 / 8
TEXT = (
    "[STYLE flat | AMBIENCE hum | CAST @mika, @rolo | BALL red] "
    "[SHOT 1 | 2 s | wide | room a] @mika throws the ball to @rolo and @rolo catches it. "
    '[SHOT 2 | 2 s | close-up on @rolo | push in] @rolo puts on a hat, @rolo says "two". '
    "[SHOT 3 | 2 s | wide] @mika turns off the lamp. @rolo opens the door."
)


@functools.cache
def takes():
    return [draw("train", i, family="story") for i in range(60)]


@functools.cache
def played():
    """The story of TEXT as a take."""
    board = read(TEXT)
    people = [who for who in catalogue() if who.hair == "bald"][:2]
    staged = (stage(board, tuple(people), Stream(9, i), (LENGTH,) * 3) for i in range(40))
    scene, motion = next(made for made in staged if made)
    facts = dataclasses.replace(takes()[0].facts, board=board)
    return dataclasses.replace(takes()[0], scene=scene, trajectory=motion, facts=facts)


def shown(*others):
    """Frames of takes in one batch of four, so that one program is compiled."""
    batch = [*others, *[others[0]] * (4 - len(others))]
    return np.asarray(render(render_inputs(batch, FORMAT), FORMAT))[: len(others)]


def changed(take, **initial):
    """The take with another state at its start, and without the events of that state."""
    plot = take.scene.plot
    known = dict(plot.initial) | initial
    events = tuple(event for event in plot.events if event.kind not in initial)
    plot = dataclasses.replace(plot, initial=tuple(known.items()), events=events)
    return dataclasses.replace(take, scene=dataclasses.replace(take.scene, plot=plot))


def test_state_changes_at_events_alone_and_every_act_has_its_event():
    cause = {LAMP: "lamp", DOOR: "door", HAT: "hat", GO: "room"}
    for take in takes():
        plot, board = take.scene.plot, take.facts.board
        times = np.linspace(0.0, 3 * LENGTH, 3000)
        state = plot.state(times)
        assert set(state) == set(KINDS)
        for kind, values in state.items():
            steps = times[1:][(np.diff(values, axis=0) != 0).any(1)]
            happened = {event.time for event in plot.events if event.kind == kind}
            assert all(any(0.0 <= t - e < 0.003 for e in happened) for t in steps), (kind, steps)
        for number, shot in enumerate(board.shots):
            inside = [e for e in plot.events if number * LENGTH <= e.time < (number + 1) * LENGTH]
            wanted = [
                (cause[a.kind], board.cast.index(a.who)) for a in shot.acts if a.kind in cause
            ]
            kinds = cause.values()
            assert [(e.kind, e.actor) for e in inside if e.kind in kinds] == wanted
            caught = sum(a.outcome == "caught" for a in shot.acts)
            assert sum(e.kind == "score" for e in inside) == caught


def test_everybody_stays_where_they_are_across_cuts():
    for take in takes():
        for cut in (LENGTH, 2 * LENGTH):
            before, after = np.array([cut - 1e-6]), np.array([cut + 1e-6])
            for actor in take.scene.cast:
                x = [np.interp(t, *np.array(actor.path).T[:2]) for t in (before, after)]
                assert abs(x[0] - x[1]) < 1e-4
            later = take.facts.board.shots[round(cut / LENGTH)].later
            ball = [take.trajectory.positions(t)[0, 0] for t in (before, after)]
            assert later or np.abs(ball[0] - ball[1]).max() < 1e-3
            same = [take.scene.plot.state(t) for t in (before, after)]
            assert all(np.array_equal(same[0][kind], same[1][kind]) for kind in KINDS)


def test_the_ball_is_in_a_hand_or_flies_and_its_outcome_is_that_of_the_text():
    thrown = 0
    for take in takes():
        plot = take.scene.plot
        leaves = [e for e in plot.events if e.kind == "room"]
        times = np.arange(0.0, 3 * LENGTH, 1e-3)
        steps = np.linalg.norm(np.diff(take.trajectory.positions(times)[:, 0], axis=0), axis=-1)
        cuts = [i * LENGTH for i in (1, 2) if take.facts.board.shots[i].later]
        for i in np.flatnonzero(steps > 0.03):  # 30 m/s
            allowed = [*cuts, *(e.time for e in leaves)]
            assert any(abs(times[i] - t) < 2e-3 for t in allowed), (take.index, times[i])
        holder = plot.state(np.array([3 * LENGTH]))["holder"][0, 0]
        throws = [a for s in take.facts.board.shots for a in s.acts if a.kind == THROW]
        if throws:
            thrown += 1
            missed = throws[-1].outcome == "missed"
            assert (holder == -1) == missed
    assert thrown > 10


@pytest.mark.slow
def test_pixels_follow_the_state():
    take = played()
    lit = (1, *dict(take.scene.plot.initial)["lamp"][1:])
    others = changed(take, lamp=(0, *lit[1:])), changed(take, lamp=lit), changed(take, hat=(0, 0))
    dark, bright, bare = shown(*others)
    assert (bright.mean((1, 2, 3)) > dark.mean((1, 2, 3)) + 0.1).all()
    as_told, open_, scored = shown(take, changed(take, door=(1,) * 5), changed(take, score=(3,)))
    event = {e.kind: e.time for e in take.scene.plot.events}
    frames = np.arange(51) / 8.0
    off = frames > event["lamp"] + 0.1
    assert as_told[off].mean() < as_told[34:][~off[34:]].mean() - 0.1
    view = views(take.scene, FORMAT.frame_times())
    x, y = project(view[0], np.array([ROOMS[0].door + 0.1, 1.6]), 64).round().astype(int)
    door = np.s_[0, y - 4 : y + 4, x - 2 : x + 3]
    assert np.abs(open_[door] - as_told[door]).mean() > 0.15
    opened = frames > event["door"] + 0.3
    assert np.abs(open_[opened] - as_told[opened]).max() < 1e-3  # the door is open in both
    assert np.abs(scored[0] - as_told[0]).max() > 0.4  # lamps of the board
    put_on = (frames > event["hat"] + 0.1) & (FORMAT.frame_shots() == 1)
    assert np.abs(bare[put_on] - as_told[put_on]).max((1, 2, 3)).min() > 0.2
    before = (frames < event["hat"] - 0.2) & (FORMAT.frame_shots() == 1)
    assert np.abs(bare[before] - as_told[before]).max() < 1e-3


@pytest.mark.slow
def test_the_ball_is_where_the_truth_says_in_every_style():
    told = [
        dataclasses.replace(played(), scene=dataclasses.replace(played().scene, style=style))
        for style in FILM_STYLES
    ]
    frames = shown(*told)
    view = views(told[0].scene, FORMAT.frame_times())
    centres = project(view, told[0].trajectory.positions(FORMAT.frame_times())[:, 0], 64)
    for style, clip in zip(FILM_STYLES, frames, strict=True):
        for f in (0, 3, 6, 10):
            column, row = centres[f].round().astype(int)
            # the lower right of the ball: no highlight lies there
            pixel = clip[f, row : row + 2, column : column + 2].mean((0, 1))
            assert pixel[0] > 1.6 * pixel[1:].max(), (style, f, pixel)


def test_one_world_in_every_style():
    take = takes()[3]
    inputs, sounds = [], []
    for style in FILM_STYLES:
        other = in_style(take, style)
        assert other.facts.board.style == style and read(other.captions[0]).style == style
        assert other.trajectory is take.trajectory and other.scene.plot is take.scene.plot
        inputs.append(render_inputs([other], FORMAT))
        sounds.append(sound_inputs([other], FORMAT))
    apart = {"style", "ball"}  # only the blur of a film's exposure differs
    for one, heard in zip(inputs, sounds, strict=True):
        same = [n for n in one if n not in apart]
        assert all(np.array_equal(one[n], inputs[0][n]) for n in same)
        assert all(np.array_equal(heard[n], sounds[0][n]) for n in heard)


def test_words_are_heard_when_they_are_said_and_doors_when_they_move():
    take = played()
    actor = take.scene.cast[1]
    ((start, word),) = actor.speech
    track = beside(take, FORMAT.samples)  # hum is not in it
    said = track[int(start * 16000) : int((start + 0.3) * 16000)]
    assert word == "two" and np.sqrt(np.mean(said**2)) > 0.3 * SPEECH_RMS
    assert not track[: int((start - 0.01) * 16000)].any()
    inputs = sound_inputs([take], FORMAT)
    starts = set(inputs["start"][0][np.abs(inputs["coarse"][0]).sum((1, 2)) > 0].tolist())
    for event in take.scene.plot.events:
        if event.kind in ("door", "lamp", "score"):
            assert int(np.ceil(event.time * 16000)) in starts


@pytest.mark.parametrize("split", STORY.splits)
def test_splits_hold_what_they_say(split):
    drawn = [draw(split, i, family="story") for i in range(4)]
    for take in drawn:
        board = take.facts.board
        assert STORY.split_of(take.facts) == split
        assert len(board.shots) == SHOTS.get(split, 3) == len(take.scene.plot.views)
        assert (split == "order") == held_out_order(board)
        parts = {part for part, _ in take.facts.characters}
        assert parts == {"held_out" if split == "identity" else "train"}
        assert take.scene.ambience != SILENCE
        form = long_format(split, FORMAT)
        assert form.seconds == len(board.shots) * LENGTH and len(form.shots) == len(board.shots)
        render_inputs([take], form)


def test_splits_are_disjoint():
    keys = {s: {draw(s, i, family="story").facts.key() for i in range(8)} for s in STORY.splits}
    for a, b in itertools.combinations(keys, 2):
        assert not keys[a] & keys[b], (a, b)


def test_a_take_is_rendered_in_its_own_format():
    with pytest.raises(UserError, match="has 3 shots, and the format has 1"):
        render_inputs(takes()[:1], FORMATS["nano"])


def test_scenes_and_records_are_kept_to_the_bit():
    for take in takes()[:8]:
        assert Scene.from_json(take.scene.to_json()) == take.scene
        kept = playhouse_set.from_record(playhouse_set.to_record(take, FORMAT))
        assert kept.scene == take.scene and kept.facts == take.facts
        assert np.array_equal(kept.trajectory.arcs[0], take.trajectory.arcs[0])
        assert take.captions == draw("train", take.index, family="story").captions


def test_a_tokenizer_sees_shots():
    frames = np.arange(2 * 51).reshape(2, 51, 1, 1, 1) * np.ones((1, 1, 2, 2, 3))
    shots = tokenizer_clips.by_shots(frames, FORMAT)
    assert (
        shots.shape == (6, 17, 2, 2, 3) and (shots[1, 0] == 17).all() and (shots[3, 0] == 51).all()
    )
    assert tokenizer_clips.by_shots(frames[:, :17], FORMATS["nano"]).shape[1] == 17
