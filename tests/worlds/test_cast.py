"""The cast: the catalogue is the same everywhere, can be told apart, and holds out combinations."""

import itertools
import json
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from sora_jax.worlds.playhouse import acting, cast, voice

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def persons():
    return cast.catalogue("train") + cast.catalogue("held_out")


def test_the_catalogue_has_its_sizes_and_holds_out_by_combination(persons):
    for kind, part in itertools.product(cast.KINDS, ("train", "held_out")):
        some = cast.catalogue(part, kind)
        assert len(some) == cast.COUNTS[kind][part]
        assert all(c.held_out == (part == "held_out") and c.kind == kind for c in some)
        assert all((c.voice is None) == (kind == "animal") for c in some)
    assert len({c.key() for c in persons}) == len(persons)
    for factor, values in cast.FACTORS.items():  # every single factor is common
        counts = [sum(getattr(c, factor) == v for c in cast.catalogue()) for v in values]
        assert min(counts) >= 20, factor


def test_any_two_can_be_told_apart(persons):
    for some, least in (
        (persons, cast.MIN_DISTANCE["person"]),
        (cast.catalogue("train", "animal"), cast.MIN_DISTANCE["animal"]),
    ):
        features = np.stack([c.features() for c in some])
        for i in range(1, len(features)):
            assert np.abs(features[:i] - features[i]).sum(1).min() >= least
    a, b = persons[:2]
    assert cast.distance(a, b) == np.abs(a.features() - b.features()).sum() / 1000.0


def test_voices_are_within_range_unique_and_held_out_by_cell(persons):
    voices = [c.voice for c in persons]
    assert len(set(voices)) == len(voices)
    assert all(95.0 <= v.pitch <= 245.0 and 0.88 <= v.tract <= 1.2 for v in voices)
    cells = [{(c.voice.pitch, c.voice.tract) for c in persons if c.held_out == h} for h in (0, 1)]
    assert not cells[0] & cells[1] and len(cells[1]) >= 5
    one = voice.Voice(100.0, 1.0, 1.0, 0.05, 0.2)
    assert cast.distinct(one, voice.Voice(125.0, 1.0, 1.0, 0.05, 0.2))
    assert cast.distinct(one, voice.Voice(100.0, 1.06, 1.0, 0.05, 0.2))
    assert not cast.distinct(one, voice.Voice(124.0, 1.05, 1.1, 0.09, 0.4))


def test_the_catalogue_is_the_same_in_another_process(persons):
    code = (
        "from sora_jax.worlds.playhouse import cast; import zlib; print(zlib.crc32(repr("
        "cast.catalogue('train') + cast.catalogue('held_out')).encode()))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=600
    )
    assert int(done.stdout) == zlib.crc32(repr(persons).encode())


def test_actors_survive_json(persons):
    for character in (persons[0], cast.catalogue("train", "animal")[0]):
        actor = cast.Actor(character, "mika", 1.5, turn=((0.0, 0.1), (1.0, 0.2)), blinks=(0.5,))
        again = cast.Actor.from_dict(json.loads(json.dumps(actor.to_dict())))
        assert again == actor and "path" not in actor.to_dict()
    assert len(set(cast.NAMES)) == len(cast.NAMES) == 40


def test_every_phoneme_has_a_mouth():
    known = {name for names in acting.MOUTHS.values() for name in names} | acting.GLIDES.keys()
    assert known == voice.SOUNDS.keys()
    assert set(acting.MOUTHS) == set(acting.VISEMES)


def test_the_mouth_follows_the_phonemes_and_blends(persons):
    who = persons[0]
    actor = cast.Actor(who, "mika", 1.0, speech=((0.3, "stop"),))
    states = acting.visemes("stop", who.voice)
    assert states[-1][1] == pytest.approx(voice.duration("stop", who.voice))
    spans = [(0.3 + first, 0.3 + end, shape) for first, end, shape in states]
    for first, end, shape in spans:
        if end - first > acting.BLEND:
            seen = acting.mouth(actor, np.array([0.5 * (first + end)]))[0]
            assert tuple(seen) == pytest.approx(acting.VISEMES[shape]), shape
    quiet = acting.mouth(actor, np.array([0.0, 0.279, spans[-1][1] + 0.021, 5.0]))
    assert not quiet[:, 0].any()
    fine = acting.mouth(actor, np.arange(0.0, 1.5, 0.001))[:, 0]
    # a whole opening takes 40 ms, or less beside a state that is shorter
    assert np.abs(np.diff(fine)).max() < 1.01 * 0.001 / 0.030
    assert fine.max() == 1.0


def test_a_voice_by_value_sounds_like_its_number():
    """Phonemes and durations are those of the number; only the noise differs."""
    one = voice.VOICES[3]
    assert voice.phonemes("orange", one) == voice.phonemes("orange", 3)
    a, b = voice.speak("ball", one), voice.speak("ball", 3)
    assert len(a) == len(b) and np.corrcoef(a, b)[0, 1] > 0.9


def test_the_eyes_close_at_a_blink(persons):
    actor = cast.Actor(persons[0], "mika", 1.0, blinks=(0.5,))
    shut = acting.shut(actor, np.array([0.3, 0.5, 0.6]))
    assert shut.tolist() == [0.0, 1.0, 0.0]
