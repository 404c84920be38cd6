"""What comes of a throw, a shot or a jump, read from rendered clips: all twelve outcomes, and what
is none.
"""

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from sora_jax.modality import FORMATS
from sora_jax.oracles import corruptions, court_flight, court_furniture, disc, examples, outcome
from sora_jax.oracles.catalogue import ORACLES
from sora_jax.oracles.reading import Reading
from sora_jax.oracles.tracker import coloured
from sora_jax.worlds.playhouse.draw import draw
from sora_jax.worlds.playhouse.families import furniture
from sora_jax.worlds.playhouse.families.court_captions import OUTCOMES
from sora_jax.worlds.playhouse.spec import COLOURS

FPS = FORMATS["nano"].fps


@pytest.fixture(scope="module")
def courts():
    """For every outcome the first two takes of `val` in which it is clear to see."""
    found, index = {(action, out): [] for action, outs in OUTCOMES.items() for out in outs}, 0
    while any(len(takes) < 2 for takes in found.values()):
        take, index = draw("val", index, family="court"), index + 1
        takes = found[take.facts.action, take.facts.outcome]
        if take.margin_px(64) >= 1.5 and len(takes) < 2:
            takes.append(take)
    return examples.render_takes(
        [take for takes in found.values() for take in takes], FORMATS["nano"], batch=24
    )


def wanted(clip):
    return clip.take.facts.action, clip.take.facts.direction, clip.take.facts.outcome


def read(frames):
    seen = outcome.read_outcome(frames, FPS)
    return seen and (seen.action, seen.direction, seen.outcome)


def test_all_outcomes_are_told(courts):
    assert [read(c.frames) for c in courts] == [wanted(c) for c in courts]


def test_mirrored_the_target_is_on_the_other_side(courts):
    sides = {"left": "right", "right": "left"}
    for c in courts[::3]:
        action, direction, name = wanted(c)
        assert read(c.frames[:, :, ::-1]) == (action, sides[direction], name)


@pytest.mark.slow
def test_furniture_is_measured(courts):
    for c in courts:
        there, true = (
            court_furniture.read_furniture(disc.still_picture(c.frames)),
            c.take.scene.shapes,
        )
        assert (there.action, "left" if there.mirrored else "right") == wanted(c)[:2]
        numbers = lambda shapes: np.array(
            [p for s in shapes[:2] if s.paint != "pad" for p in s.points]
        )
        true = tuple(furniture.mirrored(s) for s in true) if there.mirrored else true
        assert np.abs(numbers(there.shapes) - numbers(true)).max() < 0.03  # 0.4 pixels


def test_a_keeper_is_followed(courts):
    shots = [c for c in courts if c.take.facts.action == "shot"]
    for c in shots:
        frames = c.frames[:, :, ::-1] if c.take.facts.direction == "left" else c.frames
        balls = ndimage.maximum_filter(coloured(frames), size=(1, 5, 5))
        there = court_furniture.read_furniture(disc.still_picture(frames))
        true = [
            np.interp(t, *np.array(c.take.scene.shapes[1].path).T[[0, 2]])
            for t in c.format.frame_times()
        ]
        assert np.nanmedian(np.abs(court_furniture.read_keeper(frames, there, balls) - true)) < 0.05
        assert np.isnan(
            court_furniture.read_keeper(
                np.repeat(there.picture[None], 2, axis=0), there, balls[:2] & False
            )
        ).all()


def test_each_breach_has_a_reason(courts):
    why = lambda frames: outcome.read_outcome(frames, FPS).why
    clip = next(c for c in courts if wanted(c)[2] == "rim-out")
    assert "missing" in why(
        np.concatenate(
            [clip.frames[:8], np.repeat(examples.empty([clip])[0].frames[:1], 9, axis=0)]
        )
    )
    assert "no ball" in why(examples.empty([clip])[0].frames)
    assert "twice" in why(corruptions.double([clip])[0].frames)
    assert "without a contact" in why(np.repeat(clip.frames[:1], 17, axis=0))
    two = clip.frames.copy()
    two[:, 2:9, 28:35] = COLOURS["green" if clip.take.facts.colour != "green" else "red"]
    assert "too few" in why(clip.frames[:4]) and "another ball" in why(two)
    assert "changes" in why(outcome.unfurnished([clip])[0].frames)
    assert "hovers" in why(
        np.concatenate([clip.frames[:11], np.repeat(clip.frames[10:11], 6, axis=0)])
    )
    assert why(outcome.unstopped([clip])[0].frames).startswith("the ball goes through the rim")


def test_without_furniture_there_is_nothing_to_ask():
    rooms = examples.ground_truth("val", range(4), FORMATS["nano"], batch=4)
    assert [outcome.read_outcome(c.frames, FPS) for c in rooms] == [None] * 4


def test_what_nobody_could_see_is_not_asked(courts):
    clip, judge = courts[0], ORACLES["outcome"].judge
    unclear = dataclasses.replace(clip, take=dataclasses.replace(clip.take, margin=0.01))
    assert judge(clip, Reading(clip)) is True and judge(unclear, Reading(clip)) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (outcome, "LAWS", (1.6, 3.7)),
        (court_flight, "MAX_DEVIATION", 0.004),
        (outcome, "MIN_TURN", 3.0),
        (outcome, "MIN_APPROACH", 99.0),
    ],
)
def test_a_broken_oracle_is_found_out(courts, monkeypatch, module, name, value):
    monkeypatch.setattr(module, name, value)
    assert sum(read(c.frames) == wanted(c) for c in courts) < 0.8 * len(courts)
